//! Records: in, out, by offset, by time, held, limited, deleted.

use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ProduceRequest};
use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt};

use crate::util::{
    PATIENCE, Raw, batch, batch_at, name, now_ms, partition, produce_request, read_from, record,
    record_at, start, until, value,
};

fn fetch_request(
    topic: &str,
    offsets: &[(i32, i64)],
    min: i32,
    max: i32,
    wait: i32,
) -> FetchRequest {
    let partitions = offsets.iter().map(|(index, offset)| {
        FetchPartition::default()
            .with_partition(*index)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic(name(topic)).with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(wait)
        .with_min_bytes(min)
        .with_max_bytes(max)
        .with_topics(vec![topic])
}

#[tokio::test]
async fn what_is_produced_is_fetched_in_every_compression_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    // Small segments, so that reading goes across files.
    broker.create_topic("t", 2, &[("segment.bytes", "4096")]).unwrap();
    let partition = partition(broker.addr(), "t", 1).await;
    let codecs = [
        Compression::NoCompression,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    let mut n = 0;
    for round in 0..40 {
        for codec in codecs {
            let records: Vec<_> =
                (0..=round % 5).map(|i| record(format!("value {}", n + i))).collect();
            let count = i64::try_from(records.len()).unwrap();
            let offsets = partition.produce(records, codec).await.unwrap();
            assert_eq!(offsets, (n..n + count).collect::<Vec<_>>());
            n += count;
        }
    }
    assert_eq!(broker.watermarks("t"), [(0, 0), (0, n)]);
    for (from, max) in [(0, 1 << 20), (0, 1), (n / 3, 300), (n - 1, 1 << 20), (n, 100)] {
        let records = read_from(&partition, from, max).await;
        let got: Vec<i64> = records.iter().map(|r| r.offset).collect();
        assert_eq!(got, (from..n).collect::<Vec<_>>(), "from {from}, {max} bytes at a time");
        assert!(records.iter().all(|r| value(r) == format!("value {}", r.offset).as_bytes()));
        assert!(records.iter().all(|r| r.record.headers["h"] == b"v"));
    }
}

#[tokio::test]
async fn a_batch_is_kept_byte_for_byte_but_for_offset_and_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let sent = batch(&[b"a", b"b", b"c"]);
    raw.produce("t", 0, sent.clone()).await;
    assert_eq!(raw.produce("t", 0, sent.clone()).await.base_offset, 3);
    let response = raw.call(&fetch_request("t", &[(0, 4)], 1, 1 << 20, 0), 4).await;
    let got = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(got.len(), sent.len(), "the second batch alone");
    assert_eq!(got[..8], 3_i64.to_be_bytes());
    assert_eq!(got[12..16], [0; 4]);
    assert_eq!((&got[8..12], &got[16..]), (&sent[8..12], &sent[16..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_fetch_wakes_with_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let (mut holder, mut producer) =
        (Raw::connect(broker.addr()).await, Raw::connect(broker.addr()).await);
    let mut woke = Vec::new();
    for i in 0..30 {
        // Held on both partitions; either wakes it.
        let (at0, at1) = ((i + 1) / 2, i / 2);
        holder.send(&fetch_request("t", &[(0, at0), (1, at1)], 1, 1 << 20, 20_000), 4, 1).await;
        // Long enough that it is held, mostly; if it is not, this run proves nothing and harms nothing.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let asked = Instant::now();
        producer.produce("t", i32::try_from(i % 2).unwrap(), batch(&[b"x"])).await;
        let (_, response) = holder.receive::<FetchRequest>(4).await;
        woke.push(asked.elapsed());
        let got: usize = response.responses[0]
            .partitions
            .iter()
            .map(|p| p.records.as_ref().unwrap().len())
            .sum();
        assert_eq!(got, batch(&[b"x"]).len());
    }
    woke.sort();
    println!(
        "produce to fetched: fastest {:?}, median {:?}, slowest {:?}",
        woke[0], woke[15], woke[29]
    );
    assert!(woke[0] < Duration::from_millis(10), "fastest {:?}", woke[0]);
    assert!(woke[29] < Duration::from_secs(5), "slowest {:?}, held for 20 s", woke[29]);
}

#[tokio::test]
async fn a_fetch_waits_for_min_bytes_and_no_longer_than_max_wait() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let (mut holder, mut producer) =
        (Raw::connect(broker.addr()).await, Raw::connect(broker.addr()).await);
    let asked = Instant::now();
    let empty = holder.call(&fetch_request("t", &[(0, 0)], 1, 1 << 20, 50), 4).await;
    assert!(asked.elapsed() >= Duration::from_millis(50));
    assert!(empty.responses[0].partitions[0].records.as_ref().unwrap().is_empty());

    let size = batch(&[b"x"]).len();
    let min = i32::try_from(3 * size).unwrap();
    holder.send(&fetch_request("t", &[(0, 0)], min, 1 << 20, 30_000), 11, 1).await;
    for _ in 0..3 {
        producer.produce("t", 0, batch(&[b"x"])).await;
    }
    let (_, full) = holder.receive::<FetchRequest>(11).await;
    assert_eq!(full.responses[0].partitions[0].records.as_ref().unwrap().len(), 3 * size);
    assert_eq!(full.responses[0].partitions[0].high_watermark, 3);
}

#[tokio::test]
async fn a_fetch_does_not_wait_for_bytes_that_it_can_not_get() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("segment.bytes", "1024")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for _ in 0..100 {
        raw.produce("t", 0, batch(&[b"x"])).await;
    }
    let size = i32::try_from(batch(&[b"x"]).len()).unwrap();
    for (what, offset, min, max) in [
        ("more than a closed segment has left", 0, 50 * size, 1 << 20),
        ("more than max_bytes", 99, 1 << 20, size),
    ] {
        let asked = Instant::now();
        let response = raw.call(&fetch_request("t", &[(0, offset)], min, max, 30_000), 4).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "{what}");
        let records = response.responses[0].partitions[0].records.as_ref().unwrap();
        assert!(!records.is_empty(), "{what}");
    }
}

#[tokio::test]
async fn a_time_is_not_looked_for_among_deleted_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let partition = partition(broker.addr(), "t", 0).await;
    let base = 1_700_000_000_000;
    // Not in the order of their times: only the last one is as new as what is asked for.
    for ms in [500, 100, 200, 600] {
        let records = vec![record_at(b"v", base + ms)];
        partition.produce(records, Compression::NoCompression).await.unwrap();
    }
    let at = |ms| partition.get_offset(OffsetAt::Timestamp(Utc.timestamp_millis_opt(ms).unwrap()));
    assert_eq!(at(base + 300).await.unwrap(), 0);
    partition.delete_records(1, 5_000).await.unwrap();
    assert_eq!(at(base + 300).await.unwrap(), 3);
}

