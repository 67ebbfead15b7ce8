//! Frames on their way to one partition, in two allocations for any number of them.
//!
//! The receive loop appends, the publisher turns the batch into rskafka's records (five allocations
//! a record, so only there, and afresh for every attempt: rskafka consumes what it is given).

use std::collections::BTreeMap;
use std::time::Instant;

use rskafka::chrono::{DateTime, Utc};
use rskafka::record::Record;
use tickpanda_model::header;
use tickpanda_model::limit::{BATCH_HEADER, RAW_RECORD};
use tokio::sync::OwnedSemaphorePermit;
use xxhash_rust::xxh3::xxh3_128;

/// Headers beside `seq`: those of a REST body, or those of a frame that is too large.
pub type Headers = BTreeMap<String, Vec<u8>>;

/// The most that a record's framing takes on the wire: its length, attributes, the two deltas, the
/// lengths of key and value, the number of headers, each as long as such a number can be here.
const FRAMING: usize = 5 + 1 + 10 + 5 + 5 + 5 + 5;
/// The most that `seq` takes: two lengths, its name, and `{run}:{n}`.
const SEQ: usize = 1 + 3 + 1 + 16 + 1 + 20;
/// The most that the lengths of a header's name and value take.
const HEADER_FRAMING: usize = 5 + 5;

/// The most that a record takes on the wire, without its batch's header.
fn wire_size(key: &[u8], value: &[u8], headers: Option<&Headers>) -> usize {
    let headers = headers.into_iter().flatten();
    let headers = headers.map(|(name, value)| HEADER_FRAMING + name.len() + value.len());
    FRAMING + SEQ + key.len() + value.len() + headers.sum::<usize>()
}

/// Whether a batch of this one record is larger than the raw topic takes.
pub fn is_too_large(key: &[u8], value: &[u8], headers: Option<&Headers>) -> bool {
    BATCH_HEADER + wire_size(key, value, headers) > RAW_RECORD
}

/// Records for one partition, in the order of their arrival.
#[derive(Debug)]
pub struct Batch {
    /// Key and value of each entry, one after the other.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    /// The most that the records take on the wire.
    wire: usize,
    opened: Instant,
    /// Room taken in the queue, given back when the batch is dropped.
    permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Entry {
    key: usize,
    value: usize,
    n: u64,
    /// Milliseconds since the epoch.
    received_at: i64,
    headers: Option<Box<Headers>>,
    /// See [`wire_size`].
    wire: usize,
}

impl Entry {
    fn is_blanked(&self) -> bool {
        self.headers.as_ref().is_some_and(|headers| headers.contains_key(header::TOO_LARGE))
    }
}

impl Batch {
    /// An empty batch, whose linger begins now.
    pub fn new() -> Self {
        let (bytes, entries) = (Vec::new(), Vec::new());
        Batch { bytes, entries, wire: 0, opened: Instant::now(), permit: None }
    }

    /// Appends a record: number `n` of the run, received at `received_at` (ms since the epoch). A
    /// value larger than the raw topic takes is left out, and headers say how large it was and which.
    pub fn push(
        &mut self,
        n: u64,
        key: &[u8],
        value: &[u8],
        received_at: i64,
        mut headers: Option<Box<Headers>>,
    ) {
        let mut kept = value;
        if is_too_large(key, value, headers.as_deref()) {
            blank(headers.get_or_insert_default(), value);
            kept = &[];
        }
        let wire = wire_size(key, kept, headers.as_deref());
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(kept);
        let (key, value) = (key.len(), kept.len());
        self.entries.push(Entry { key, value, n, received_at, headers, wire });
        self.wire += wire;
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether no record has a value.
    pub fn is_blank(&self) -> bool {
        self.entries.iter().all(|entry| entry.value == 0)
    }

    /// How many records had a value that was too large.
    pub fn blanked(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_blanked()).count()
    }

    /// When the first record came.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The most that the records take on the wire in bytes, which is about what they take in memory.
    pub fn size(&self) -> usize {
        self.wire
    }

