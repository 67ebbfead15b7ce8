//! A length of time in an order: a number is milliseconds, a text is `5s`, `1m 30s`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// See the module's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Read)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX).serialize(serializer)
    }
}

/// For `Option<Duration>` fields: `#[serde(with = "span::optional")]`.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Duration, Serialize, Serializer, Span};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Span>::deserialize(deserializer)?.map(|span| span.0))
    }

    pub(in super::super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(Span).serialize(serializer)
    }
}

struct Read;

impl Visitor<'_> for Read {
    type Value = Span;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of milliseconds, or a text such as \"5s\"")
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Span, E> {
        Ok(Span(Duration::from_millis(ms)))
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Span, E> {
        u64::try_from(ms)
            .map(|ms| Span(Duration::from_millis(ms)))
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
        humantime::parse_duration(text)
            .map(Span)
            .map_err(|error| E::custom(format!("{text:?} is no length of time: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_milliseconds_and_texts_have_their_units() {
        for (json, expected) in [
            ("1500", Duration::from_millis(1500)),
            ("\"1m 30s\"", Duration::from_secs(90)),
            ("\"20ms\"", Duration::from_millis(20)),
        ] {
            assert_eq!(serde_json::from_str::<Span>(json).unwrap().0, expected, "{json}");
            assert_eq!(serde_saphyr::from_str::<Span>(json).unwrap().0, expected, "{json}");
        }
        for json in ["-1", "\"soon\"", "true", "1.5"] {
            assert!(serde_json::from_str::<Span>(json).is_err(), "{json}");
        }
    }
}