#[tokio::test]
async fn a_fetch_stays_within_max_bytes_but_always_gets_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let size = batch(&[b"x"]).len();
    for _ in 0..10 {
        raw.produce("t", 0, batch(&[b"x"])).await;
        raw.produce("t", 1, batch(&[b"x"])).await;
    }
    for (max, first, second) in
        [(0, 1, 0), (size, 1, 0), (4 * size + 1, 4, 0), (12 * size, 10, 2), (1000 * size, 10, 10)]
    {
        let max_bytes = i32::try_from(max).unwrap();
        let response = raw.call(&fetch_request("t", &[(0, 0), (1, 0)], 1, max_bytes, 0), 12).await;
        let got: Vec<usize> = response.responses[0]
            .partitions
            .iter()
            .map(|p| p.records.as_ref().unwrap().len() / size)
            .collect();
        assert_eq!(got, [first, second], "of at most {max} bytes");
    }
}

#[tokio::test]
async fn offsets_are_found_by_time_in_every_compression() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("segment.bytes", "2048")]).unwrap();
    let partition = partition(broker.addr(), "t", 0).await;
    let (base, each) = (1_700_000_000_000_i64, 10);
    for i in 0..200_i64 {
        let records = (0..3).map(|j| record_at(b"some value", base + each * (3 * i + j))).collect();
        let codec = if i % 2 == 0 { Compression::NoCompression } else { Compression::Zstd };
        partition.produce(records, codec).await.unwrap();
    }
    let at = |ms| partition.get_offset(OffsetAt::Timestamp(Utc.timestamp_millis_opt(ms).unwrap()));
    for n in (0..600).step_by(13) {
        assert_eq!(at(base + each * n).await.unwrap(), n);
        assert_eq!(at(base + each * n - 5).await.unwrap(), n, "the first at or after");
    }
    assert_eq!(at(base + each * 600).await.unwrap(), -1, "none is so new");
    assert_eq!(partition.get_offset(OffsetAt::Earliest).await.unwrap(), 0);
    assert_eq!(partition.get_offset(OffsetAt::Latest).await.unwrap(), 600);
}

