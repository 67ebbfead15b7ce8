//! Exact conversions between the ways in which times are written on the topics.
//!
//! Ticks carry seconds with a decimal fraction as JSON number text, candles an ISO 8601 bucket, the
//! database microseconds. None of these conversions goes through a float: 1753190418.654 has no
//! exact `f64`.

use std::fmt::{self, Write};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digits::Digits;

const DAY: i64 = 86_400;

/// Microseconds since the epoch of a time in seconds, finer digits cut off (toward minus infinity
/// for times before 1970), or `None` where the text has an exponent or does not fit.
///
/// The transform writes no exponents in times, so a text with one was not written by it.
pub fn micros(seconds: Digits<'_>) -> Option<i64> {
    let text = seconds.as_str();
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole: i64 = whole.parse().ok()?;
    let mut micro = 0i64;
    for place in 0..6 {
        let digit = match fraction.as_bytes().get(place) {
            Some(b @ b'0'..=b'9') => i64::from(b - b'0'),
            Some(_) => return None,
            None => 0,
        };
        micro = micro * 10 + digit;
    }
    let rest = fraction.as_bytes().get(6..).unwrap_or_default();
    if !rest.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let total = whole.checked_mul(1_000_000)?.checked_add(micro)?;
    let finer = rest.iter().any(|digit| *digit != b'0');
    if negative { (-total).checked_sub(i64::from(finer)) } else { Some(total) }
}

/// The start of a candle, in seconds since the epoch; written as `2017-11-11T04:30:00.000Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(i64);

impl Bucket {
    /// The last second of the year 9999, beyond which ISO 8601 needs more than four digits.
    const MAX: i64 = 253_402_300_799;

    /// A bucket from 0000-03-01 to 9999-12-31, or `None` outside of these years.
    pub fn new(seconds: i64) -> Option<Self> {
        (-62_162_035_200..=Self::MAX).contains(&seconds).then_some(Bucket(seconds))
    }

    /// Seconds since the epoch.
    pub fn seconds(self) -> i64 {
        self.0
    }

    /// The inverse of `Display`, exactly that form and no other.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = text.as_bytes();
        let shape = b"dddd-dd-ddTdd:dd:dd.000Z";
        let fits = bytes.len() == shape.len()
            && bytes
                .iter()
                .zip(shape)
                .all(|(b, s)| if *s == b'd' { b.is_ascii_digit() } else { b == s });
        if !fits {
            return None;
        }
        let number =
            |from: usize, to: usize| text.get(from..to).and_then(|t| t.parse::<i64>().ok());
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
        // Printing it again refuses 2024-02-31 and 25:00:00, which the arithmetic would carry over.
        Self::new(seconds).filter(|bucket| bucket.to_string() == text)
    }
}

impl Bucket {
    /// As ISO 8601 in UTC with milliseconds, without an allocation: the transform prints one per
    /// candle.
    pub fn iso8601(self) -> [u8; 24] {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        for (at, number) in [
            (0, year / 100),
            (2, year % 100),
            (5, month),
            (8, day),
            (11, second / 3600),
            (14, second / 60 % 60),
            (17, second % 60),
        ] {
            // Below 100, all of them, so nothing is cut off.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let number = number as u8;
            text[at] = b'0' + number / 10;
            text[at + 1] = b'0' + number % 10;
        }
        text
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iso8601().iter().try_for_each(|byte| f.write_char(char::from(*byte)))
    }
}

impl Serialize for Bucket {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bucket {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Iso;
        impl Visitor<'_> for Iso {
            type Value = Bucket;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a UTC time like 2017-11-11T04:30:00.000Z")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bucket, E> {
                Bucket::parse(text)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Iso)
    }
}

/// (year, month, day) of a day number, 0 = 1970-01-01, in the proleptic Gregorian calendar.
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a date. Source: as [`civil_from_days`], `days_from_civil`.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = (month + 9) % 12;
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn seconds_become_microseconds_digit_for_digit() {
        for (text, expected) in [
            ("1753190418.654", Some(1_753_190_418_654_000)),
            ("1618335982.414", Some(1_618_335_982_414_000)),
            ("1618335982", Some(1_618_335_982_000_000)),
            ("1.9999999", Some(1_999_999)),
            ("-1.5", Some(-1_500_000)),
            ("-0.0000001", Some(-1)),
            ("1e9", None),
            ("1.5e3", None),
            ("1.1234567e1", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(micros(Digits::new(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn buckets_print_as_iso_8601() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_510_374_600, "2017-11-11T04:30:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (Bucket::MAX, "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(Bucket::new(seconds).unwrap().to_string(), text);
        }
    }

    #[test]
    fn impossible_buckets_are_refused() {
        for text in [
            "2024-02-30T00:00:00.000Z",
            "2024-01-01T25:00:00.000Z",
            "2024-13-01T00:00:00.000Z",
            "2024-01-01T00:00:00Z",
            "2024-01-01 00:00:00.000Z",
            "２024-01-01T00:00:00.000Z",
        ] {
            assert_eq!(Bucket::parse(text), None, "{text}");
        }
        assert_eq!(Bucket::new(Bucket::MAX + 1), None);
    }

    proptest! {
        #[test]
        fn every_bucket_reads_back(seconds in -62_162_035_200..=Bucket::MAX) {
            let bucket = Bucket::new(seconds).unwrap();
            prop_assert_eq!(Bucket::parse(&bucket.to_string()), Some(bucket));
        }
    }
}
