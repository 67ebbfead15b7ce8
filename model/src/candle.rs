//! `ohlcv-data`: one candle, as it was known when it was received.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digits::Digits;
use crate::time::Bucket;

/// One candle, as JSON on the topic `ohlcv-data`.
///
/// The vendor revises candles: identity is (market, base, quote, interval, bucket), and the newest
/// `received_at` wins. Open may lie outside low..high, because it is the last price *before* the
/// period: that is the vendor's data, not an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OhlcvData<'a> {
    /// Start of the period.
    pub bucket: Bucket,
    /// Base and quote joined: `BTCUSD`.
    #[serde(borrow)]
    pub symbol: Cow<'a, str>,
    /// Last price before the period.
    #[serde(borrow)]
    pub open: Digits<'a>,
    /// Highest price.
    #[serde(borrow)]
    pub high: Digits<'a>,
    /// Lowest price.
    #[serde(borrow)]
    pub low: Digits<'a>,
    /// Last price.
    #[serde(borrow)]
    pub close: Digits<'a>,
    /// Volume in base units; `null` if the vendor gave none.
    #[serde(borrow)]
    pub volume: Option<Digits<'a>>,
    /// Length of the period.
    pub interval: Interval,
    /// Exchange in the vendor's casing, or `CCCAGG`.
    #[serde(borrow)]
    pub market: Cow<'a, str>,
    /// Base symbol.
    #[serde(borrow)]
    pub base: Cow<'a, str>,
    /// Quote symbol.
    #[serde(borrow)]
    pub quote: Cow<'a, str>,
    /// Volume in quote units.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub quote_volume: Option<Digits<'a>>,
    /// The vendor's `conversionType` where it is not `direct`: prices and volumes were converted.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub conversion: Option<Cow<'a, str>>,
    /// Whether the period was over, and the vendor's cache of it, when the candle was received.
    pub closed: bool,
    /// When the source received it: the raw record's timestamp, milliseconds since the epoch.
    pub received_at: i64,
}

/// Unit of an [`Interval`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
}

/// Length of a candle: a unit and how many of it the vendor aggregated (`1m`, `5m`, `1h`, `1d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interval {
    count: u32,
    unit: Unit,
}

impl Unit {
    /// The letter in an interval's text.
    pub fn letter(self) -> &'static str {
        match self {
            Unit::Minute => "m",
            Unit::Hour => "h",
            Unit::Day => "d",
        }
    }
}

impl Interval {
    /// An interval of `count` units, or `None` for 0 and for more than 10,000 of them (the vendor
    /// aggregates up to 30; the limit keeps all arithmetic far from overflow).
    pub fn new(count: u32, unit: Unit) -> Option<Self> {
        (1..=10_000).contains(&count).then_some(Interval { count, unit })
    }

    /// How many units.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The unit, which names the vendor's endpoint.
    pub fn unit(self) -> Unit {
        self.unit
    }

    /// Length in seconds.
    pub fn seconds(self) -> i64 {
        let unit = match self.unit {
            Unit::Minute => 60,
            Unit::Hour => 3600,
            Unit::Day => 86_400,
        };
        i64::from(self.count) * unit
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.count, self.unit.letter())
    }
}

impl FromStr for Interval {
    type Err = BadInterval;

    fn from_str(text: &str) -> Result<Self, BadInterval> {
        let (unit, count) = match text.split_at_checked(text.len().wrapping_sub(1)) {
            Some((count, "m")) => (Unit::Minute, count),
            Some((count, "h")) => (Unit::Hour, count),
            Some((count, "d")) => (Unit::Day, count),
            _ => return Err(BadInterval),
        };
        if count.starts_with('0') || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(BadInterval);
        }
        count.parse().ok().and_then(|count| Interval::new(count, unit)).ok_or(BadInterval)
    }
}

/// The text is no interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadInterval;

impl fmt::Display for BadInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an interval is a number from 1 to 10000 and m, h or d: 1m, 5m, 1h, 1d")
    }
}

impl std::error::Error for BadInterval {}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Interval;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an interval like 1m, 5m, 1h or 1d")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_read_back_and_know_their_seconds() {
        for (text, seconds) in [("1m", 60), ("5m", 300), ("1h", 3600), ("1d", 86_400)] {
            let interval: Interval = text.parse().unwrap();
            assert_eq!((interval.seconds(), interval.to_string().as_str()), (seconds, text));
        }
        for bad in ["", "m", "0m", "01m", "1", "1H", "-1m", "+1m", "99999999999m", "1é"] {
            assert_eq!(bad.parse::<Interval>(), Err(BadInterval), "{bad:?}");
        }
    }

    #[test]
    fn a_candle_prints_as_the_contract_says_and_reads_back() {
        let json = r#"{"bucket":"2017-11-11T04:30:00.000Z","symbol":"ETHBTC","open":0.00225916,"high":0.00227293,"low":0.00225916,"close":0.00227293,"volume":259.67976447,"interval":"1m","market":"CCCAGG","base":"ETH","quote":"BTC","quote_volume":0.58844603,"closed":true,"received_at":1510494630000}"#;
        let candle: OhlcvData<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(candle.bucket.seconds(), 1_510_374_600);
        assert_eq!(serde_json::to_string(&candle).unwrap(), json);
    }
}
