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
    Broker, BrokerConfig, BrokerError, PartitionStatus, StartFrom, TransformSpec,
};
use tickpanda_host::processor::Timing;
use tickpanda_kafka::ClientConfig;
use tickpanda_tests::wasm;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Of records whose time does not matter, in milliseconds.
pub(crate) const SOME_TIME: i64 = 1_700_000_000_000;

pub(crate) struct Cluster {
    pub(crate) broker: Broker,
    reader: tickpanda_kafka::Client,
    /// Last, so that it goes when nobody uses it any more.
    folder: TempDir,
}

impl Cluster {
    /// With these topics, name and partitions each.
    pub(crate) async fn start(topics: &[(&str, i32)]) -> Self {
        Self::start_with(Timing::prompt(), topics).await
    }

    /// The same, but a transform that has failed rests for an hour.
    pub(crate) async fn start_resting_long(topics: &[(&str, i32)]) -> Self {
        let hour = Duration::from_secs(3600);
        let timing = Timing { backoff: hour, max_backoff: hour, ..Timing::prompt() };
        Self::start_with(timing, topics).await
    }

    async fn start_with(timing: Timing, topics: &[(&str, i32)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cluster = Self::open(folder, timing).await;
        for (topic, partitions) in topics {
            cluster.broker.create_topic(topic, *partitions, &[]).unwrap();
        }
        cluster
    }

    async fn open(folder: TempDir, timing: Timing) -> Self {
        let config = BrokerConfig { transforms: timing, ..BrokerConfig::new(folder.path()) };
        let broker = Broker::start(config).await.unwrap();
        let addresses = [broker.addr().to_string()];
        let reader = tickpanda_kafka::Client::connect(&addresses, ClientConfig::default());
        Self { reader: reader.await.unwrap(), broker, folder }
    }

    /// Stops the broker in good order and starts it again, without any transform.
    pub(crate) async fn restart(self) -> Self {
        let Self { broker, folder, .. } = self;
        broker.shutdown().await.unwrap();
        Self::open(folder, Timing::prompt()).await
    }

    /// Deploys a guest under its own name, from the first record on.
    pub(crate) async fn deploy(&self, guest: &str, input: &str, outputs: &[&str]) {
        self.broker.deploy(spec(guest, guest, input, outputs)).await.unwrap();
    }

    /// Sends one batch.
    pub(crate) async fn produce(&self, topic: &str, partition: i32, records: Vec<Record>) {
        self.produce_as(topic, partition, records, Compression::NoCompression).await;
    }

    pub(crate) async fn produce_as(
        &self,
        topic: &str,
        partition: i32,
        records: Vec<Record>,
        codec: Compression,
    ) {
        let client =
            ClientBuilder::new(vec![self.broker.addr().to_string()]).build().await.unwrap();
        let partition = client.partition_client(topic, partition, UnknownTopicHandling::Error);
        partition.await.unwrap().produce(records, codec).await.unwrap();
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

    /// How many transforms the broker's folder remembers.
    pub(crate) fn files_of_progress(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path().join("transforms")).unwrap();
        let is_whole = |path: &std::path::Path| path.extension().is_some_and(|ext| ext == "json");
        files.filter(|file| is_whole(&file.as_ref().unwrap().path())).count()
    }

    /// One partition of a transform.
    pub(crate) fn status(&self, transform: &str, partition: usize) -> PartitionStatus {
        let all = self.broker.transform_status();
        let found = all.into_iter().find(|status| status.name == transform);
        found.expect("the transform is deployed").partitions.remove(partition)
    }

    /// Waits until no transform has anything left to do.
    pub(crate) async fn drained(&self) {
        until("the lag is 0", || {
            self.broker.transform_status().iter().all(|t| t.partitions.iter().all(|p| p.lag == 0))
        })
        .await;
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

/// Why the broker does not take a transform.
pub(crate) async fn refused(cluster: &Cluster, spec: TransformSpec) -> String {
    let error = cluster.broker.deploy(spec).await.unwrap_err();
    assert!(matches!(error, BrokerError::InvalidTransform { .. }), "{error}");
    error.to_string()
}

/// A record with a key and a value.
pub(crate) fn record(key: &str, value: &str) -> Record {
    record_at(key, value, SOME_TIME)
}

/// The same at a time in milliseconds.
pub(crate) fn record_at(key: &str, value: &str, ms: i64) -> Record {
    Record {
        key: Some(key.into()),
        value: Some(value.into()),
        headers: BTreeMap::from([("header-key".to_owned(), b"header-value".to_vec())]),
        timestamp: Utc.timestamp_millis_opt(ms).unwrap(),
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
