//! Where a transform begins of which no offset is kept.

use std::fmt;
use std::str::FromStr;

/// A place on each input partition. Written as for `rpk transform deploy --from-offset`: `+N`, `-N` or `@T`.
///
/// In the broker, a transform that is deployed without one begins with what comes after its deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// With the first record there is.
    Earliest,
    /// With the first record that comes after the start.
    Latest,
    /// So many offsets after the first, but no further than the last record.
    FromStart(u64),
    /// With the last so many offsets.
    FromEnd(u64),
    /// With the first batch that holds a record at or after this time (ms since the epoch), the whole of
    /// it; with the first record that comes after the start if there is none.
    Timestamp(i64),
}

impl StartPosition {
    /// The offset on a partition whose first offset is `start` and whose next is `end`. `at_time` is the offset of the first
    /// record at or after the time, asked for only by [`StartPosition::Timestamp`].
    ///
    /// Whole batches are delivered: the one that holds the offset is the first.
    pub fn offset(self, start: i64, end: i64, at_time: Option<i64>) -> i64 {
        let distance = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        match self {
            Self::Earliest => start,
            Self::Latest => end,
            Self::FromStart(n) => start.saturating_add(distance(n)).min(end - 1).max(start),
            Self::FromEnd(n) => end.saturating_sub(distance(n)).max(start),
            Self::Timestamp(_) => at_time.map_or(end, |offset| offset.max(start)),
        }
    }
}

impl fmt::Display for StartPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => write!(f, "+0"),
            Self::Latest => write!(f, "-0"),
            Self::FromStart(n) => write!(f, "+{n}"),
            Self::FromEnd(n) => write!(f, "-{n}"),
            Self::Timestamp(at) => write!(f, "@{at}"),
        }
    }
}

/// The text is no start position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad offset: write +N (from the start), -N (from the end) or @T (milliseconds since the epoch)"
)]
pub struct BadStartPosition;

impl FromStr for StartPosition {
    type Err = BadStartPosition;

    fn from_str(text: &str) -> Result<Self, BadStartPosition> {
        let mut rest = text.chars();
        let (sign, digits) = (rest.next(), rest.as_str());
        // Not even a second sign, which the number's own parser would take.
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(BadStartPosition);
        }
        let number: i64 = digits.parse().map_err(|_| BadStartPosition)?;
        let distance = number.unsigned_abs();
        match (sign, distance) {
            (Some('+'), 0) => Ok(Self::Earliest),
            (Some('+'), n) => Ok(Self::FromStart(n)),
            (Some('-'), 0) => Ok(Self::Latest),
            (Some('-'), n) => Ok(Self::FromEnd(n)),
            (Some('@'), _) => Ok(Self::Timestamp(number)),
            _ => Err(BadStartPosition),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_position_has_its_offset_on_a_partition() {
        use StartPosition as P;
        // (position, first and next offset, offset at the time, where it begins)
        for (position, start, end, at_time, begins) in [
            (P::Earliest, 10, 20, None, 10),
            (P::Latest, 10, 20, None, 20),
            (P::FromStart(0), 10, 20, None, 10),
            (P::FromStart(3), 10, 20, None, 13),
            (P::FromStart(10), 10, 20, None, 19),
            (P::FromStart(i64::MAX as u64), 10, 20, None, 19),
            (P::FromStart(u64::MAX), 10, 20, None, 19),
            (P::FromStart(5), 10, 10, None, 10),
            (P::FromStart(5), 0, 0, None, 0),
            (P::FromEnd(0), 10, 20, None, 20),
            (P::FromEnd(1), 10, 20, None, 19),
            (P::FromEnd(99), 10, 20, None, 10),
            (P::FromEnd(u64::MAX), 10, 20, None, 10),
            (P::Timestamp(7), 10, 20, Some(15), 15),
            (P::Timestamp(7), 10, 20, Some(5), 10),
            (P::Timestamp(7), 10, 20, None, 20),
        ] {
            assert_eq!(
                position.offset(start, end, at_time),
                begins,
                "{position} of {start}..{end}"
            );
        }
    }

    #[test]
    fn it_is_written_as_for_rpk() {
        use StartPosition as P;
        for (text, position) in [
            ("+0", P::Earliest),
            ("-0", P::Latest),
            ("+12", P::FromStart(12)),
            ("-1", P::FromEnd(1)),
            ("@1700000000000", P::Timestamp(1_700_000_000_000)),
            ("+9223372036854775807", P::FromStart(i64::MAX as u64)),
        ] {
            assert_eq!(text.parse(), Ok(position));
            assert_eq!(position.to_string(), text);
        }
        for junk in ["", "+", "12", "@", "--1", "+-1", "@-1", "+1.5", "x1", "+9223372036854775808"]
        {
            assert_eq!(junk.parse::<P>(), Err(BadStartPosition), "{junk}");
        }
    }
}
