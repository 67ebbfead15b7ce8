//! Price and volume as functions of time: sums of smoothed noise of several periods. A candle of
//! any past period can be computed without state, and agrees with the trades of that period.

use crate::hash::{mix_text, unit};

/// The market opens at 2017-01-01T00:00:00Z (seconds); before, there are only empty rows.
pub(crate) const OPENED_S: u64 = 1_483_228_800;
const DAY: f64 = 86_400.0;

/// Period in seconds and swing of the logarithm of the price: seasons down to seconds.
const SWINGS: [(f64, f64); 9] = [
    (90.0 * DAY, 0.30),
    (20.0 * DAY, 0.10),
    (4.0 * DAY, 0.04),
    (18.0 * 3600.0, 0.015),
    (3.0 * 3600.0, 0.006),
    (1800.0, 0.0025),
    (240.0, 0.001),
    (40.0, 0.0005),
    (5.0, 0.0002),
];
/// How far one exchange strays from the others.
const STRAY: (f64, f64) = (60.0, 0.0003);
/// Period in seconds and weight of the waves in turnover. 1.5 × their sum stays below 1, the
/// steepest fall of the smoothed noise: turnover never runs backwards.
const WAVES: [(f64, f64); 3] = [(DAY, 0.25), (3600.0, 0.2), (300.0, 0.15)];

/// The walk of one pair on one exchange.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    /// Shared by all exchanges that trade the pair, so that they move together.
    pair_seed: u64,
    market_seed: u64,
    level: f64,
    volume_per_s: f64,
}

impl Walk {
    pub(crate) fn new(seed: u64, names: [&str; 3], level: f64, daily_volume: f64) -> Self {
        let [market, base, quote] = names;
        let pair_seed = mix_text(mix_text(seed, base), quote);
        let market_seed = mix_text(pair_seed, market);
        Walk { pair_seed, market_seed, level, volume_per_s: daily_volume / DAY }
    }

    /// The price at `t`, in seconds since the epoch.
    pub(crate) fn price(&self, t: f64) -> f64 {
        let swing =
            |seed, t, (period, size): (f64, f64)| (noise(seed, t, period) - 0.5) * 2.0 * size;
        let common: f64 = SWINGS.iter().map(|&s| swing(self.pair_seed, t, s)).sum();
        self.level * (common + swing(self.market_seed, t, STRAY)).exp()
    }

    /// Base units traded between two moments, in seconds since the epoch.
    pub(crate) fn volume(&self, from: f64, to: f64) -> f64 {
        (self.turnover(to) - self.turnover(from)).max(0.0)
    }

    /// Base units traded since the market opened.
    fn turnover(&self, t: f64) -> f64 {
        let waves =
            WAVES.iter().map(|&(period, k)| k * period * noise(!self.market_seed, t, period));
        self.volume_per_s * (t - OPENED_S as f64 + waves.sum::<f64>())
    }
}

/// Noise in `[0, 1]` with the given period: random values at its multiples, smoothed between.
fn noise(seed: u64, t: f64, period: f64) -> f64 {
    let x = t.max(0.0) / period;
    let cell = x.floor();
    let f = x - cell;
    let smooth = f * f * (3.0 - 2.0 * f);
    let value = |cell: f64| unit(&[seed, period.to_bits(), cell.to_bits()]);
    let (left, right) = (value(cell), value(cell + 1.0));
    left + (right - left) * smooth
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_753_190_418.0;

    #[test]
    fn a_price_is_a_function_of_seed_names_and_time() {
        let walk = |seed, market| Walk::new(seed, [market, "BTC", "USD"], 60_000.0, 10_000.0);
        let price = walk(1, "Coinbase").price(NOW);
        assert_eq!(price.to_bits(), walk(1, "Coinbase").price(NOW).to_bits());
        assert_ne!(price.to_bits(), walk(2, "Coinbase").price(NOW).to_bits());
        // Exchanges differ, by no more than an arbitrageur would leave.
        let other = walk(1, "Kraken").price(NOW);
        assert_ne!(price.to_bits(), other.to_bits());
        assert!((price / other - 1.0).abs() < 0.001, "{price} {other}");
    }

    #[test]
    fn prices_stay_near_their_level_and_move_in_small_steps() {
        let walk = Walk::new(3, ["Coinbase", "BTC", "USD"], 60_000.0, 10_000.0);
        for hour in 0..20_000 {
            let t = NOW - f64::from(hour) * 3600.0;
            let (price, later) = (walk.price(t), walk.price(t + 0.1));
            assert!((30_000.0..120_000.0).contains(&price), "{price}");
            assert!((price / later - 1.0).abs() < 0.001, "{price} {later}");
        }
    }

    #[test]
    fn turnover_never_runs_backwards_and_adds_up() {
        let walk = Walk::new(3, ["Coinbase", "BTC", "USD"], 60_000.0, 86_400.0);
        let mut sum = 0.0;
        for second in 0..7200 {
            let t = NOW + f64::from(second);
            let volume = walk.volume(t, t + 1.0);
            assert!(volume > 0.0 && volume < 3.0, "{volume}");
            sum += volume;
        }
        assert!((sum - walk.volume(NOW, NOW + 7200.0)).abs() < 1e-3);
    }
}