    /// Keeps the room in the queue taken until the batch is dropped.
    pub fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// The records as rskafka takes them, for the run with this number.
    pub fn records(&self, run: u64) -> impl Iterator<Item = Record> {
        let prefix = format!("{run:016x}:").into_bytes();
        let mut rest = self.bytes.as_slice();
        self.entries.iter().map(move |entry| {
            let (key, tail) = rest.split_at(entry.key);
            let (value, tail) = tail.split_at(entry.value);
            rest = tail;
            let mut headers = entry.headers.as_deref().cloned().unwrap_or_else(Headers::new);
            headers.insert(header::SEQ.to_owned(), seq(&prefix, entry.n));
            Record {
                key: Some(key.to_vec()),
                value: Some(value.to_vec()),
                headers,
                timestamp: DateTime::<Utc>::from_timestamp_millis(entry.received_at)
                    .unwrap_or_default(),
            }
        })
    }

    /// Cuts the batch in two halves of records; of less than two records the second is empty.
    pub fn split(mut self) -> (Batch, Batch) {
        let middle = self.entries.len().div_ceil(2);
        let tail = self.entries.split_off(middle);
        let at = self.entries.iter().map(|entry| entry.key + entry.value).sum();
        let wire = tail.iter().map(|entry| entry.wire).sum();
        self.wire -= wire;
        let second = Batch {
            bytes: self.bytes.split_off(at),
            entries: tail,
            wire,
            opened: self.opened,
            // The room is free once the later half is through.
            permit: self.permit.take(),
        };
        (self, second)
    }

