//! The JSON that requests bring: the same fields as Redpanda's schemas, no others, each of its type.

use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};

use super::answer::Refused;
use crate::compress::Compression;
use crate::engine::{Change, StartFrom};

/// From here on a time in nanoseconds no longer fits, in ms.
const END_OF_TIME: i64 = i64::MAX / 1_000_000;

/// The head of a deploy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Deploy {
    pub(super) name: String,
    pub(super) input_topic: String,
    pub(super) output_topics: Vec<String>,
    #[serde(default)]
    environment: Vec<Variable>,
    #[serde(default)]
    pub(super) compression: Compression,
    #[serde(default, deserialize_with = "given")]
    offset: Option<Offset>,
}

/// One variable of a guest's environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    key: String,
    value: String,
}

/// Where a transform is to start.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offset {
    format: Format,
    value: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Format {
    FromStart,
    FromEnd,
    Timestamp,
}

/// What is to be changed of a transform.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Patch {
    #[serde(default, deserialize_with = "given")]
    is_paused: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    env: Option<Vec<Variable>>,
    #[serde(default, deserialize_with = "given")]
    compression: Option<Compression>,
}

impl Deploy {
    /// Where it is to start; by default with what is newer than `now` (ms since the epoch), the time of the deploy.
    pub(super) fn start(&self, now: i64) -> Result<StartFrom, Refused> {
        let Some(Offset { format, value }) = self.offset else {
            return Ok(StartFrom::Timestamp(now));
        };
        let Ok(distance) = u64::try_from(value) else {
            return Err(Refused::bad(format!("Bad offset: expected value >= 0, got {value}")));
        };
        match format {
            Format::Timestamp if value >= END_OF_TIME => {
                Err(Refused::bad(format!("Bad offset: Timestamp value out of range ({value})")))
            }
            Format::Timestamp => Ok(StartFrom::Timestamp(value)),
            Format::FromStart if distance == 0 => Ok(StartFrom::Earliest),
            Format::FromStart => Ok(StartFrom::FromStart(distance)),
            Format::FromEnd if distance == 0 => Ok(StartFrom::Latest),
            Format::FromEnd => Ok(StartFrom::FromEnd(distance)),
        }
    }

    /// The environment; of a variable that is given twice the last counts.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        collapsed(&self.environment)
    }
}

impl From<Patch> for Change {
    fn from(patch: Patch) -> Self {
        Self {
            paused: patch.is_paused,
            env: patch.env.as_deref().map(collapsed),
            compression: patch.compression,
        }
    }
}

fn collapsed(variables: &[Variable]) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    for Variable { key, value } in variables {
        match env.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => old.clone_from(value),
            None => env.push((key.clone(), value.clone())),
        }
    }
    env
}

/// What is there is of its type: `null` is not the same as nothing.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Reads the JSON value at the beginning of `body`; what follows it at once is the rest.
pub(super) fn head<T: DeserializeOwned>(body: &Bytes) -> Result<(T, Bytes), Refused> {
    first(body).map(|(head, end)| (head, body.slice(end..))).map_err(|error| refused(body, &error))
}

/// Reads `body`, which is one JSON object and nothing else.
pub(super) fn whole<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(body) {
        return Err(refused(&[], &error));
    }
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return Err(Refused::bad("Request body is not a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| refused(body, &error))
}

/// The first value, and where it ends.
fn first<T: DeserializeOwned>(body: &[u8]) -> Result<(T, usize), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(body).into_iter();
    let value = values.next().unwrap_or_else(|| {
        Err(serde::de::Error::custom("there is nothing where an object should be"))
    })?;
    Ok((value, values.byte_offset()))
}

