//! JSON number text, kept digit for digit.
//!
//! A price that goes through `f64` and back is another text, and 2⁵³+1 another number. The topics
//! carry the vendor's own digits; only the sink turns them into `double precision`.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// The text of one JSON number, borrowed from where it was received.
#[derive(Clone, Copy)]
pub struct Digits<'a>(&'a RawValue);

impl<'a> Digits<'a> {
    /// The number that `text` is, or `None` where it is not exactly one JSON number.
    pub fn new(text: &'a str) -> Option<Self> {
        // RawValue would take surrounding whitespace away; a number text has none.
        if text.trim_ascii() != text {
            return None;
        }
        serde_json::from_str::<&RawValue>(text).ok().and_then(Self::from_raw)
    }

    /// The number that a JSON value is, or `None` where it is a value of another type.
    pub fn from_raw(raw: &'a RawValue) -> Option<Self> {
        matches!(raw.get().as_bytes().first()?, b'-' | b'0'..=b'9').then_some(Digits(raw))
    }

    /// The text as received: `63240`, `1.29e-05`, `-0.0`.
    pub fn as_str(&self) -> &'a str {
        self.0.get()
    }

    /// The nearest `f64`, or `None` where that is not finite (`1e999`).
    pub fn to_f64(&self) -> Option<f64> {
        self.as_str().parse::<f64>().ok().filter(|value| value.is_finite())
    }
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
        self.0.serialize(serializer)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Digits<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'a RawValue>::deserialize(deserializer)?;
        Self::from_raw(raw).ok_or_else(|| de::Error::custom("expected a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_number_beyond_f64_has_no_f64() {
        assert_eq!(Digits::new("1e999").unwrap().to_f64(), None);
        assert_eq!(Digits::new("1e-999").unwrap().to_f64(), Some(0.0));
    }
}