    /// Replaces every value by nothing and the headers that say how large it was and which: for a
    /// record that a topic with a smaller limit does not take.
    pub fn blank_values(&mut self) {
        let mut kept = Vec::new();
        let mut rest = self.bytes.as_slice();
        for entry in &mut self.entries {
            let (key, tail) = rest.split_at(entry.key);
            let (value, tail) = tail.split_at(entry.value);
            rest = tail;
            kept.extend_from_slice(key);
            if !value.is_empty() {
                blank(entry.headers.get_or_insert_default(), value);
                entry.value = 0;
                entry.wire = wire_size(key, &[], entry.headers.as_deref());
            }
        }
        self.bytes = kept;
        self.wire = self.entries.iter().map(|entry| entry.wire).sum();
    }
}

/// The headers of a record without its value.
fn blank(headers: &mut Headers, value: &[u8]) {
    headers.insert(header::TOO_LARGE.to_owned(), value.len().to_string().into_bytes());
    let hash = format!("{:032x}", xxh3_128(value));
    headers.insert(header::XXH128.to_owned(), hash.into_bytes());
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

/// `{run}:{n}` as [`header::Seq`] prints it, without the formatting machinery: this is per frame.
fn seq(prefix: &[u8], mut n: u64) -> Vec<u8> {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A remainder of 10 fits every integer type.
        #[allow(clippy::cast_possible_truncation)]
        let digit = (n % 10) as u8;
        digits[at] = b'0' + digit;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    [prefix, &digits[at..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickpanda_model::header::Seq;

    fn batch(n: u64) -> Batch {
        let mut batch = Batch::new();
        for i in 0..n {
            batch.push(i, format!("key{i}").as_bytes(), format!("v{i}").as_bytes(), 1_000, None);
        }
        batch
    }

    fn seqs(batch: &Batch) -> Vec<u64> {
        let header = |r: Record| String::from_utf8(r.headers[header::SEQ].clone()).unwrap();
        batch.records(7).map(|r| header(r).parse::<Seq>().unwrap().n).collect()
    }

    #[test]
    fn records_carry_exactly_what_was_pushed_on_every_attempt() {
        let mut batch = Batch::new();
        let rest = Headers::from([("feed".to_owned(), b"rest".to_vec())]);
        batch.push(3, b"A~B~C", b"{}", 1_234_567_890_123, None);
        batch.push(4, b"A~B~C", b"", 1_234_567_890_124, Some(Box::new(rest)));
        for _ in 0..2 {
            let records: Vec<_> = batch.records(0xab).collect();
            assert_eq!(records[0].key.as_deref(), Some(b"A~B~C".as_slice()));
            assert_eq!(records[0].value.as_deref(), Some(b"{}".as_slice()));
            assert_eq!(records[0].timestamp.timestamp_millis(), 1_234_567_890_123);
            let seq = b"00000000000000ab:3".to_vec();
            assert_eq!(records[0].headers, Headers::from([("seq".to_owned(), seq)]));
            assert_eq!(records[1].value.as_deref(), Some(b"".as_slice()));
            assert_eq!(records[1].headers["feed"], b"rest");
            assert_eq!(records[1].headers["seq"], b"00000000000000ab:4");
        }
    }

    #[test]
    fn seq_headers_are_those_of_the_model() {
        for n in [0, 9, 10, 12_345, u64::MAX] {
            let text = Seq { run: 0x0123_4567_89ab_cdef, n }.to_string();
            assert_eq!(seq(b"0123456789abcdef:", n), text.into_bytes());
        }
    }

    #[test]
    fn halves_hold_every_record_once_and_in_order() {
        for n in 0..9 {
            let (first, second) = batch(n).split();
            let both: Vec<_> = [seqs(&first), seqs(&second)].concat();
            assert_eq!(both, (0..n).collect::<Vec<_>>());
            let values = first.records(0).chain(second.records(0)).map(|r| r.value.unwrap());
            let expected: Vec<_> = (0..n).map(|i| format!("v{i}").into_bytes()).collect();
            assert_eq!(values.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn what_is_one_byte_too_large_for_the_topic_is_blanked_at_once() {
        let most = RAW_RECORD - BATCH_HEADER - wire_size(b"k", b"", None);
        let mut batch = Batch::new();
        batch.push(0, b"k", &vec![b'x'; most], 1, None);
        assert_eq!((batch.blanked(), batch.size()), (0, RAW_RECORD - BATCH_HEADER));
        batch.push(1, b"k", &vec![b'x'; most + 1], 1, None);
        assert_eq!((batch.blanked(), batch.len()), (1, 2));
        let records: Vec<_> = batch.records(0).collect();
        assert_eq!(records[0].value.as_ref().map(Vec::len), Some(most));
        assert!(!records[0].headers.contains_key(header::TOO_LARGE));
        assert_eq!(records[1].value.as_deref(), Some(b"".as_slice()));
        assert_eq!(records[1].headers[header::TOO_LARGE], (most + 1).to_string().into_bytes());
        assert_eq!(records[1].headers[header::XXH128].len(), 32);
        let (first, second) = batch.split();
        assert_eq!((first.blanked(), second.blanked()), (0, 1));
        assert!(second.size() < 300);
    }

    #[test]
    fn no_record_takes_more_on_the_wire_than_its_batch_says() {
        let headers = || Headers::from([("name".to_owned(), vec![b'v'; 300])]);
        for (size, headers) in [(0, None), (1, Some(headers())), (70_000, None)] {
            let mut batch = Batch::new();
            batch.push(u64::MAX, b"A~B~C", &vec![b'x'; size], i64::MAX, headers.map(Box::new));
            let record = batch.records(u64::MAX).next().unwrap();
            let header = |(name, value): (String, Vec<u8>)| name.len() + value.len() + 2;
            let least = record.key.unwrap().len()
                + record.value.unwrap().len()
                + record.headers.into_iter().map(header).sum::<usize>();
            assert!((least..least + 100).contains(&batch.size()));
        }
    }

    #[test]
    fn a_value_too_large_leaves_its_size_and_hash() {
        let mut batch = Batch::new();
        batch.push(0, b"k", &[b'x'; 1000], 1, None);
        batch.blank_values();
        let record = batch.records(0).next().unwrap();
        assert_eq!(record.key.as_deref(), Some(b"k".as_slice()));
        assert_eq!(record.value.as_deref(), Some(b"".as_slice()));
        assert_eq!(record.headers[header::TOO_LARGE], b"1000");
        let hash = format!("{:032x}", xxh3_128(&[b'x'; 1000]));
        assert_eq!(record.headers[header::XXH128], hash.into_bytes());
    }
}
