//! A local broker whose tick topic is full: trades of the local exchange, normalized natively.

use std::collections::BTreeMap;
use std::convert::Infallible;

use rskafka::chrono::DateTime;
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::topic;
use tickpanda_transform::{DeadLetter, Emit, RawRecord, normalize};

/// Records in one produce request.
const BATCH: usize = 1000;

/// The broker, and the folder that it writes to.
pub(crate) struct FullTopic {
    pub(crate) brokers: String,
    broker: Broker,
    _folder: tempfile::TempDir,
}

impl FullTopic {
    pub(crate) async fn shutdown(self) {
        self.broker.shutdown().await.expect("the broker stops");
    }
}

/// A topic with so many distinct ticks.
pub(crate) async fn full(ticks: u64, partitions: i32) -> FullTopic {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(BrokerConfig::new(folder.path().join("broker"))).await;
    let broker = broker.expect("a broker");
    for topic in topic::OUTPUTS.into_iter().chain([topic::GAPS]) {
        broker.create_topic(topic, partitions, &[]).expect("a topic");
    }
    let brokers = broker.addr().to_string();
    let client = ClientBuilder::new(vec![brokers.clone()]).build().await.expect("a client");
    let mut writers = Vec::new();
    for partition in 0..partitions {
        let writer = client.partition_client(topic::TICKS, partition, UnknownTopicHandling::Error);
        writers.push(writer.await.expect("a partition"));
    }

    let mut frames = Vec::new();
    tickpanda_exchange::make_trades(ticks, 1, &mut frames).expect("trades");
    let mut waiting: Vec<Vec<Record>> = vec![Vec::new(); writers.len()];
    let mut received = 1_753_190_418_708;
    for frame in frames.split(|byte| *byte == b'\n').filter(|frame| !frame.is_empty()) {
        received += 1;
        let record = tick(frame, received);
        let key = record.key.as_deref().unwrap_or_default();
        let partition = murmur2_partition(key, partitions).unsigned_abs() as usize;
        waiting[partition].push(record);
        if waiting[partition].len() == BATCH {
            let batch = std::mem::take(&mut waiting[partition]);
            let done = writers[partition].produce(batch, Compression::NoCompression).await;
            done.expect("the broker takes it");
        }
    }
    for (writer, batch) in writers.iter().zip(waiting) {
        if !batch.is_empty() {
            let done = writer.produce(batch, Compression::NoCompression).await;
            done.expect("the broker takes it");
        }
    }
    FullTopic { brokers, broker, _folder: folder }
}

/// What the transform makes of a frame.
fn tick(frame: &[u8], received: i64) -> Record {
    struct Tick(Option<Record>, i64);
    impl Emit for Tick {
        type Error = Infallible;
        fn tick(&mut self, key: &[u8], json: &[u8]) -> Result<(), Infallible> {
            self.0 = Some(Record {
                key: Some(key.to_vec()),
                value: Some(json.to_vec()),
                headers: BTreeMap::new(),
                timestamp: DateTime::from_timestamp_millis(self.1).expect("a time"),
            });
            Ok(())
        }
        fn candle(&mut self, _: &[u8], _: &[u8]) -> Result<(), Infallible> {
            Ok(())
        }
        fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Infallible> {
            panic!("a trade of the exchange is a dead letter: {letter:?}")
        }
    }
    let frame: serde_json::Value = serde_json::from_slice(frame).expect("a frame is JSON");
    let text = |name: &str| frame[name].as_str().expect("a trade names its pair").to_owned();
    let key = format!("{}~{}~{}", text("M"), text("FSYM"), text("TSYM"));
    let value = frame.to_string();
    let raw = RawRecord {
        key: Some(key.as_bytes()),
        value: Some(value.as_bytes()),
        headers: &[("feed", Some("ws"))].as_slice(),
        timestamp_ms: received,
    };
    let mut tick = Tick(None, received);
    let Ok(_) = normalize(&raw, &mut tick);
    tick.0.expect("a trade is a tick")
}
