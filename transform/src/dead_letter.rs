//! A raw record as a dead letter: bytes verbatim, headers such that every Kafka client can read
//! them (rskafka stops for good at one null header value, and keeps only one of repeated keys).
//!
//! A list of headers is the one thing here whose size an input decides, and the module has 2 MiB
//! for everything. So there is one list, of 16 bytes a header, besides the SDK's own, and 4 bytes
//! a header to find the repeated ones; and what is not copied but made, the encoded keys, has a
//! limit: a dead letter is never more than [`ENCODED`] and the three headers larger than its record.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tickpanda_model::header;

use crate::emit::{DeadLetter, Emit};
use crate::outcome::Rejection;
use crate::record::{Headers, RawRecord};

/// With `%` itself: of an encoded key the bytes can be had back.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'%');
/// As long as all percent-encoded keys of one record may be together, in bytes. They are up to
/// three times as long as the keys. Headers beyond it are left out, which `detail` tells.
const ENCODED: usize = 16 * 1024;

/// Emits the one dead letter of a record.
pub(crate) fn emit<E: Emit>(
    record: &RawRecord<'_>,
    rejection: &Rejection,
    out: &mut E,
) -> Result<(), E::Error> {
    let encoded = Encoded::keys_of(record.headers);
    let detail = match encoded.left_out {
        0 => &rejection.detail,
        left_out => &format!(
            "{}; {left_out} headers are left out, their keys are not UTF-8 and too long together",
            rejection.detail
        ),
    };
    let received_at = record.timestamp_ms.to_string();
    let added = [
        (header::REASON, rejection.reason.code()),
        (header::DETAIL, detail),
        (header::RECEIVED_AT, &received_at),
    ];
    let mut headers = Vec::with_capacity(record.headers.len().saturating_add(added.len()));
    headers.extend(encoded.readable(record.headers));
    headers.extend(added.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())));
    keep_last(&mut headers);
    out.dead_letter(DeadLetter { key: record.key, value: record.value, headers })
}

/// The keys of a record that are not UTF-8, percent-encoded, one after the other.
#[derive(Default)]
struct Encoded {
    text: String,
    left_out: usize,
}

impl Encoded {
    fn keys_of(headers: &dyn Headers) -> Self {
        let mut encoded = Encoded::default();
        for (key, _) in (0..headers.len()).filter_map(|index| headers.get(index)) {
            if std::str::from_utf8(key).is_ok() {
                continue;
            }
            if encoded.text.len().saturating_add(encoded_len(key)) > ENCODED {
                encoded.left_out = encoded.left_out.saturating_add(1);
            } else {
                encoded.text.extend(percent_encode(key, ESCAPED));
            }
        }
        encoded
    }

    /// The headers with readable keys and values that are not null, without those left out.
    fn readable<'a>(
        &'a self,
        headers: &'a dyn Headers,
    ) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.text.as_bytes();
        let all = (0..headers.len()).filter_map(|index| headers.get(index));
        all.filter_map(move |(key, value)| {
            let value = value.unwrap_or_default();
            if std::str::from_utf8(key).is_ok() {
                return Some((key, value));
            }
            // The same keys as above have room, because the same sum is compared.
            let used = self.text.len().saturating_sub(rest.len());
            let length = encoded_len(key);
            if used.saturating_add(length) > ENCODED {
                return None;
            }
            let (key, more) = rest.split_at_checked(length)?;
            rest = more;
            Some((key, value))
        })
    }
}

fn encoded_len(key: &[u8]) -> usize {
    percent_encode(key, ESCAPED).map(str::len).fold(0, usize::saturating_add)
}

/// Keeps of repeated keys the last, and the order.
fn keep_last(headers: &mut Vec<(&[u8], &[u8])>) {
    // Positions are half as large as pointers to keys, and sorting in place takes nothing.
    let mut last: Vec<u32> = (0..u32::MAX).take(headers.len()).collect();
    let key = |at: u32| headers.get(at as usize).map(|(key, _)| *key);
    last.sort_unstable_by(|a, b| key(*a).cmp(&key(*b)).then(b.cmp(a)));
    last.dedup_by(|next, kept| key(*next) == key(*kept));
    last.sort_unstable();
    let mut last = last.into_iter().peekable();
    let mut at = 0u32;
    headers.retain(|_| {
        let keep = last.next_if_eq(&at).is_some();
        at = at.saturating_add(1);
        keep
    });
}
