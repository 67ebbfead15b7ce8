//! What is written, what each client can't write, and how a client shows what it read.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// A record as it is written or read; bytes are hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<i64>,
    pub(super) timestamp: i64,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) headers: Vec<(String, Option<String>)>,
}

/// A record as a client shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) headers: Headers,
}

/// Headers as a client shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Headers {
    /// As they are.
    All(Vec<(String, Option<String>)>),
    /// As rskafka shows them: of several with one key, the last.
    Last(BTreeMap<String, String>),
    /// As kcat prints them.
    Text(Vec<u8>),
}

/// 2026-01-01, ms.
const FIRST: i64 = 1_767_225_600_000;
/// Between two records, ms.
pub(super) const STEP: i64 = 1000;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unhex(text: &str) -> Result<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        bail!("{text:?} is not hexadecimal");
    }
    let pairs = digits.chunks(2);
    pairs.map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?)).collect()
}

/// Every kind of record, but those of [`with_null_headers`].
pub(super) fn all() -> Vec<Record> {
    let all_bytes: Vec<u8> = (0..=255).collect();
    let large = b"tick by tick ".repeat(2000);
    type Row<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [(&'a str, &'a [u8])]);
    let rows: [Row<'_>; 8] = [
        (Some(b"key"), Some(b"value"), &[("h", b"v")]),
        (None, Some(b"without a key"), &[]),
        (Some(b""), Some(b""), &[]),
        (Some(b"tombstone"), None, &[]),
        (Some(b"k"), Some(b"repeated"), &[("a", b"1"), ("b", b"2"), ("a", b"3"), ("empty", b"")]),
        (Some(b"\xff\xfe\x80"), Some(&all_bytes), &[("bytes", b"\xff\xfe\x80")]),
        (Some(b"large"), Some(&large), &[]),
        (Some("ключ".as_bytes()), Some("значение".as_bytes()), &[("имя", "данные".as_bytes())]),
    ];
    let one = |(n, (key, value, headers)): (i64, &Row<'_>)| Record {
        offset: None,
        timestamp: FIRST + n * STEP,
        key: key.map(hex),
        value: value.map(hex),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), Some(hex(v)))).collect(),
    };
    (0..).zip(&rows).map(one).collect()
}

/// Records that rskafka can't read: a null header value fails its whole fetch.
pub(super) fn with_null_headers() -> Vec<Record> {
    let record = |n: i64, headers: &[(&str, Option<&[u8]>)]| Record {
        offset: None,
        timestamp: FIRST + n * STEP,
        key: Some(hex(b"k")),
        value: Some(hex(b"v")),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), v.map(hex))).collect(),
    };
    vec![
        record(0, &[("null", None)]),
        record(1, &[("n", None), ("n", Some(b"")), ("n", Some(b"x")), ("n", None)]),
    ]
}

impl Record {
    /// Whether a header's key comes twice.
    pub(super) fn repeats_headers(&self) -> bool {
        let keys: BTreeMap<&str, ()> =
            self.headers.iter().map(|(key, _)| (key.as_str(), ())).collect();
        keys.len() < self.headers.len()
    }

    /// Whether `shown` is this record at `offset`.
    pub(super) fn is_shown(&self, shown: &Shown, offset: i64) -> Result<()> {
        let headers = match &shown.headers {
            Headers::All(headers) => *headers == self.headers,
            Headers::Last(last) => {
                let pairs = self.headers.iter();
                let own: BTreeMap<_, _> = pairs
                    .map(|(key, value)| (key.clone(), value.clone().unwrap_or_default()))
                    .collect();
                own == *last
            }
            Headers::Text(text) => *text == self.headers_as_kcat_prints_them()?,
        };
        let same = headers
            && shown.offset == offset
            && shown.key == self.key
            && shown.value == self.value
            && shown.timestamp == self.timestamp;
        if !same {
            let short = |text: String| text.chars().take(400).collect::<String>();
            bail!(
                "offset {offset}: written {}, read {}",
                short(format!("{self:?}")),
                short(format!("{shown:?}"))
            );
        }
        Ok(())
    }

    fn headers_as_kcat_prints_them(&self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        for (key, value) in &self.headers {
            if !text.is_empty() {
                text.push(b',');
            }
            text.extend_from_slice(key.as_bytes());
            text.push(b'=');
            match value {
                Some(value) => text.extend(unhex(value)?),
                None => text.extend_from_slice(b"NULL"),
            }
        }
        Ok(text)
    }
}
