//! A broker with topics and transforms, and clients at its socket: for the cases that Redpanda tests
//! with a container, a cluster, or a processor between a fake source and a fake sink.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use tempfile::TempDir;
use tickpanda_broker::{
    Broker, BrokerConfig, PartitionStatus, StartFrom, TransformSpec, TransformTiming,
};
use tickpanda_kafka::ClientConfig;
use tickpanda_tests::wasm;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    reader: tickpanda_kafka::Client,
    /// Last, so that it goes when nobody uses it any more.
    _folder: TempDir,
}

impl Cluster {
    /// With these topics, name and partitions each.
    pub(crate) async fn start(topics: &[(&str, i32)]) -> Self {
        Self::start_with(TransformTiming::default(), topics).await
    }

    pub(crate) async fn start_with(timing: TransformTiming, topics: &[(&str, i32)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self::open(folder, timing).await;
        for (topic, partitions) in topics {
            cluster.broker.create_topic(topic, *partitions, &[]).unwrap();
        }
        cluster
    }

    async fn open(folder: TempDir, timing: TransformTiming) -> Self {
        let config = BrokerConfig { transforms: timing, ..BrokerConfig::new(folder.path()) };
        let broker = Broker::start(config).await.unwrap();
        let addresses = [broker.addr().to_string()];
        let reader = tickpanda_kafka::Client::connect(&addresses, ClientConfig::default());
        Self { reader: reader.await.unwrap(), broker, _folder: folder }
    }

    /// Deploys a guest under its own name, from the first record on.
    pub(crate) async fn deploy(&self, guest: &str, input: &str, outputs: &[&str]) {
        self.broker.deploy(spec(guest, guest, input, outputs)).await.unwrap();
    }

    /// Sends one batch.
    pub(crate) async fn produce(&self, topic: &str, partition: i32, records: Vec<Record>) {
        let client =
            ClientBuilder::new(vec![self.broker.addr().to_string()]).build().await.unwrap();
        let partition = client.partition_client(topic, partition, UnknownTopicHandling::Error);
        partition.await.unwrap().produce(records, Compression::NoCompression).await.unwrap();
    }

    /// All records of a partition, as soon as there are so many.
    pub(crate) async fn read(
        &self,
        topic: &str,
        partition: i32,
        count: usize,
    ) -> Vec<tickpanda_kafka::Record> {
        let (mut records, mut next, begun) = (Vec::new(), 0, Instant::now());
        while records.len() < count {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            assert!(!left.is_zero(), "{topic}/{partition}: {} of {count} records", records.len());
            let wait = left.min(Duration::from_secs(1));
            let read = self.reader.read(topic, partition, next, 1 << 20, wait).await.unwrap();
            next = read.next_offset;
            records.extend(read.records);
        }
        assert_eq!(records.len(), count, "{topic}/{partition}");
        records
    }

    /// The values of [`read`](Self::read) as text.
    pub(crate) async fn values(&self, topic: &str, partition: i32, count: usize) -> Vec<String> {
        let records = self.read(topic, partition, count).await;
        let text = |value: &[u8]| String::from_utf8(value.to_vec()).unwrap();
        records.iter().map(|record| text(record.value.as_deref().unwrap_or_default())).collect()
    }

    /// How many records all partitions of a topic hold.
    pub(crate) fn count(&self, topic: &str) -> i64 {
        self.broker.watermarks(topic).iter().map(|(start, end)| end - start).sum()
    }

    /// One partition of a transform.
    pub(crate) fn status(&self, transform: &str, partition: usize) -> PartitionStatus {
        let all = self.broker.transform_status();
        let found = all.into_iter().find(|status| status.name == transform);
        found.expect("the transform is deployed").partitions.remove(partition)
    }
}

/// A guest as a transform that reads from the first record on.
pub(crate) fn spec(guest: &str, name: &str, input: &str, outputs: &[&str]) -> TransformSpec {
    TransformSpec {
        name: name.to_owned(),
        wasm: wasm::guest(guest),
        input_topic: input.to_owned(),
        output_topics: outputs.iter().map(|topic| (*topic).to_owned()).collect(),
        env: vec![],
        start: StartFrom::Earliest,
    }
}

/// A record with a key and a value.
pub(crate) fn record(key: &str, value: &str) -> Record {
    Record {
        key: Some(key.into()),
        value: Some(value.into()),
        headers: BTreeMap::from([("header-key".to_owned(), b"header-value".to_vec())]),
        timestamp: Utc.timestamp_millis_opt(1_700_000_000_000).unwrap(),
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
