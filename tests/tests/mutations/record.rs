//! Raw records: a changed frame, and around it keys, headers and times as no source would write
//! them, but any other producer might.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use tickpanda_transform::RawRecord;

use crate::common::{Headers, RECEIVED};
use crate::edit::{self, Edit};
use crate::seeds::{self, Seed};

pub(crate) const PARTITIONS: u8 = 3;

/// A raw record, and the partition that it lies on.
#[derive(Clone, Debug)]
pub(crate) struct RecordOf {
    pub(crate) partition: u8,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Headers,
    pub(crate) timestamp_ms: i64,
}

impl RecordOf {
    pub(crate) fn raw(&self) -> RawRecord<'_> {
        RawRecord {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &self.headers,
            timestamp_ms: self.timestamp_ms,
        }
    }
}

/// A seed as its source would publish it.
pub(crate) fn unchanged(seed: &Seed) -> RecordOf {
    let Seed { value, headers } = seed.clone();
    RecordOf {
        partition: 0,
        key: Some(b"Coinbase~BTC~USD".to_vec()),
        value: Some(value),
        headers,
        timestamp_ms: RECEIVED,
    }
}

/// A seed with some of it changed.
pub(crate) fn mutated() -> impl Strategy<Value = RecordOf> {
    let seeds = seeds::all();
    let frame = (any::<Index>(), prop::collection::vec(edit::any_edit(), 0..4));
    let around = (0..PARTITIONS, any_key(), odd_headers(), any_time(), 0..50u8);
    (frame, around).prop_map(move |((which, edits), (partition, key, odd, time, value))| {
        let mut record = unchanged(which.get(&seeds));
        let bytes = record.value.get_or_insert_default();
        edits.iter().for_each(|edit: &Edit| edit.apply(bytes, &seeds));
        match value {
            0 => record.value = None,
            1 => record.value = Some(Vec::new()),
            _ => {}
        }
        match odd {
            Odd::Instead(headers) => record.headers = headers,
            Odd::Besides(headers) => record.headers.extend(headers),
            Odd::Without(which) => drop(record.headers.remove(which.index(record.headers.len()))),
        }
        RecordOf { partition, key, timestamp_ms: time, ..record }
    })
}

/// How a record's headers differ from its source's.
#[derive(Clone, Debug)]
enum Odd {
    Besides(Headers),
    Instead(Headers),
    Without(Index),
}

fn odd_headers() -> impl Strategy<Value = Odd> {
    let names = vec![
        "feed",
        "market",
        "base",
        "quote",
        "interval",
        "to",
        "seq",
        "too_large",
        "xxh128",
        "reason",
        "detail",
        "received_at",
        "",
        "%",
        "\u{e9}",
    ];
    let key = prop_oneof![
        3 => select(names).prop_map(|name| name.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..5),
    ];
    let texts = vec!["rest", "ws", "1m", "7h", "30d", "0m", "CCCAGG", "", "\u{1}\"\\", "a~b"];
    let value = prop_oneof![
        3 => select(texts).prop_map(|text| Some(text.as_bytes().to_vec())),
        1 => prop::option::of(prop::collection::vec(any::<u8>(), 0..5)),
        1 => (0..1100usize).prop_map(|length| Some(vec![b'\x01'; length])),
    ];
    let some = prop::collection::vec((key, value), 0..6).boxed();
    prop_oneof![
        6 => Just(Odd::Besides(Headers::new())),
        3 => some.clone().prop_map(Odd::Besides),
        1 => some.prop_map(Odd::Instead),
        1 => any::<Index>().prop_map(Odd::Without),
    ]
}

fn any_key() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        4 => Just(Some(b"Coinbase~BTC~USD".to_vec())),
        1 => prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
    ]
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => Just(RECEIVED),
        2 => select(vec![0, -1, 1, i64::MIN, i64::MAX, 1_618_335_983_615, 253_402_300_800_000]),
        1 => any::<i64>(),
    ]
}
