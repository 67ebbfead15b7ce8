//! A record's payload: key, value and headers, the part of a Kafka v2 record that a transform
//! reads and writes.
//!
//! ```text
//! payload  := bytes(key) bytes(value) varint(header count) { bytes(header key) bytes(header value) }
//! bytes(x) := varint(-1)                // null
//!           | varint(length) the bytes
//! ```
//!
//! Payloads travel through the host verbatim in both directions. Input is not validated at all
//! (the broker doesn't either); output is, with the broker's two quirks: a payload that ends early
//! counts as if zeros followed, so even an empty one passes, and a header key may be null.

use crate::varint;

/// One header of a record: key and value, the value may be null.
pub type Header<'a> = (&'a [u8], Option<&'a [u8]>);

/// A record as people think of it: key, value (either may be null) and headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// `None` is Kafka's null, a tombstone.
    pub value: Option<&'a [u8]>,
    /// In order; a key may appear more than once.
    pub headers: Vec<Header<'a>>,
}

impl<'a> Record<'a> {
    /// A record with a key and a value.
    pub fn new(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Self {
        Self { key, value, headers: Vec::new() }
    }

    /// A record with a value only.
    pub fn value(value: &'a [u8]) -> Self {
        Self::new(None, Some(value))
    }

    /// The same record with one more header.
    #[must_use]
    pub fn header(mut self, key: &'a str, value: Option<&'a [u8]>) -> Self {
        self.headers.push((key.as_bytes(), value));
        self
    }

    /// Reads a payload as the broker does when it validates what a guest wrote; `None` if it
    /// would refuse it. A null header key reads as empty, as in the SDK; headers that are counted but lie
    /// wholly past the payload's end are left out.
    pub fn decode(payload: &'a [u8]) -> Option<Self> {
        let mut headers = Vec::new();
        let (key, value) = walk(payload, |key, value| headers.push((key.unwrap_or(b""), value)))?;
        Some(Self { key, value, headers })
    }

    /// Appends the payload to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write_bytes(out, self.key);
        write_bytes(out, self.value);
        varint::write(out, self.headers.len() as i64);
        for (key, value) in &self.headers {
            write_bytes(out, Some(key));
            write_bytes(out, *value);
        }
    }
}

/// Whether the broker takes this payload from a guest.
pub(crate) fn is_valid(payload: &[u8]) -> bool {
    walk(payload, |_, _| {}).is_some()
}

type KeyValue<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

fn walk<'a>(
    payload: &'a [u8],
    mut header: impl FnMut(Option<&'a [u8]>, Option<&'a [u8]>),
) -> Option<KeyValue<'a>> {
    let mut rest = payload;
    let key = read_bytes(&mut rest)?;
    let value = read_bytes(&mut rest)?;
    let count = varint::read_lenient(&mut rest);
    if count < 0 {
        return None;
    }
    for _ in 0..count {
        if rest.is_empty() {
            // All further headers would read as zeros: valid, and the count may be 2^62.
            break;
        }
        let key = read_bytes(&mut rest)?;
        header(key, read_bytes(&mut rest)?);
    }
    rest.is_empty().then_some((key, value))
}

/// The outer `None`: a length below -1 or past the end.
fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let length = varint::read_lenient(rest);
    if length == -1 {
        return Some(None);
    }
    let (bytes, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(Some(bytes))
}

fn write_bytes(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_broker_takes_and_refuses() {
        for (payload, valid, why) in [
            (&[0x01, 0x02, b'x', 0x00][..], true, "null key, one byte of value"),
            (&[], true, "quirk: nothing reads as zeros"),
            (&[0x01], true, "quirk: ends after the key"),
            (&[0x00, 0x00, 0x02], true, "quirk: ends before its header"),
            (&[0x01, 0x01, 0x02, 0x01, 0x01], true, "quirk: null header key"),
            (&[0x03, 0x00, 0x00], false, "length -2"),
            (&[0x04, b'x'], false, "key past the end"),
            (&[0x01, 0x01, 0x01], false, "-1 headers"),
            (&[0x01, 0x01, 0x00, 0x00], false, "a byte too many"),
            (&[0x01, 0x01, 0x02, 0x00, 0x04, b'x'], false, "header value past the end"),
        ] {
            assert_eq!(is_valid(payload), valid, "{why}");
            assert_eq!(Record::decode(payload).is_some(), valid, "{why}");
        }
    }

    #[test]
    fn a_giant_header_count_ends_at_once() {
        let mut payload = vec![0x01, 0x01];
        varint::write(&mut payload, i64::MAX);
        assert!(is_valid(&payload));
        assert!(Record::decode(&payload).is_some_and(|r| r.headers.is_empty()));
    }

    proptest! {
        #[test]
        fn every_record_reads_back(
            key: Option<Vec<u8>>,
            value: Option<Vec<u8>>,
            headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        ) {
            let record = Record {
                key: key.as_deref(),
                value: value.as_deref(),
                headers: headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect(),
            };
            let mut payload = Vec::new();
            record.encode(&mut payload);
            prop_assert!(is_valid(&payload));
            prop_assert_eq!(Record::decode(&payload), Some(record));
            payload.push(0);
            prop_assert!(!is_valid(&payload));
        }

        #[test]
        fn any_bytes_are_judged_without_a_panic(payload: Vec<u8>) {
            prop_assert_eq!(is_valid(&payload), Record::decode(&payload).is_some());
        }
    }
}
