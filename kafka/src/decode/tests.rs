//! Decoding against kafka-protocol's own encoder, by tables, by property, and with garbage.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record as Theirs, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn theirs(offset: i64, timestamp: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Theirs {
    Theirs {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).unwrap(),
        timestamp,
        key: key.map(Bytes::copy_from_slice),
        value: value.map(Bytes::copy_from_slice),
        headers: IndexMap::new(),
    }
}

fn encode(records: &[Theirs], compression: Compression) -> Bytes {
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression };
    RecordBatchEncoder::encode(&mut bytes, records, &options).unwrap();
    bytes.freeze()
}

fn decode(bytes: Bytes) -> Result<Vec<Record>, DecodeError> {
    let mut records = Vec::new();
    for batch in Batches::new(bytes) {
        for record in batch?.records()? {
            records.push(record?);
        }
    }
    Ok(records)
}

/// What our decoder should make of the encoder's record.
fn ours(record: &Theirs) -> Record {
    Record {
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: record
            .headers
            .iter()
            .map(|(key, value)| (key.clone().into_bytes(), value.clone()))
            .collect(),
    }
}

fn varint(out: &mut BytesMut, number: i32) {
    let mut bits = ((number << 1) ^ (number >> 31)).cast_unsigned();
    while bits >= 0x80 {
        out.put_u8(u8::try_from(bits & 0x7f).unwrap() | 0x80);
        bits >>= 7;
    }
    out.put_u8(u8::try_from(bits).unwrap());
}

fn nullable(out: &mut BytesMut, bytes: Option<&[u8]>) {
    varint(out, bytes.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap()));
    out.put_slice(bytes.unwrap_or_default());
}

/// A batch around `records` (already in record format), with a right checksum.
fn batch(attributes: i16, count: i32, records: &[u8]) -> BytesMut {
    let mut checked = BytesMut::new();
    checked.put_i16(attributes);
    checked.put_i32((count - 1).max(0));
    checked.put_i64(1_000); // first timestamp
    checked.put_i64(9_000); // max timestamp
    checked.put_i64(-1);
    checked.put_i16(-1);
    checked.put_i32(-1);
    checked.put_i32(count);
    checked.put_slice(records);
    let mut out = BytesMut::new();
    out.put_i64(70); // base offset
    out.put_i32(i32::try_from(checked.len() + 9).unwrap());
    out.put_i32(0);
    out.put_u8(2);
    out.put_u32(crc32c::crc32c(&checked));
    out.put_slice(&checked);
    out
}

/// A record 5 ms and `delta` offsets after its batch's first, with headers the encoder cannot make.
fn record(delta: i32, headers: &[(&[u8], Option<&[u8]>)]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u8(0);
    varint(&mut body, 5);
    varint(&mut body, delta);
    nullable(&mut body, Some(b"k"));
    nullable(&mut body, None);
    varint(&mut body, i32::try_from(headers.len()).unwrap());
    for (key, value) in headers {
        nullable(&mut body, Some(key));
        nullable(&mut body, *value);
    }
    let mut out = BytesMut::new();
    varint(&mut out, i32::try_from(body.len()).unwrap());
    out.put_slice(&body);
    out
}

#[test]
fn headers_keep_nulls_repeats_order_and_any_bytes() {
    let headers: [(&[u8], Option<&[u8]>); 5] = [
        (b"seq", Some(b"1")),
        (b"a", None),
        (b"seq", Some(b"2")),
        (b"\xff\xfe", Some(b"")),
        (b"", None),
    ];
    let records = decode(batch(0, 1, &record(0, &headers)).freeze()).unwrap();
    let expected: Vec<Header> = headers
        .iter()
        .map(|(key, value)| (Bytes::copy_from_slice(key), value.map(Bytes::copy_from_slice)))
        .collect();
    assert_eq!(records.len(), 1);
    assert_eq!(records[0].headers, expected);
    assert_eq!((records[0].key.as_deref(), records[0].value.as_deref()), (Some(&b"k"[..]), None));
}

