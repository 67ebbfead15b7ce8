//! Record header names (UTF-8 text, integers in decimal) and the `seq` header.

use std::fmt;
use std::str::FromStr;

/// `ws` or `rest`; absent means `ws`.
pub const FEED: &str = "feed";
/// Value of [`FEED`] for a REST response body.
pub const FEED_REST: &str = "rest";
/// [`Seq`]: which source run published the record, and its number in that run.
pub const SEQ: &str = "seq";
/// Market of a REST body (`CCCAGG` or an exchange).
pub const MARKET: &str = "market";
/// Base symbol of a REST body.
pub const BASE: &str = "base";
/// Quote symbol of a REST body.
pub const QUOTE: &str = "quote";
/// Candle [`Interval`](crate::candle::Interval) of a REST body.
pub const INTERVAL: &str = "interval";
/// The request's `toTs` in seconds; absent when the request had none.
pub const TO: &str = "to";
/// Size in bytes of a frame too large for the topic; the value is then empty.
pub const TOO_LARGE: &str = "too_large";
/// XXH3-128 of a frame too large for the topic.
pub const XXH128: &str = "xxh128";
/// On a dead letter: the stable code of a [`Reason`](crate::dead_letter::Reason).
pub const REASON: &str = "reason";
/// On a dead letter: the reason in words.
pub const DETAIL: &str = "detail";
/// On a dead letter: the raw record's timestamp, milliseconds since the epoch.
pub const RECEIVED_AT: &str = "received_at";

/// Which run of a source published a record, and the record's number in that run.
///
/// A missing number is a lost frame, a repeated one a publish that was retried: anybody who reads
/// the raw topic can count both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq {
    /// Drawn at random when the source starts.
    pub run: u64,
    /// Counts the run's published frames from 0.
    pub n: u64,
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}:{}", self.run, self.n)
    }
}

impl FromStr for Seq {
    type Err = BadSeq;

    fn from_str(text: &str) -> Result<Self, BadSeq> {
        let (run, n) = text.split_once(':').ok_or(BadSeq)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if run.len() != 16 || !run.bytes().all(lower_hex) || !n.bytes().all(|b| b.is_ascii_digit())
        {
            return Err(BadSeq);
        }
        Ok(Seq {
            run: u64::from_str_radix(run, 16).map_err(|_| BadSeq)?,
            n: n.parse().map_err(|_| BadSeq)?,
        })
    }
}

/// The text is not `{16 lower-case hex digits}:{decimal}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSeq;

impl fmt::Display for BadSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a seq header is 16 lower-case hex digits, a colon and a decimal number")
    }
}

impl std::error::Error for BadSeq {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seq_reads_back_what_it_prints() {
        let seq = Seq { run: 0x00ab, n: 42 };
        assert_eq!(seq.to_string(), "00000000000000ab:42");
        assert_eq!("00000000000000ab:42".parse(), Ok(seq));
    }

    #[test]
    fn seq_refuses_every_other_form() {
        for bad in [
            "",
            ":",
            "ab:1",
            "00000000000000AB:1",
            "00000000000000ab:",
            "00000000000000ab:-1",
            "00000000000000ab:+1",
            "00000000000000ab:1:2",
            "00000000000000ab:99999999999999999999",
        ] {
            assert_eq!(bad.parse::<Seq>(), Err(BadSeq), "{bad:?}");
        }
    }
}
