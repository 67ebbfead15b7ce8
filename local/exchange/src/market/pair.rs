//! What is traded where, and at about what price.

use crate::digits::Fixed;

/// One pair on one exchange of the synthetic market.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The exchange in the vendor's casing, e.g. `Coinbase`.
    pub market: String,
    /// Base symbol, upper case.
    pub base: String,
    /// Quote symbol, upper case.
    pub quote: String,
    /// The price around which the walk moves, in quote units.
    pub price: f64,
    /// Decimals of a price on this exchange.
    pub price_decimals: u32,
    /// Base units traded on an average day.
    pub daily_volume: f64,
    /// Whether its trades carry `CCSEQ`; the vendor's do on a subset of markets.
    pub ccseq: bool,
}

impl Pair {
    /// Sixteen pairs on five exchanges: enough for every partition of a topic to get work.
    #[must_use]
    pub fn catalogue() -> Vec<Pair> {
        [
            ("Coinbase", "BTC", "USD", 63_240.0, 2, 12_000.0),
            ("Coinbase", "ETH", "USD", 3_120.0, 2, 150_000.0),
            ("Binance", "ETH", "USDT", 3_120.5, 2, 420_000.0),
            ("Binance", "BTC", "USDT", 63_251.0, 2, 31_000.0),
            ("Kraken", "BTC", "USD", 63_238.0, 1, 3_400.0),
            ("Kraken", "ETH", "EUR", 2_880.0, 2, 31_000.0),
            ("Kraken", "BTC", "EUR", 58_400.0, 1, 2_100.0),
            ("Coinbase", "SOL", "USD", 148.0, 2, 2_100_000.0),
            ("Binance", "SOL", "USDT", 148.1, 2, 5_200_000.0),
            ("Binance", "XRP", "USDT", 0.52, 4, 420_000_000.0),
            ("Bitstamp", "XRP", "USD", 0.52, 5, 12_000_000.0),
            ("Bitstamp", "BTC", "EUR", 58_402.0, 0, 620.0),
            ("Binance", "ETH", "BTC", 0.049, 5, 24_000.0),
            ("Coinbase", "LTC", "USD", 82.0, 2, 310_000.0),
            ("Binance", "DOGE", "USDT", 0.15, 5, 1_900_000_000.0),
            ("OKEX", "BTC", "USDT", 63_249.0, 1, 9_800.0),
        ]
        .into_iter()
        .map(|(market, base, quote, price, price_decimals, daily_volume)| Pair {
            market: market.to_owned(),
            base: base.to_owned(),
            quote: quote.to_owned(),
            price,
            price_decimals,
            daily_volume,
            ccseq: market != "Bitstamp",
        })
        .collect()
    }

    /// The price in units of the smallest step.
    pub(crate) fn step_price(&self) -> u64 {
        Fixed::round(self.price, self.price_decimals).units()
    }

    /// What is wrong with the pair, if anything: its names go into frames unescaped, and its numbers
    /// must make a walk.
    pub(crate) fn fault(&self) -> Option<String> {
        let name = |text: &str| {
            !text.is_empty() && text.len() <= 30 && text.bytes().all(|b| b.is_ascii_alphanumeric())
        };
        if !(name(&self.market) && name(&self.base) && name(&self.quote)) {
            Some("market, base and quote must be 1 to 30 ASCII letters or digits".to_owned())
        } else if !(self.price > 0.0 && self.price < 1e9 && self.price_decimals <= 8) {
            Some("the price must be above 0 and below 1e9, with at most 8 decimals".to_owned())
        } else if !(self.daily_volume > 0.0 && self.daily_volume < 1e12) {
            Some("the daily volume must be above 0 and below 1e12".to_owned())
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_is_sound_and_bad_pairs_are_named() {
        let pairs = Pair::catalogue();
        assert!(pairs.len() >= 8);
        assert!(pairs.iter().all(|pair| pair.fault().is_none()));
        let bad = |change: fn(&mut Pair)| {
            let mut pair = pairs[0].clone();
            change(&mut pair);
            pair.fault()
        };
        assert!(bad(|p| p.market = "a\"b".to_owned()).is_some());
        assert!(bad(|p| p.price = f64::NAN).is_some());
        assert!(bad(|p| p.daily_volume = 0.0).is_some());
    }
}