#[test]
fn the_timestamp_is_the_producers_unless_the_topic_says_log_append() {
    for (attributes, expected) in [(0, 1_005), (1 << 3, 9_000)] {
        let records = decode(batch(attributes, 1, &record(0, &[])).freeze()).unwrap();
        assert_eq!(records[0].timestamp_ms, expected);
    }
}

#[test]
fn compaction_leaves_holes_that_keep_their_offsets() {
    let bytes = [record(0, &[]), record(3, &[])].concat();
    let records = decode(batch(0, 2, &bytes).freeze()).unwrap();
    assert_eq!(records.iter().map(|r| r.offset).collect::<Vec<_>>(), [70, 73]);
    // Nothing left at all: the batch stays as a place holder.
    assert_eq!(decode(batch(0, 0, &[]).freeze()).unwrap(), []);
}

#[test]
fn what_does_not_fit_is_an_error_and_the_last_thing_said() {
    let whole = record(0, &[(b"h", None)]);
    let mut longer = whole.clone();
    longer[0] += 2; // the record claims one byte more than it uses
    longer.put_u8(0);
    let cases: [(&str, i32, &[u8], &str); 6] = [
        ("counted twice", 2, &whole, "ends inside a record"),
        ("counted less", 0, &whole, "more records than it counts"),
        ("cut", 1, &whole[..whole.len() - 1], "record larger than its batch"),
        ("record too long", 1, &longer, "record size and contents differ"),
        ("negative size", 1, &[1], "negative record size"),
        ("endless number", 1, &[0xff; 11], "number too long"),
    ];
    for (name, count, bytes, expected) in cases {
        let batch = Batches::new(batch(0, count, bytes).freeze()).next().unwrap().unwrap();
        let all: Vec<_> = batch.records().unwrap().collect();
        let Err(error) = all.last().unwrap() else { panic!("{name}: no error") };
        assert!(error.to_string().ends_with(expected), "{name}: {error}");
        assert_eq!(all.iter().filter(|r| r.is_err()).count(), 1, "{name}");
    }
}

#[test]
fn a_damaged_record_costs_itself_only() {
    let mut lying = record(1, &[(b"h", Some(b"v"))]);
    let headers = lying.len() - 5; // the count before one header of five bytes
    lying[headers - 1] = 14; // it announces seven headers
    let bytes = [record(0, &[]), lying.clone(), record(2, &[(b"n", None)])].concat();
    let batch = Batches::new(batch(0, 3, &bytes).freeze()).next().unwrap().unwrap();
    assert!(batch.records().unwrap().any(|record| record.is_err()), "as a whole it is refused");
    let salvaged = batch.salvage().unwrap();
    let [Salvaged::Record(first), Salvaged::Damaged { offset, bytes, .. }, Salvaged::Record(last)] =
        &salvaged[..]
    else {
        panic!("{salvaged:?}")
    };
    assert_eq!((first.offset, *offset, last.offset), (70, 71, 72));
    assert_eq!(&bytes[..], &lying[1..], "all of it after its size");
    assert_eq!(last.headers, [(Bytes::from_static(b"n"), None)]);
}

