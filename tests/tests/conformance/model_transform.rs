//! `model/tests/transform_test.cc`: how what a transform writes becomes a batch of its output topic.

use tickpanda_host::processor::{OutputBatch, TimestampType};
use tickpanda_host::{Outputs, Record};

use crate::cluster::{Cluster, record};
use crate::fixture::{batch, payload, start};

/// Milliseconds.
const NOW: i64 = 1_753_190_418_708;

/// A big-endian number of the batch's header.
fn number<const BYTES: usize>(batch: &[u8], at: usize) -> i64 {
    let bytes: [u8; BYTES] = batch[at..at + BYTES].try_into().unwrap();
    let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
    bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte))
}

#[test]
fn a_record_is_framed_verbatim_with_its_delta() {
    let records = [
        Record::new(Some(b"key"), Some(b"value")).header("a", None).header("a", Some(b"")),
        Record::new(None, None),
    ];
    let mut outputs = Outputs::default();
    start("identity").transform(&batch(&records), &mut outputs).unwrap();
    let mut framed = OutputBatch::default();
    outputs.iter().for_each(|output| framed.push(output.payload));
    let bytes = framed.seal(NOW, TimestampType::LogAppendTime).unwrap();
    let mut expected = Vec::new();
    for (delta, record) in (0_u8..).zip(&records) {
        // Zig-zag varints, here of one byte each: length, attributes, time and offset delta.
        let payload = payload(record);
        expected.extend([2 * u8::try_from(3 + payload.len()).unwrap(), 0, 0, 2 * delta]);
        expected.extend(payload);
    }
    assert_eq!(bytes[61..], expected);
}

#[test]
fn a_batch_has_the_brokers_time_no_producer_and_counts_its_records() {
    let mut framed = OutputBatch::default();
    (0..4).for_each(|n| framed.push(&payload(&Record::value(&[n]))));
    let bytes = framed.seal(NOW, TimestampType::LogAppendTime).unwrap();
    assert_eq!(number::<4>(bytes, 8), i64::try_from(bytes.len() - 12).unwrap(), "length");
    assert_eq!(bytes[16], 2, "format");
    assert_eq!(number::<2>(bytes, 21), 0b1000, "only the append time's attribute");
    assert_eq!(number::<4>(bytes, 23), 3, "last offset delta");
    assert_eq!((number::<8>(bytes, 27), number::<8>(bytes, 35)), (NOW, NOW));
    let producer = (number::<8>(bytes, 43), number::<2>(bytes, 51), number::<4>(bytes, 53));
    assert_eq!(producer, (-1, -1, -1));
    assert_eq!(number::<4>(bytes, 57), 4, "records");
    // A reader that checks the sum, and every record's framing.
    let read = tickpanda_kafka::decode::Batches::new(bytes.to_vec().into()).next();
    let records: Vec<_> = read.unwrap().unwrap().records().unwrap().map(Result::unwrap).collect();
    assert_eq!(records.iter().map(|record| record.timestamp_ms).collect::<Vec<_>>(), [NOW; 4]);
    assert_eq!(records.iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[tokio::test]
async fn what_comes_out_has_the_brokers_time_not_the_inputs() {
    let cluster = Cluster::start(&[("in", 1), ("out", 1)]).await;
    cluster.deploy("identity", "in", &["out"]).await;
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    cluster.produce("in", 0, vec![record("a", "1"), record("b", "2")]).await;
    let records = cluster.read("out", 0, 2).await;
    let after = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    for record in records {
        let time = u128::try_from(record.timestamp_ms).unwrap();
        assert!((before..=after).contains(&time), "{time} is not in {before}..={after}");
    }
}
