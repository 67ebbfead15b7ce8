//! One pair on one exchange, or one CCCAGG index: its prices, amounts and candles at any time.

use super::pair::Pair;
use super::walk::{OPENED_S, Walk};
use crate::digits::Fixed;
use crate::hash::{mix, mix_text};

/// The market name of the vendor's aggregate index.
pub(crate) const INDEX: &str = "CCCAGG";
/// Prices looked at inside a candle to find its high and low.
const SAMPLES: u32 = 24;
/// Decimals of an index value on the WebSocket (`49735.6637659428`).
const INDEX_DECIMALS: u32 = 10;

/// What is traded, and how it moves.
#[derive(Debug, Clone)]
pub(crate) struct Instrument {
    pub(crate) pair: Pair,
    walk: Walk,
    seed: u64,
}

/// Open, high, low, close and volumes of one period; all zero outside the market's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candle {
    /// Start of the period, seconds since the epoch.
    pub(crate) time: u64,
    pub(crate) open: Fixed,
    pub(crate) high: Fixed,
    pub(crate) low: Fixed,
    pub(crate) close: Fixed,
    pub(crate) volume_from: Fixed,
    pub(crate) volume_to: Fixed,
}

impl Instrument {
    pub(crate) fn new(seed: u64, pair: Pair) -> Self {
        let names = [pair.market.as_str(), pair.base.as_str(), pair.quote.as_str()];
        let walk = Walk::new(seed, names, pair.price, pair.daily_volume);
        let seed = names.iter().fold(!seed, |seed, name| mix_text(seed, name));
        Instrument { pair, walk, seed }
    }

    pub(crate) fn is_index(&self) -> bool {
        self.pair.market == INDEX
    }

    /// The price at `t`, in seconds since the epoch: an exchange's in steps, an index's in full.
    pub(crate) fn price(&self, t: f64) -> Fixed {
        let decimals = if self.is_index() { INDEX_DECIMALS } else { self.pair.price_decimals };
        Fixed::round(self.walk.price(t), decimals)
    }

    /// Base units traded between two moments, to eight decimals.
    pub(crate) fn volume(&self, from: f64, to: f64) -> Fixed {
        Fixed::round(self.walk.volume(from, to), 8)
    }

    /// A draw for the `k`-th trade.
    pub(crate) fn draw(&self, k: u64) -> u64 {
        mix(&[self.seed, k])
    }

    /// The amount of the `k`-th trade: mostly many decimals, at times few, at times none.
    pub(crate) fn quantity(&self, k: u64) -> Fixed {
        let draw = self.draw(k) >> 8;
        // About 30,000 trades a day at this size.
        let usual = (self.pair.daily_volume / 15_000.0).max(1e-6);
        let amount = usual * ((draw >> 4) % 1_000_000 + 1) as f64 / 1e6;
        match draw % 8 {
            0 if amount >= 1.0 => Fixed::round(amount, 0),
            1 | 2 if amount >= 0.001 => Fixed::round(amount, 3),
            // Never an amount of zero.
            _ => Fixed::round(amount.max(1e-8), 8),
        }
    }

    /// The trade id and CCSEQ of the `k`-th trade: near each other, never equal.
    pub(crate) fn trade_ids(&self, k: u64) -> (u64, u64) {
        let base = 1_000_000 + self.seed % 100_000_000;
        (base + 16_424 + k, base + k)
    }

    /// The candle that starts at `start` and lasts `length` seconds, as far as `now` (all in seconds
    /// since the epoch) has seen it.
    pub(crate) fn candle(&self, start: u64, length: u64, now: f64) -> Candle {
        let from = start as f64;
        if start < OPENED_S || from > now {
            return Candle::flat(start, Fixed::ZERO);
        }
        let to = (from + length as f64).min(now);
        let price = |t| Fixed::round(self.walk.price(t), self.pair.price_decimals);
        let (open, close) = (price(from), price(to));
        let (mut high, mut low) =
            if open.value() < close.value() { (close, open) } else { (open, close) };
        let step = (to - from) / f64::from(SAMPLES + 1);
        for i in 1..=SAMPLES {
            let seen = price(from + step * f64::from(i));
            high = if seen.value() > high.value() { seen } else { high };
            low = if seen.value() < low.value() { seen } else { low };
        }
        let volume = self.walk.volume(from, to);
        let mean = (open.value() + high.value() + low.value() + close.value()) / 4.0;
        Candle {
            time: start,
            open,
            high,
            low,
            close,
            volume_from: Fixed::round(volume, 2),
            volume_to: Fixed::round(volume * mean, 2),
        }
    }
}

impl Candle {
    /// A candle without trades at one price.
    pub(crate) fn flat(time: u64, price: Fixed) -> Self {
        Candle {
            time,
            open: price,
            high: price,
            low: price,
            close: price,
            volume_from: Fixed::ZERO,
            volume_to: Fixed::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_753_190_418.0;

    fn instrument() -> Instrument {
        Instrument::new(1, Pair::catalogue().remove(0))
    }

    #[test]
    fn a_candle_opens_where_the_one_before_closed() {
        let it = instrument();
        let candles: Vec<_> = (0..50).map(|i| it.candle(1_753_100_040 + i * 60, 60, NOW)).collect();
        for pair in candles.windows(2) {
            assert_eq!(pair[0].close, pair[1].open);
            let [low, high] = [pair[0].low.value(), pair[0].high.value()];
            assert!(low <= pair[0].open.value() && pair[0].close.value() <= high);
            assert!(pair[0].volume_from.value() > 0.0);
        }
    }

    #[test]
    fn a_period_in_progress_has_less_volume_and_one_outside_the_market_is_zero() {
        let it = instrument();
        let start = 1_753_189_200;
        let part = it.candle(start, 3600, start as f64 + 60.0);
        let whole = it.candle(start, 3600, NOW + 3600.0);
        assert_eq!(part.open, whole.open);
        assert!(part.volume_from.value() < whole.volume_from.value() / 10.0);
        for outside in [OPENED_S - 60, 1_900_000_020] {
            assert_eq!(it.candle(outside, 60, NOW), Candle::flat(outside, Fixed::ZERO));
        }
    }

    #[test]
    fn amounts_are_never_zero_and_come_in_whole_and_broken_numbers() {
        let it = Instrument::new(1, Pair::catalogue().remove(7));
        let amounts: Vec<f64> = (0..1000).map(|k| it.quantity(k).value()).collect();
        assert!(amounts.iter().all(|&amount| amount > 0.0));
        assert!(amounts.iter().any(|amount| amount.fract() == 0.0));
        assert!(amounts.iter().any(|amount| amount.fract() != 0.0));
    }
}