#[test]
fn where_a_size_cannot_be_the_rest_is_one_damaged_record() {
    let good = record(0, &[]);
    for (name, tail) in [("too large", &[0x7e, 1, 2][..]), ("negative", &[1, 2, 3])] {
        let bytes = [&good[..], tail].concat();
        let batch = Batches::new(batch(0, 5, &bytes).freeze()).next().unwrap().unwrap();
        let salvaged = batch.salvage().unwrap();
        let [Salvaged::Record(_), Salvaged::Damaged { offset: 71, bytes, .. }] = &salvaged[..]
        else {
            panic!("{name}: {salvaged:?}")
        };
        assert!(tail.ends_with(bytes) && !bytes.is_empty(), "{name}");
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    let good = encode(&[theirs(3, 1, Some(b"k"), Some(b"value"))], Compression::None);
    // Everything from the attributes on is covered; what is before is the broker's to rewrite.
    for at in 17..good.len() {
        let mut bad = good.to_vec();
        bad[at] ^= 1;
        let error = decode(bad.into()).unwrap_err();
        assert!(matches!(error, DecodeError::Checksum { base_offset: 3, .. }), "{at}: {error}");
    }
}

#[test]
fn formats_before_2_and_unknown_codecs_are_refused_by_name() {
    let mut old = encode(&[theirs(3, 1, None, None)], Compression::None).to_vec();
    old[16] = 1;
    assert_eq!(decode(old.into()), Err(DecodeError::Format { base_offset: 3, magic: 1 }));
    let unknown = decode(batch(7, 1, &record(0, &[])).freeze()).unwrap_err();
    assert!(unknown.to_string().contains("unknown compression 7"), "{unknown}");
}

#[test]
fn a_batch_cut_at_the_end_is_left_out_wherever_it_is_cut() {
    let first = encode(&[theirs(0, 1, None, Some(b"first"))], Compression::None);
    let second = encode(&[theirs(1, 1, None, Some(b"second"))], Compression::None);
    let both = [&first[..], &second[..]].concat();
    for cut in 0..both.len() {
        let records = decode(Bytes::copy_from_slice(&both[..cut])).unwrap();
        assert_eq!(records.len(), usize::from(cut >= first.len()), "cut at {cut}");
    }
}

fn maybe_bytes(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    proptest::option::of(vec(any::<u8>(), 0..max))
}

prop_compose! {
    fn any_records()(
        base in 0..1_000_000_i64,
        fields in vec(
            (0..2_000_000_000_000_i64, maybe_bytes(40), maybe_bytes(300),
             vec((".{0,8}", maybe_bytes(9)), 0..4)),
            1..20,
        ),
    ) -> Vec<Theirs> {
        let with_offset = (base..).zip(fields);
        with_offset.map(|(offset, (time, key, value, headers))| {
            let mut record = theirs(offset, time, key.as_deref(), value.as_deref());
            let headers = headers.into_iter();
            record.headers =
                headers.map(|(k, v)| (StrBytes::from_string(k), v.map(Bytes::from))).collect();
            record
        }).collect()
    }
}

proptest! {
    #[test]
    fn what_kafka_protocol_encodes_is_decoded_alike(records in any_records(), codec in 0..5_usize) {
        let decoded = decode(encode(&records, CODECS[codec])).unwrap();
        prop_assert_eq!(decoded, records.iter().map(ours).collect::<Vec<_>>());
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..200)) {
        let _ = decode(bytes.into());
    }

    /// Garbage behind a header and a checksum that are right reaches every codec and the records.
    #[test]
    fn garbage_with_a_right_checksum_never_panics(
        attributes in 0..256_i16, count in any::<i32>(), bytes in vec(any::<u8>(), 0..200),
    ) {
        let count = count.max(i32::MIN + 1);
        for batch in Batches::new(batch(attributes, count, &bytes).freeze()).flatten() {
            let _ = batch.is_abort_marker();
            if let Ok(records) = batch.records() {
                prop_assert!(records.size_hint().0 <= records.unpacked_len());
                prop_assert!(records.count() <= bytes.len().max(1) * 2000);
                let salvaged = batch.salvage().unwrap();
                prop_assert!(salvaged.len() <= bytes.len().max(1) * 2000);
            }
        }
    }

    #[test]
    fn damaged_records_with_a_right_checksum_never_panic(
        records in any_records(), at in any::<proptest::sample::Index>(), byte in any::<u8>(),
    ) {
        let good = encode(&records, Compression::None);
        let mut damaged = good[61..].to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let count = i32::try_from(records.len()).unwrap();
        let bytes = batch(0, count, &damaged).freeze();
        let salvaged = Batches::new(bytes.clone()).next().unwrap().unwrap().salvage().unwrap();
        // An offset that a byte was changed in counts as damage too, though the record decodes.
        let in_turn = |whole: &[Record]| {
            let offsets: Vec<_> = whole.iter().map(|record| record.offset).collect();
            offsets.is_sorted_by(|a, b| a < b)
                && offsets.iter().all(|offset| (70..70 + i64::from(count)).contains(offset))
        };
        if let Some(whole) = decode(bytes).ok().filter(|whole| in_turn(whole)) {
            let whole: Vec<_> = whole.into_iter().map(Salvaged::Record).collect();
            prop_assert_eq!(salvaged, whole, "what is whole is not changed");
        }
    }
}
