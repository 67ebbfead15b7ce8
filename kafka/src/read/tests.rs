//! What a read makes of an answer: no broker needed.

use bytes::Bytes;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::ProducerId;
use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
use kafka_protocol::records::{
    Compression, Record as Encoded, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use super::*;

/// A batch of `count` records from `offset` on, of producer `producer` (−1: outside transactions).
fn batch(offset: i64, count: i64, producer: i64) -> Vec<u8> {
    encode((offset..offset + count).map(|o| record(o, producer, None)).collect())
}

/// The marker that ends a transaction: `kind` 0 aborts, 1 commits.
fn marker(offset: i64, producer: i64, kind: u8) -> Vec<u8> {
    encode(vec![record(offset, producer, Some(kind))])
}

fn record(offset: i64, producer: i64, marker: Option<u8>) -> Encoded {
    Encoded {
        transactional: producer >= 0,
        control: marker.is_some(),
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: producer,
        producer_epoch: 0,
        timestamp_type: TimestampType::Creation,
        offset,
        sequence: i32::try_from(offset).unwrap(),
        timestamp: 1,
        key: marker.map(|kind| Bytes::from(vec![0, 0, 0, kind])),
        value: Some(Bytes::from_static(b"v")),
        headers: IndexMap::new(),
    }
}

fn encode(records: Vec<Encoded>) -> Vec<u8> {
    let mut bytes = bytes::BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
    bytes.to_vec()
}

fn found(bytes: Vec<u8>, aborted: &[(i64, i64)]) -> PartitionData {
    let aborted = aborted.iter().map(|(producer, first)| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(*producer))
            .with_first_offset(*first)
    });
    PartitionData::default()
        .with_high_watermark(100)
        .with_last_stable_offset(90)
        .with_records(Some(bytes.into()))
        .with_aborted_transactions(Some(aborted.collect()))
}

fn offsets(read: &Read) -> Vec<i64> {
    read.records.iter().map(|record| record.offset).collect()
}

#[test]
fn records_before_the_asked_offset_are_dropped() {
    let bytes = [batch(0, 5, -1), batch(5, 5, -1)].concat();
    for (asked, expected) in [(0, 0..10), (3, 3..10), (5, 5..10), (9, 9..10)] {
        let read = assemble(found(bytes.clone(), &[]), asked).unwrap();
        assert_eq!(offsets(&read), expected.collect::<Vec<_>>());
        assert_eq!(read.next_offset, 10);
    }
}

#[test]
fn markers_and_aborted_transactions_are_stepped_over() {
    // Producer 7 aborts what it wrote, then commits more; producer 8 commits in between.
    let bytes = [
        batch(0, 2, 7),
        batch(2, 2, 8),
        batch(4, 1, -1),
        batch(5, 1, 7),
        marker(6, 7, 0),
        batch(7, 2, 7),
        marker(9, 8, 1),
        marker(10, 7, 1),
    ]
    .concat();
    let read = assemble(found(bytes, &[(7, 0)]), 0).unwrap();
    assert_eq!(offsets(&read), [2, 3, 4, 7, 8]);
    assert_eq!(read.next_offset, 11);
    assert_eq!((read.high_watermark, read.last_stable, read.log_start), (100, 90, None));
}

#[test]
fn batches_are_given_whole_without_markers_and_aborted_ones() {
    let bytes = [batch(0, 2, 7), batch(2, 3, -1), marker(5, 7, 0), batch(6, 2, -1)].concat();
    let read = assemble_batches(found(bytes.clone(), &[(7, 0)]), 3).unwrap();
    let bounds: Vec<_> = read.batches.iter().map(|b| (b.base_offset(), b.next_offset())).collect();
    assert_eq!(bounds, [(2, 5), (6, 8)], "the first holds the offset asked for");
    assert_eq!((read.next_offset, read.last_stable), (8, 90));
    // A marker at the end moves the reader too.
    let read = assemble_batches(found(bytes[..bytes.len() - 1].to_vec(), &[(7, 0)]), 5).unwrap();
    assert_eq!((read.batches.len(), read.next_offset), (0, 6));
}

#[test]
fn a_damaged_batch_does_not_take_those_before_it_along() {
    let mut bad = batch(5, 3, -1);
    *bad.last_mut().unwrap() ^= 1;
    let read = assemble_batches(found([batch(0, 5, -1), bad.clone()].concat(), &[]), 0).unwrap();
    assert_eq!((read.batches.len(), read.next_offset), (1, 5));
    assert!(assemble_batches(found(bad, &[]), 5).is_err(), "the next read fails on it");
}

#[test]
fn a_read_that_starts_inside_an_aborted_transaction_hides_the_rest_of_it() {
    let bytes = [batch(5, 1, 7), marker(6, 7, 0), batch(7, 1, 7)].concat();
    let read = assemble(found(bytes, &[(7, 0)]), 5).unwrap();
    assert_eq!(offsets(&read), [7]);
    assert_eq!((read.next_offset, read.hidden), (8, 2), "5 was aborted, 6 is the marker");
}

#[test]
fn offsets_that_nothing_fills_are_not_taken_for_hidden() {
    let bytes = [batch(2, 4, -1), marker(8, 7, 1), batch(12, 1, -1)].concat();
    let read = assemble(found(bytes, &[]), 3).unwrap();
    assert_eq!((offsets(&read), read.next_offset), (vec![3, 4, 5, 12], 13));
    assert_eq!(read.hidden, 1, "6, 7 and 9 to 11 are holes");
}

#[test]
fn an_answer_without_records_leaves_the_offset_where_it_was() {
    let read = assemble(found(Vec::new(), &[]), 42).unwrap();
    assert_eq!((read.records.len(), read.next_offset), (0, 42));
}

fn answer(partition: PartitionData) -> FetchResponse {
    let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    FetchResponse::default().with_responses(vec![topic])
}

fn error(partition: PartitionData) -> KafkaError {
    let max_wait = Duration::ZERO;
    let place = Place { topic: "t", partition: 0, offset: 5, max_bytes: 99, max_wait };
    let assemble = |found| assemble(found, 5).map(|read| (read.next_offset, read));
    understand(answer(partition), "b:1", &place, assemble).unwrap_err()
}

#[test]
fn errors_say_what_was_asked_and_whether_it_may_pass() {
    let code = |error: ResponseError| PartitionData::default().with_error_code(error.code());
    let gone = error(code(ResponseError::OffsetOutOfRange));
    assert!(matches!(gone, KafkaError::OffsetOutOfRange { offset: 5, .. }), "{gone}");
    let moved = error(code(ResponseError::NotLeaderOrFollower));
    assert!(moved.is_transient() && moved.to_string().contains("t/0 from offset 5"), "{moved}");
    let other = error(PartitionData::default().with_partition_index(1));
    assert!(matches!(other, KafkaError::Malformed { .. }), "{other}");
}

#[test]
fn a_batch_that_cannot_arrive_whole_is_an_error_not_an_endless_loop() {
    let mut cut = batch(5, 3, -1);
    cut.pop();
    let error = error(found(cut, &[]));
    assert!(matches!(error, KafkaError::BatchTooLarge { max_bytes: 99, .. }), "{error}");
}

#[test]
fn a_damaged_batch_is_permanent() {
    let mut bad = batch(5, 3, -1);
    *bad.last_mut().unwrap() ^= 1;
    let error = error(found(bad, &[]));
    assert!(matches!(error, KafkaError::Corrupt { .. }) && !error.is_transient(), "{error}");
}