/// Whether it is no JSON, or not the JSON that it should be.
fn refused(body: &[u8], error: &serde_json::Error) -> Refused {
    // A null where a word should be is a wrong word to serde, and not JSON to its classes.
    let what = match first::<IgnoredAny>(body) {
        Ok(_) => "invalid JSON request body",
        Err(_) => "JSON parse error",
    };
    Refused::bad(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deploy(text: &str) -> Result<(Deploy, Bytes), Refused> {
        head(&Bytes::from(text.to_owned()))
    }

    fn with(more: &str) -> Result<(Deploy, Bytes), Refused> {
        deploy(&format!(r#"{{"name":"n","input_topic":"i","output_topics":["o"]{more}}}"#))
    }

    #[test]
    fn what_follows_the_object_is_the_module_to_the_byte() {
        let json = r#"{"name":"n","input_topic":"i","output_topics":["o","p"]}"#;
        for module in ["\0asm\u{1}\0\0\0", " \0asm", "", "{}"] {
            let (head, rest) = deploy(&format!("{json}{module}")).unwrap();
            assert_eq!((head.name.as_str(), &rest[..]), ("n", module.as_bytes()));
            assert_eq!(head.output_topics, ["o", "p"]);
            assert_eq!(head.compression, Compression::None);
            assert_eq!(head.start(77), Ok(StartFrom::Timestamp(77)), "now");
        }
    }

    #[test]
    fn every_form_of_a_start_is_read() {
        for (offset, start) in [
            (r#"{"format":"from_start","value":0}"#, StartFrom::Earliest),
            (r#"{"format":"from_start","value":5}"#, StartFrom::FromStart(5)),
            (r#"{"value":0,"format":"from_end"}"#, StartFrom::Latest),
            (
                r#"{"format":"from_end","value":9223372036854775807}"#,
                StartFrom::FromEnd(i64::MAX as u64),
            ),
            (
                r#"{"format":"timestamp","value":9223372036853}"#,
                StartFrom::Timestamp(9_223_372_036_853),
            ),
        ] {
            let (head, _) = with(&format!(r#","offset":{offset}"#)).unwrap();
            assert_eq!(head.start(1), Ok(start), "{offset}");
        }
    }

    #[test]
    fn what_the_schema_does_not_allow_is_refused_with_redpandas_words() {
        for (body, words) in [
            ("", "JSON parse error"),
            ("{", "JSON parse error"),
            (r#"{"name":"n"}"#, "invalid JSON request body: missing field `input_topic`"),
            ("[]", "invalid JSON request body"),
            ("7", "invalid JSON request body"),
        ] {
            let refused = deploy(body).unwrap_err();
            assert!(refused.message().starts_with(words), "{body}: {refused:?}");
        }
        for more in [
            r#","compression":"producer""#,
            r#","compression":null"#,
            r#","environment":{}"#,
            r#","environment":[{"key":"k"}]"#,
            r#","environment":[{"key":"k","value":1}]"#,
            r#","environment":[{"key":"k","value":"v","more":1}]"#,
            r#","offset":null"#,
            r#","offset":{"format":"from_start"}"#,
            r#","offset":{"format":"from_start","value":1.5}"#,
            r#","offset":{"format":"from_start","value":9223372036854775808}"#,
            r#","offset":{"format":"latest","value":1}"#,
            r#","status":[]"#,
        ] {
            let refused = with(more).unwrap_err();
            assert!(refused.message().starts_with("invalid JSON request body: "), "{more}");
        }
        for (offset, words) in [
            (r#"{"format":"from_end","value":-1}"#, "Bad offset: expected value >= 0, got -1"),
            (r#"{"format":"timestamp","value":-1}"#, "Bad offset: expected value >= 0, got -1"),
            (
                r#"{"format":"timestamp","value":9223372036854}"#,
                "Bad offset: Timestamp value out of range (9223372036854)",
            ),
        ] {
            let (head, _) = with(&format!(r#","offset":{offset}"#)).unwrap();
            assert_eq!(head.start(1).unwrap_err().message(), words);
        }
    }

    #[test]
    fn a_patch_is_one_object_with_what_is_to_change() {
        let patch = |text: &str| whole::<Patch>(text.as_bytes()).map(Change::from);
        assert!(patch("{}").unwrap().is_empty());
        let change = patch(
            r#" {"is_paused":true,"env":[{"key":"a","value":"1"},{"key":"a","value":"2"}],"compression":"lz4"} "#,
        )
        .unwrap();
        assert_eq!((change.paused, change.compression), (Some(true), Some(Compression::Lz4)));
        assert_eq!(change.env, Some(vec![("a".to_owned(), "2".to_owned())]));
        for (body, words) in [
            ("", "JSON parse error"),
            ("{} {}", "JSON parse error"),
            ("[1", "JSON parse error"),
            ("[1]", "Request body is not a JSON object"),
            ("null", "Request body is not a JSON object"),
            (r#"{"is_paused":"yes"}"#, "invalid JSON request body"),
            (r#"{"is_paused":null}"#, "invalid JSON request body"),
            (r#"{"paused":true}"#, "invalid JSON request body"),
            (r#"{"compression":"producer"}"#, "invalid JSON request body"),
        ] {
            let refused = patch(body).unwrap_err();
            assert!(refused.message().starts_with(words), "{body}: {refused:?}");
        }
    }
}