#[tokio::test]
async fn log_append_time_replaces_the_producers_and_the_checksum_holds() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("message.timestamp.type", "LogAppendTime")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let before = now_ms();
    let answer = raw.produce("t", 0, batch_at(&[b"x"], 5)).await;
    let after = now_ms();
    assert!((before..=after).contains(&answer.log_append_time_ms));
    let response = raw.call(&fetch_request("t", &[(0, 0)], 1, 1000, 0), 4).await;
    let got = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(got[22] & 0b1000, 0b1000);
    assert_eq!(got[35..43], answer.log_append_time_ms.to_be_bytes());
    assert_eq!(got[17..21], crc32c::crc32c(&got[21..]).to_be_bytes());
}

#[tokio::test]
async fn a_batch_above_max_message_bytes_is_refused_and_the_next_one_taken() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("max.message.bytes", "1000")]).unwrap();
    let partition = partition(broker.addr(), "t", 0).await;
    let refused = partition.produce(vec![record([7; 1000])], Compression::NoCompression).await;
    let Err(Error::ServerError { protocol_error, .. }) = refused else { panic!("{refused:?}") };
    assert_eq!(protocol_error, ProtocolError::MessageTooLarge);
    assert_eq!(
        partition.produce(vec![record([7; 800])], Compression::NoCompression).await.unwrap(),
        [0]
    );
}

#[tokio::test]
async fn deleted_records_are_gone_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("segment.bytes", "1024")]).unwrap();
    let client = partition(broker.addr(), "t", 0).await;
    for i in 0..100 {
        client.produce(vec![record(format!("{i}"))], Compression::NoCompression).await.unwrap();
    }
    let files = || std::fs::read_dir(dir.path().join("topics/t/0")).unwrap().count();
    let before = files();
    client.delete_records(57, 1000).await.unwrap();
    assert_eq!(broker.watermarks("t"), [(57, 100)]);
    assert!(files() < before, "whole segments are deleted");
    let Err(Error::ServerError { protocol_error, .. }) = client.fetch_records(56, 1..1000, 0).await
    else {
        panic!("offset 56 was still there")
    };
    assert_eq!(protocol_error, ProtocolError::OffsetOutOfRange);
    assert!(client.delete_records(101, 1000).await.is_err(), "beyond the end");
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    assert_eq!(broker.watermarks("t"), [(57, 100)]);
    let client = partition(broker.addr(), "t", 0).await;
    let left = read_from(&client, 57, 200).await;
    assert_eq!(left.last().unwrap().offset, 99);
    client.delete_records(-1, 1000).await.unwrap();
    assert_eq!(broker.watermarks("t"), [(100, 100)]);
    assert_eq!(
        client.produce(vec![record("next")], Compression::NoCompression).await.unwrap(),
        [100]
    );
}

#[tokio::test]
async fn one_connections_produces_are_answered_in_order_and_acks_0_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for i in 0..50 {
        let acks = if i % 5 == 0 { 0 } else { -1 };
        raw.send(&produce_request("t", 0, batch(&[b"x"]), acks), 7, i).await;
    }
    for i in (0..50).filter(|i| i % 5 != 0) {
        let (correlation, response) = raw.receive::<ProduceRequest>(7).await;
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!((correlation, answer.error_code, answer.base_offset), (i, 0, i64::from(i)));
    }
    assert_eq!(broker.watermarks("t"), [(0, 50)]);
}

#[tokio::test]
async fn a_fetch_held_on_a_topic_that_is_deleted_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let addr = broker.addr();
    let held = tokio::spawn(async move {
        let mut raw = Raw::connect(addr).await;
        raw.call(&fetch_request("t", &[(0, 0)], 1, 1000, 60_000), 4).await
    });
    let controller = crate::util::client(addr).await.controller_client().unwrap();
    controller.delete_topic("t", 1000).await.unwrap();
    let response = tokio::time::timeout(PATIENCE / 2, held).await.expect("in time").unwrap();
    assert_eq!(
        response.responses[0].partitions[0].error_code,
        ResponseError::UnknownTopicOrPartition.code()
    );
    until("the topic is gone", || async { broker.watermarks("t").is_empty() }).await;
}
