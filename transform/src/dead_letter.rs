//! A raw record as a dead letter: bytes verbatim, headers such that every Kafka client can read
//! them (rskafka stops for good at one null header value, and keeps only one of repeated keys).

use std::borrow::Cow;
use std::collections::BTreeSet;

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tickpanda_model::header;

use crate::emit::{DeadLetter, Emit};
use crate::outcome::Rejection;
use crate::record::RawRecord;

/// With `%` itself, so that the bytes of a key can be had back.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');

/// Emits the one dead letter of a record.
pub(crate) fn emit<E: Emit>(
    record: &RawRecord<'_>,
    rejection: &Rejection,
    out: &mut E,
) -> Result<(), E::Error> {
    let received_at = record.timestamp_ms.to_string();
    let added = [
        (header::REASON, rejection.reason.code()),
        (header::DETAIL, rejection.detail.as_str()),
        (header::RECEIVED_AT, received_at.as_str()),
    ];
    let kept = kept(record);
    let mut headers = Vec::with_capacity(kept.len().saturating_add(added.len()));
    headers.extend(kept.iter().map(|(key, value)| (key.as_bytes(), *value)));
    headers.extend(added.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())));
    out.dead_letter(DeadLetter { key: record.key, value: record.value, headers: &headers })
}

/// The raw headers that stay, in order: of repeated keys the last.
fn kept<'a>(record: &RawRecord<'a>) -> Vec<(Cow<'a, str>, &'a [u8])> {
    let mut seen =
        BTreeSet::from([header::REASON, header::DETAIL, header::RECEIVED_AT].map(Cow::from));
    let mut kept = Vec::new();
    for (key, value) in (0..record.headers.len()).rev().filter_map(|i| record.headers.get(i)) {
        let key = readable(key);
        if seen.insert(key.clone()) {
            kept.push((key, value.unwrap_or_default()));
        }
    }
    kept.reverse();
    kept
}

/// A header key as text: as it is, or percent-encoded where it is not UTF-8.
fn readable(key: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(key) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(percent_encode(key, ESCAPED).to_string()),
    }
}
