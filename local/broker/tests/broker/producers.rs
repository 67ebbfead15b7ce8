//! Idempotent producers: what comes twice is there once, what comes out of order is refused, and a
//! transaction is refused in every way in which it can be asked for.

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages as m;
use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, TransactionalId};
use kafka_protocol::protocol::StrBytes;

use crate::util::{Raw, batch, batch_at, produce_request, seal, start};

/// A batch of one producer.
fn of(producer: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Bytes {
    stamped(batch(values), producer, epoch, sequence)
}

fn stamped(batch: Bytes, producer: i64, epoch: i16, sequence: i32) -> Bytes {
    let mut batch = BytesMut::from(&batch[..]);
    batch[43..51].copy_from_slice(&producer.to_be_bytes());
    batch[51..53].copy_from_slice(&epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&sequence.to_be_bytes());
    seal(&mut batch);
    batch.freeze()
}

async fn id(raw: &mut Raw) -> i64 {
    let request = InitProducerIdRequest::default().with_transactional_id(None);
    let answer = raw.call(&request, 4).await;
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    answer.producer_id.0
}

const OUT_OF_ORDER: i16 = 45;
const STALE: i16 = 47;

#[tokio::test]
async fn a_batch_that_is_sent_again_is_there_once_and_has_its_old_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[("segment.bytes", "1024")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let (a, b) = (id(&mut raw).await, id(&mut raw).await);
    assert_ne!(a, b);
    raw.produce("t", 0, batch(&[b"somebody else's"])).await;
    // (producer, epoch, sequence, records, the answer's error, its offset)
    let steps: [(&str, i64, i16, i32, usize, i16, i64); 12] = [
        ("the first", a, 0, 0, 2, 0, 1),
        ("again", a, 0, 0, 2, 0, 1),
        ("the next", a, 0, 2, 1, 0, 3),
        ("another producer's first", b, 0, 0, 1, 0, 4),
        ("one is missing", a, 0, 4, 1, OUT_OF_ORDER, -1),
        ("the next but one after it", a, 0, 3, 1, 0, 5),
        ("an old one again", a, 0, 2, 1, 0, 3),
        ("other bounds of an old one", a, 0, 1, 1, OUT_OF_ORDER, -1),
        ("a new epoch that begins in the middle", a, 1, 4, 1, OUT_OF_ORDER, -1),
        ("a new epoch", a, 1, 0, 1, 0, 6),
        ("the old epoch", a, 0, 4, 1, STALE, -1),
        ("the other producer goes on", b, 0, 1, 1, 0, 7),
    ];
    for (what, producer, epoch, sequence, records, error, offset) in steps {
        let values = vec![&b"x"[..]; records];
        let answer = raw.produce("t", 0, of(producer, epoch, sequence, &values)).await;
        assert_eq!((answer.error_code, answer.base_offset), (error, offset), "{what}");
    }
    assert_eq!(broker.watermarks("t"), [(0, 8), (0, 0)]);
    let other = raw.produce("t", 1, of(a, 1, 0, &[b"x"])).await;
    assert_eq!((other.error_code, other.base_offset), (0, 0), "each partition counts for itself");
}

#[tokio::test]
async fn what_producers_have_sent_is_known_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    // So small that a closed segment is among them.
    broker.create_topic("t", 1, &[("segment.bytes", "1024")]).unwrap();
    broker.create_topic("own-time", 1, &[("message.timestamp.type", "LogAppendTime")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let producer = id(&mut raw).await;
    for n in 0..40 {
        let answer = raw.produce("t", 0, of(producer, 0, n, &[b"x"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(n)));
    }
    let first = raw.produce("own-time", 0, of(producer, 0, 0, &[b"x"])).await;
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    for (sequence, error, offset) in
        [(39, 0, 39), (35, 0, 35), (34, OUT_OF_ORDER, -1), (41, OUT_OF_ORDER, -1), (40, 0, 40)]
    {
        let answer = raw.produce("t", 0, of(producer, 0, sequence, &[b"x"])).await;
        assert_eq!((answer.error_code, answer.base_offset), (error, offset), "{sequence}");
    }
    let again = raw.produce("own-time", 0, of(producer, 0, 0, &[b"x"])).await;
    assert_eq!(
        (again.base_offset, again.log_append_time_ms),
        (first.base_offset, first.log_append_time_ms)
    );
    assert_ne!(id(&mut raw).await, producer, "no id is given twice");
}

#[tokio::test]
async fn a_producer_whose_batches_are_gone_may_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("segment.bytes", "1024")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let producer = id(&mut raw).await;
    for n in 0..5 {
        raw.produce("t", 0, of(producer, 0, n, &[b"x"])).await;
    }
    for _ in 0..50 {
        raw.produce("t", 0, batch(&[b"other"])).await;
    }
    let client = crate::util::partition(broker.addr(), "t", 0).await;
    client.delete_records(50, 1000).await.unwrap();
    let answer = raw.produce("t", 0, of(producer, 0, 5, &[b"x"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 55));
    broker.shutdown().await.unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let answer = raw.produce("t", 0, of(producer, 0, 6, &[b"x"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 56));
}

#[tokio::test]
async fn a_refused_batch_leaves_no_trace_in_the_sequence() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("max.message.bytes", "200")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let producer = id(&mut raw).await;
    let large = raw.produce("t", 0, of(producer, 0, 0, &[&[7; 300]])).await;
    assert_eq!(large.error_code, ResponseError::MessageTooLarge.code());
    let mut damaged = of(producer, 0, 0, &[b"x"]).to_vec();
    damaged[65] ^= 1;
    let damaged = raw.produce("t", 0, Bytes::from(damaged)).await;
    assert_eq!(damaged.error_code, ResponseError::CorruptMessage.code());
    let answer = raw.produce("t", 0, of(producer, 0, 0, &[b"x"])).await;
    assert_eq!((answer.error_code, answer.base_offset), (0, 0));
}

#[tokio::test]
async fn a_transaction_is_refused_however_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let refused = ResponseError::TransactionalIdAuthorizationFailed.code();
    let name = StrBytes::from_static_str("t");
    for version in 1..=4 {
        let find = m::FindCoordinatorRequest::default().with_key_type(1);
        let answer = if version >= 4 {
            let found = raw.call(&find.with_coordinator_keys(vec![name.clone()]), version).await;
            let found = found.coordinators[0].clone();
            (found.error_code, found.error_message)
        } else {
            let found = raw.call(&find.with_key(name.clone()), version).await;
            (found.error_code, found.error_message)
        };
        assert_eq!(answer.0, refused, "version {version}");
        assert!(answer.1.unwrap().contains("does not support transactions"));
    }
    for version in 0..=5 {
        let init = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(name.clone())));
        let answer = raw.call(&init, version).await;
        assert_eq!((answer.error_code, answer.producer_id.0), (refused, -1));
    }
    let mut produce = produce_request("t", 0, batch_at(&[b"x"], 1), -1);
    produce.transactional_id = Some(TransactionalId(name));
    let answer = raw.call(&produce, 8).await.responses[0].partition_responses[0].clone();
    assert_eq!(answer.error_code, ResponseError::InvalidTxnState.code());
    let served = raw.call(&m::ApiVersionsRequest::default(), 3).await.api_keys;
    for api in [ApiKey::AddPartitionsToTxn, ApiKey::EndTxn, ApiKey::TxnOffsetCommit] {
        assert!(served.iter().all(|it| it.api_key != api as i16), "{api:?} is advertised");
    }
    assert_eq!(broker.watermarks("t"), [(0, 0)]);
}
