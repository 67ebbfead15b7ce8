//! A raw record as the fuzzer's bytes, and as text that a person can read and write.
//!
//! ```text
//! 1753190418708           timestamp in milliseconds; RECEIVED if it is no number
//! =Coinbase~BTC~USD       key behind the =; anything else is a null key
//! feed:rest               headers; without a colon the value is null
//! interval:1m
//!                         an empty line; without one the record is a tombstone
//! {"Response":"Success"…  value, to the end
//! ```
//!
//! Any bytes are an input, so that the fuzzer wastes none, and its mutations reach each part.

/// Headers as `normalize` takes them.
pub(crate) type Headers = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The timestamp of an input that has none: after every frame of the seeds.
pub(crate) const RECEIVED: i64 = 1_753_190_418_708;

/// One raw record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) timestamp_ms: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    pub(crate) value: Option<Vec<u8>>,
}

impl Input {
    /// Reads any bytes.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut rest = bytes;
        let mut line = || {
            let end = rest.iter().position(|byte| *byte == b'\n')?;
            let (line, after) = rest.split_at(end);
            rest = &after[1..];
            Some(line)
        };
        let timestamp = line().and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
        let key = line().and_then(|line| Some(line.strip_prefix(b"=")?.to_vec()));
        let mut headers = Headers::new();
        let value = loop {
            match line() {
                None => break None,
                Some([]) => break Some(rest.to_vec()),
                Some(line) => headers.push(header(line)),
            }
        };
        Input { timestamp_ms: timestamp.unwrap_or(RECEIVED), key, headers, value }
    }
}

fn header(line: &[u8]) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut parts = line.splitn(2, |byte| *byte == b':');
    let key = parts.next().unwrap_or_default().to_vec();
    (key, parts.next().map(<[u8]>::to_vec))
}
