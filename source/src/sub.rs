//! A vendor subscription, `{channel}~{market}~{base}~{quote}` and the like, taken apart.

use std::fmt;

use serde::{Deserialize, Serialize};
use tickpanda_model::key::PairKey;

/// Longer than any sub of the vendor.
const MAX: usize = 128;

/// A sub as the vendor takes it. Ordered and compared by its text.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sub(String);

/// What kind of data a sub gives; the kinds of the tables where they have one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// TYPE 0.
    Trade,
    /// TYPE 2.
    Ticker,
    /// TYPE 5.
    Index,
    /// TYPE 24.
    Candle,
    /// TYPE 8, 9.
    Book,
    /// TYPE 30.
    #[serde(rename = "top_of_book")]
    TopOfBook,
    /// TYPE 11.
    Volume,
    /// TYPE 21.
    #[serde(rename = "top_tier_volume")]
    TopTierVolume,
    /// What nobody knows.
    Other,
}

impl Kind {
    /// The kind of a channel's frames.
    pub fn of(channel: Option<u8>) -> Self {
        match channel {
            Some(0) => Self::Trade,
            Some(2) => Self::Ticker,
            Some(5) => Self::Index,
            Some(24) => Self::Candle,
            Some(8 | 9) => Self::Book,
            Some(30) => Self::TopOfBook,
            Some(11) => Self::Volume,
            Some(21) => Self::TopTierVolume,
            _ => Self::Other,
        }
    }

    /// The kind of this name; one that nobody knows is [`Kind::Other`].
    pub fn named(name: &str) -> Self {
        let all = [
            Self::Trade,
            Self::Ticker,
            Self::Index,
            Self::Candle,
            Self::Book,
            Self::TopOfBook,
            Self::Volume,
            Self::TopTierVolume,
        ];
        all.into_iter().find(|kind| kind.as_str() == name).unwrap_or(Self::Other)
    }

    /// Its name in gap events and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trade => "trade",
            Self::Ticker => "ticker",
            Self::Index => "index",
            Self::Candle => "candle",
            Self::Book => "book",
            Self::TopOfBook => "top_of_book",
            Self::Volume => "volume",
            Self::TopTierVolume => "top_tier_volume",
            Self::Other => "other",
        }
    }
}

impl Sub {
    /// Reads a sub; surrounding white space is cut.
    ///
    /// # Errors
    /// In words, with what one looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let channel = text.split('~').next().unwrap_or_default();
        let numbered = !channel.is_empty() && channel.bytes().all(|b| b.is_ascii_digit());
        let parts = text.split('~').collect::<Vec<_>>();
        let complete = parts.len() >= 2 && parts.iter().all(|part| !part.is_empty());
        let plain =
            text.len() <= MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control());
        if numbered && complete && plain {
            return Ok(Sub(text.to_owned()));
        }
        let text: String = text.chars().take(MAX).collect();
        Err(format!("{text:?} is no sub; one looks like 0~Coinbase~BTC~USD or 5~CCCAGG~BTC~USD"))
    }

    /// The text that the vendor takes.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The channel, where it is one that frames can be told by.
    pub fn channel(&self) -> Option<u8> {
        self.0.split('~').next()?.parse().ok()
    }

    /// Kind of data.
    pub fn kind(&self) -> Kind {
        Kind::of(self.channel())
    }

    /// Market, base and quote, where it names them; any of them may be the wildcard `*`.
    pub fn pair(&self) -> Option<PairKey<'_>> {
        let mut parts = self.0.split('~').skip(1);
        let (market, base, quote) = (parts.next()?, parts.next()?, parts.next()?);
        Some(PairKey { market, base, quote })
    }

    /// The symbol of a sub that has no pair.
    pub fn symbol(&self) -> Option<&str> {
        self.0.split('~').nth(1).filter(|_| self.pair().is_none())
    }

    /// Whether it stands for many pairs.
    pub fn is_wildcard(&self) -> bool {
        self.0.split('~').any(|part| part == "*")
    }

    /// Whether frames of this channel, key and candle unit come from it. A candle sub without a period
    /// gives whatever period the vendor chooses.
    pub fn gives(&self, channel: u8, key: &str, unit: Option<u8>) -> bool {
        // An order book's snapshot has a TYPE of its own.
        let channel = if channel == 9 { 8 } else { channel };
        if self.channel() != Some(channel) {
            return false;
        }
        let mut wanted = self.0.split('~').skip(1);
        // The key of what has no pair begins with the channel.
        let symbol_only = matches!(channel, 11 | 21);
        for part in key.split('~').skip(usize::from(symbol_only)) {
            match wanted.next() {
                Some(want) if want == "*" || want == part => {}
                _ => return false,
            }
        }
        match wanted.next() {
            None | Some("*") => true,
            Some(period) => unit.is_some_and(|unit| period.as_bytes() == [unit]),
        }
    }
}

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_belongs_to_the_subs_that_the_vendor_sent_it_for() {
        for (sub, channel, key, unit, expected) in [
            ("0~Coinbase~BTC~USD", 0, "Coinbase~BTC~USD", None, true),
            ("0~Coinbase~BTC~USD", 2, "Coinbase~BTC~USD", None, false),
            ("0~Coinbase~BTC~USD", 0, "Coinbase~BTC~USDT", None, false),
            ("0~Coinbase~BTC~USD", 0, "0~?", None, false),
            ("0~*~*~*", 0, "Coinbase~BTC~USD", None, true),
            ("2~*~BTC~USD", 2, "Kraken~BTC~USD", None, true),
            ("2~*~BTC~USD", 2, "Kraken~BTC~EUR", None, false),
            ("8~Binance~BTC~USDT", 9, "Binance~BTC~USDT", None, true),
            ("11~BTC", 11, "11~BTC", None, true),
            ("11~BTC", 21, "21~BTC", None, false),
            ("24~CCCAGG~BTC~USD~m", 24, "CCCAGG~BTC~USD", Some(b'm'), true),
            ("24~CCCAGG~BTC~USD~m", 24, "CCCAGG~BTC~USD", Some(b'H'), false),
            ("24~CCCAGG~BTC~USD~m", 24, "CCCAGG~BTC~USD", None, false),
            ("24~CCCAGG~BTC~USD~*", 24, "CCCAGG~BTC~USD", Some(b'D'), true),
            ("24~CCCAGG~BTC~USD", 24, "CCCAGG~BTC~USD", Some(b'D'), true),
        ] {
            let parsed = Sub::parse(sub).unwrap();
            assert_eq!(parsed.gives(channel, key, unit), expected, "{sub} {channel} {key}");
        }
    }

    #[test]
    fn what_is_no_sub_is_refused_with_an_example() {
        for bad in ["", "BTC", "0", "0~", "~Coinbase~BTC~USD", "0~Coin base~BTC~USD", "0~\u{7}~a"] {
            assert!(Sub::parse(bad).unwrap_err().contains("0~Coinbase~BTC~USD"), "{bad:?}");
        }
        assert!(Sub::parse(&format!("0~{}", "x".repeat(MAX))).is_err());
        let sub = Sub::parse(" 5~CCCAGG~BTC~USD\n").unwrap();
        assert_eq!((sub.as_str(), sub.kind()), ("5~CCCAGG~BTC~USD", Kind::Index));
    }
}
