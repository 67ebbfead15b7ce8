//! Record keys. Kafka's default partitioner hashes them, so one pair stays in order.

use std::fmt;

/// `{market}~{base}~{quote}`: the key of whatever is about one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairKey<'a> {
    /// Exchange in the vendor's casing, or `CCCAGG`.
    pub market: &'a str,
    /// Base symbol, `BTC` in BTC/USD.
    pub base: &'a str,
    /// Quote symbol, `USD` in BTC/USD.
    pub quote: &'a str,
}

impl fmt::Display for PairKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}~{}", self.market, self.base, self.quote)
    }
}

/// The key of a frame that has no TYPE.
pub const UNKNOWN: &str = "?";
