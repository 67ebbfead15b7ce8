//! JSON number text, kept digit for digit.
//!
//! A price that goes through `f64` and back is another text, and 2⁵³+1 another number. The topics
//! carry the vendor's own digits; only the sink turns them into `double precision`.

// Reading numbers runs in the broker, where a panic repeats for ever on the same record.
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer, ser};
use serde_json::value::RawValue;

use crate::words;

/// The text of one JSON number, borrowed from where it was received.
#[derive(Clone, Copy)]
pub struct Digits<'a> {
    /// By the grammar of RFC 8259, nothing before or behind it.
    text: &'a str,
    form: Form,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// `63240`
    Whole,
    /// `0.0001`
    Fraction,
    /// `1.29e-05`
    Exponent,
}

impl<'a> Digits<'a> {
    /// The number that `text` is, or `None` where it is not exactly one JSON number.
    pub fn new(text: &'a str) -> Option<Self> {
        Self::at(text, 0).filter(|digits| digits.text.len() == text.len())
    }

    /// The number that stands in `text` at the byte `begin`, as long as it goes; `None` where there is
    /// none, or one that is not complete (`1.`) or not JSON (`01`).
    #[inline(always)]
    pub fn at(text: &'a str, begin: usize) -> Option<Self> {
        let (end, form) = scan(text.as_bytes(), begin)?;
        Some(Digits { text: text.get(begin..end)?, form })
    }

    /// The number, if it is whole, not negative and below 10¹⁶: without a loop, for what is parsed
    /// for every record.
    #[inline(always)]
    pub fn small(&self) -> Option<u64> {
        let bytes = self.text.as_bytes();
        if self.form != Form::Whole || bytes.len() > 16 || bytes.first() == Some(&b'-') {
            return None;
        }
        let (high, low) = bytes.split_at_checked(bytes.len().saturating_sub(8))?;
        let value = |digits: &[u8]| words::value(words::load(digits, 0), digits.len());
        Some(value(high).wrapping_mul(100_000_000).wrapping_add(value(low)))
    }

    /// The text as received: `63240`, `1.29e-05`, `-0.0`.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// How it is written.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The nearest `f64`, or `None` where that is not finite (`1e999`).
    pub fn to_f64(&self) -> Option<f64> {
        self.as_str().parse::<f64>().ok().filter(|value| value.is_finite())
    }
}

/// Where a number ends, and how it is written.
#[inline(always)]
fn scan(bytes: &[u8], begin: usize) -> Option<(usize, Form)> {
    let start = begin.wrapping_add(usize::from(bytes.get(begin) == Some(&b'-')));
    let whole = run(bytes, start);
    // No digit at all, or a zero before others.
    if whole == 0 || (bytes.get(start) == Some(&b'0') && whole != 1) {
        return None;
    }
    let mut end = start.wrapping_add(whole);
    let mut form = Form::Whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = run(bytes, end.wrapping_add(1));
        if fraction == 0 {
            return None;
        }
        end = end.wrapping_add(1).wrapping_add(fraction);
        form = Form::Fraction;
    }
    if let Some(b'e' | b'E') = bytes.get(end) {
        end = exponent(bytes, end)?;
        form = Form::Exponent;
    }
    Some((end, form))
}

/// How many ASCII digits there are from `start` on.
#[inline(always)]
fn run(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let digits = words::digits(words::load(bytes, at));
        at = at.wrapping_add(digits);
        if digits < 8 {
            return at.wrapping_sub(start);
        }
    }
}

/// Where the exponent that stands at `at` ends.
#[cold]
fn exponent(bytes: &[u8], at: usize) -> Option<usize> {
    let sign = usize::from(matches!(bytes.get(at.wrapping_add(1)), Some(b'+' | b'-')));
    let start = at.wrapping_add(1).wrapping_add(sign);
    let digits = run(bytes, start);
    (digits > 0).then_some(start.wrapping_add(digits))
}

impl fmt::Debug for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// By text: `1.0` and `1` are the same number but not the same digits.
impl PartialEq for Digits<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Digits<'_> {}

impl Serialize for Digits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.text).map_err(ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Digits<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'a RawValue>::deserialize(deserializer)?;
        Self::new(raw.get()).ok_or_else(|| de::Error::custom("expected a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn digits_survive_a_round_trip_unchanged() {
        for text in
            ["0", "-0.0", "63240", "1.29e-05", "9007199254740993", "234.71999999999998", "1E+2"]
        {
            let digits: Digits<'_> = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&digits).unwrap(), text);
            assert_eq!(Digits::new(text), Some(digits));
        }
    }

    #[test]
    fn what_is_no_json_number_is_no_digits() {
        for text in [
            "", " 1", "1 ", "+1", ".5", "1.", "01", "0x10", "NaN", "Infinity", "null", "\"1\"",
            "1,2", "[1]", "1 2", "--1", "1e",
        ] {
            assert_eq!(Digits::new(text), None, "{text:?}");
        }
        assert!(serde_json::from_str::<Digits<'_>>("\"1\"").is_err());
        assert!(serde_json::from_str::<Digits<'_>>("null").is_err());
    }

    #[test]
    fn a_number_ends_where_its_grammar_ends() {
        for (text, number) in [
            ("1,2", Some("1")),
            ("123456789012345678.5}", Some("123456789012345678.5")),
            ("-0.10e+5x", Some("-0.10e+5")),
            ("1.5.5", Some("1.5")),
            ("1e5e5", Some("1e5")),
            ("0 1", Some("0")),
            ("01", None),
            ("1.", None),
            ("1.e5", None),
            ("1e+", None),
            ("-", None),
            ("", None),
        ] {
            assert_eq!(Digits::at(text, 0).map(|d| d.as_str()), number, "{text:?}");
            let behind = format!("[{text}");
            assert_eq!(Digits::at(&behind, 1).map(|d| d.as_str()), number, "{text:?}");
        }
    }

    #[test]
    fn it_is_known_how_a_number_is_written() {
        for (text, form) in [
            ("-12345678901234567890", Form::Whole),
            ("0.5", Form::Fraction),
            ("5e0", Form::Exponent),
            ("0.5E-7", Form::Exponent),
        ] {
            assert_eq!(Digits::new(text).unwrap().form(), form);
        }
    }

    proptest! {
        #[test]
        fn small_numbers_are_read_without_a_loop(number: u64, shift in 0u32..64) {
            let number = number >> shift;
            let text = number.to_string();
            let small = (number < 10_000_000_000_000_000).then_some(number);
            prop_assert_eq!(Digits::new(&text).unwrap().small(), small);
        }

        #[test]
        fn what_serde_json_reads_as_a_number_is_one(text in "[-+0-9.eE]{0,12}") {
            let read = serde_json::from_str::<&RawValue>(&text).is_ok();
            prop_assert_eq!(Digits::new(&text).is_some(), read);
        }
    }

    #[test]
    fn a_number_beyond_f64_has_no_f64() {
        assert_eq!(Digits::new("1e999").unwrap().to_f64(), None);
        assert_eq!(Digits::new("1e-999").unwrap().to_f64(), Some(0.0));
    }
}
