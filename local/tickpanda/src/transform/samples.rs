//! Sample records from a file: one JSON object a line.
//!
//! ```text
//! {"key":"k","value":"text","headers":[{"key":"feed","value":"ws"}],"timestamp":1753190418708}
//! {"value_base64":"AAEC/w=="}
//! {"value":null}
//! ```

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use tickpanda_host::check::Sample;

/// Samples are kept in memory.
const MOST_BYTES: u64 = 256 << 20;

/// A file's records.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// In the file's order.
    pub(super) records: Vec<Sample>,
    /// The line of each, from 1.
    pub(super) lines: Vec<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    #[serde(default)]
    headers: Vec<Header>,
    timestamp: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
}

/// Reads all lines; empty ones count, but are no records.
///
/// # Errors
/// Where the file can't be read, and for the first line that is none: by its number.
pub(super) fn read(file: &Path) -> Result<Samples> {
    let path = file.display();
    let opened = File::open(file).with_context(|| format!("can't read {path}"))?;
    let bytes = opened.metadata().with_context(|| format!("can't read {path}"))?.len();
    ensure!(bytes <= MOST_BYTES, "{path} has {bytes} bytes, at most {MOST_BYTES} are read");
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    let mut samples = Samples::default();
    for (n, line) in BufReader::new(opened).split(b'\n').enumerate() {
        let line = line.with_context(|| format!("can't read {path}"))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = parse(&line, now).with_context(|| format!("{path}, line {}", n + 1))?;
        samples.records.push(record);
        samples.lines.push(n + 1);
    }
    Ok(samples)
}

fn parse(line: &[u8], now: i64) -> Result<Sample> {
    let line: Line = serde_json::from_slice(line)?;
    let header = |header: Header| -> Result<_> {
        let key = bytes("key", header.key, header.key_base64)?;
        let key = key.context("a header has no key")?;
        Ok((key, bytes("value", header.value, header.value_base64)?))
    };
    Ok(Sample {
        key: bytes("key", line.key, line.key_base64)?,
        value: bytes("value", line.value, line.value_base64)?,
        headers: line.headers.into_iter().map(header).collect::<Result<_>>()?,
        timestamp: line.timestamp.unwrap_or(now),
    })
}

fn bytes(name: &str, text: Option<String>, base64: Option<String>) -> Result<Option<Vec<u8>>> {
    ensure!(text.is_none() || base64.is_none(), "it has both {name} and {name}_base64");
    let decoded = base64.map(|base64| STANDARD.decode(base64)).transpose();
    let decoded = decoded.with_context(|| format!("{name}_base64"))?;
    Ok(decoded.or(text.map(String::into_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_record() {
        let line = br#"{"key":"k","value_base64":"AAH/","headers":[{"key":"a","value":"b"},
            {"key_base64":"/w=="},{"key":"","value":null}],"timestamp":7}"#;
        let expected = Sample {
            key: Some(b"k".into()),
            value: Some(vec![0, 1, 255]),
            headers: vec![(b"a".into(), Some(b"b".into())), (vec![255], None), (vec![], None)],
            timestamp: 7,
        };
        assert_eq!(parse(line, 1).unwrap(), expected);
        assert_eq!(parse(b"{}", 1).unwrap(), Sample { timestamp: 1, ..Sample::default() });
        let empty = parse(br#"{"value":""}"#, 1).unwrap();
        assert_eq!(empty.value, Some(vec![]), "empty is not null");
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (line, part) in [
            (&b"text"[..], "expected"),
            (br#"{"vaule":"x"}"#, "unknown field `vaule`"),
            (br#"{"value":1}"#, "expected a string"),
            (br#"{"value":"x","value_base64":"eA=="}"#, "both value and value_base64"),
            (br#"{"key_base64":"?"}"#, "key_base64"),
            (br#"{"headers":[{"value":"x"}]}"#, "a header has no key"),
            (br#"{"timestamp":1.5}"#, "expected i64"),
            (b"\xff", "expected value"),
        ] {
            let error = format!("{:#}", parse(line, 1).unwrap_err());
            assert!(error.contains(part), "{error}");
        }
    }
}
