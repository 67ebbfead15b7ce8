//! Retention: whole segments, by size and by age.

use std::path::Path;
use std::time::Duration;

use rskafka::client::partition::Compression;
use tickpanda_broker::{Broker, BrokerConfig};

use crate::util::{partition, read_from, record, start, until};

async fn start_tidy(dir: &Path) -> Broker {
    let retention_interval = Duration::from_millis(20);
    Broker::start(BrokerConfig { retention_interval, ..BrokerConfig::new(dir) }).await.unwrap()
}

fn bytes_on_disk(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap());
    // A segment can go between being listed and being looked at.
    files
        .filter(|f| f.path().extension().is_some_and(|e| e == "log"))
        .filter_map(|f| f.metadata().ok())
        .map(|m| m.len())
        .sum()
}

#[tokio::test]
async fn retention_by_bytes_keeps_that_much_and_the_newest_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start_tidy(dir.path()).await;
    broker
        .create_topic("t", 1, &[("segment.bytes", "2000"), ("retention.bytes", "10000")])
        .unwrap();
    broker.create_topic("kept", 1, &[("segment.bytes", "2000")]).unwrap();
    let (client, kept) =
        (partition(broker.addr(), "t", 0).await, partition(broker.addr(), "kept", 0).await);
    for i in 0..300 {
        for client in [&client, &kept] {
            client
                .produce(vec![record(format!("{i:0100}"))], Compression::NoCompression)
                .await
                .unwrap();
        }
    }
    let log = dir.path().join("topics/t/0");
    until("old segments are gone", || async { bytes_on_disk(&log) < 12_000 }).await;
    let (start, end) = broker.watermarks("t")[0];
    assert!(bytes_on_disk(&log) >= 10_000, "no more than needed");
    assert_eq!(end, 300);
    let left = read_from(&client, start, 1 << 20).await;
    assert_eq!(left.iter().map(|r| r.offset).collect::<Vec<_>>(), (start..300).collect::<Vec<_>>());
    assert_eq!(broker.watermarks("kept"), [(0, 300)]);
}

#[tokio::test]
async fn retention_by_age_counts_from_the_append_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    // Timestamps of 2023 are no reason to delete what has just arrived.
    broker.create_topic("long", 1, &[("retention.ms", "3600000")]).unwrap();
    broker.create_topic("short", 1, &[("retention.ms", "1")]).unwrap();
    for topic in ["long", "short"] {
        let client = partition(broker.addr(), topic, 0).await;
        client.produce(vec![record("a"), record("b")], Compression::NoCompression).await.unwrap();
    }
    broker.shutdown().await.unwrap();

    let broker = start_tidy(dir.path()).await;
    until("what is old is gone", || async { broker.watermarks("short") == [(2, 2)] }).await;
    assert_eq!(broker.watermarks("long"), [(0, 2)]);
    let client = partition(broker.addr(), "short", 0).await;
    assert_eq!(client.produce(vec![record("c")], Compression::NoCompression).await.unwrap(), [2]);
    until("that too", || async { broker.watermarks("short") == [(3, 3)] }).await;
    broker.shutdown().await.unwrap();
    assert_eq!(start(dir.path()).await.watermarks("short"), [(3, 3)]);
}
