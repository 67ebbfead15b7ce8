//! A local broker with Redpanda's client for it, its topics, and records in and out of them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tickpanda_kafka::{At, BatchEncoder, Client as Kafka, Record, TopicSpec};
use tickpanda_tests::wasm;

use super::client::{Client, Rpadmin};
use crate::local::LocalBroker;

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker.
pub(super) struct Local {
    broker: LocalBroker,
    rpadmin: Rpadmin,
}

impl Local {
    /// Starts one without a transform.
    pub(super) async fn start(rpadmin: &Rpadmin) -> Result<Self> {
        Ok(Self { broker: LocalBroker::start().await?, rpadmin: rpadmin.clone() })
    }

    /// `kill -9`, and starts it again on its data.
    pub(super) async fn kill_and_restart(&mut self) {
        self.broker.kill();
        self.broker.again().await;
    }

    /// Redpanda's client for it.
    pub(super) fn client(&self) -> Client {
        self.rpadmin.at(self.broker.admin())
    }

    /// Redpanda's client with two addresses of it: it has to find out who leads.
    pub(super) fn client_of_many(&self) -> Client {
        self.rpadmin.at(format!("{0},{0}", self.broker.admin()))
    }

    /// Waits for a line of its log.
    pub(super) async fn says(&self, words: &str) {
        self.broker.says(words).await;
    }

    /// A folder for modules.
    pub(super) fn folder(&self) -> &Path {
        self.broker.folder()
    }

    async fn kafka(&self) -> Result<Kafka> {
        self.broker.client().await
    }

    /// Creates topics.
    pub(super) async fn topics(&self, names: &[&str], partitions: i32) -> Result<()> {
        let spec = |name: &&str| TopicSpec {
            name: (*name).to_owned(),
            partitions,
            replication_factor: 1,
            settings: Default::default(),
        };
        let specs: Vec<TopicSpec> = names.iter().map(spec).collect();
        self.kafka().await?.create_topics(&specs).await?;
        Ok(())
    }

    /// Produces one batch of keys and values; its records are at `at` (ms since the epoch).
    pub(super) async fn produce_at(
        &self,
        topic: &str,
        partition: i32,
        records: &[(&str, &str)],
        at: i64,
    ) -> Result<()> {
        let mut batch = BatchEncoder::default();
        for (key, value) in records {
            let headers = std::iter::empty::<(&[u8], &[u8])>();
            batch.push(at, Some(key.as_bytes()), Some(value.as_bytes()), headers);
        }
        self.kafka().await?.produce(topic, partition, batch.finish()).await?;
        Ok(())
    }

    /// The same at some time.
    pub(super) async fn produce(
        &self,
        topic: &str,
        partition: i32,
        records: &[(&str, &str)],
    ) -> Result<()> {
        self.produce_at(topic, partition, records, 1_700_000_000_000).await
    }

    /// All records of a partition.
    pub(super) async fn records(&self, topic: &str, partition: i32) -> Result<Vec<Record>> {
        let kafka = self.kafka().await?;
        let ends = kafka.offsets(topic, At::Latest).await?;
        let end = ends.into_iter().find(|(index, _)| *index == partition).map_or(0, |it| it.1);
        let (mut all, mut offset) = (Vec::new(), 0);
        while offset < end {
            let read =
                kafka.read(topic, partition, offset, 1 << 20, Duration::from_secs(1)).await?;
            offset = read.next_offset;
            all.extend(read.records);
        }
        Ok(all)
    }

    /// Their values as text.
    pub(super) async fn values(&self, topic: &str, partition: i32) -> Result<Vec<String>> {
        let text = |it: &Record| {
            it.value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned())
        };
        let records = self.records(topic, partition).await?;
        Ok(records.iter().map(|it| text(it).unwrap_or_default()).collect())
    }

    /// The attributes of a partition's first batch: the codec is in its last three bits.
    pub(super) async fn attributes(&self, topic: &str) -> Result<i16> {
        let kafka = self.kafka().await?;
        let read = kafka.read_batches(topic, 0, 0, 1 << 20, Duration::from_secs(1)).await?;
        Ok(read.batches.first().context("no batch")?.attributes())
    }

    /// Waits until there are so many records on a partition.
    pub(super) async fn wait_for(&self, topic: &str, partition: i32, count: usize) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.records(topic, partition).await?.len();
            if found >= count {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{found} records on {topic}, not {count}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until each partition of a transform is as `wanted`.
    pub(super) async fn is(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&str, u64) -> bool,
    ) -> Result<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listed = self.client().listed(name).await?;
            let partitions = listed["status"].as_array().context("partitions")?;
            let is = |it: &Value| {
                wanted(it["status"].as_str().unwrap_or(""), it["lag"].as_u64().unwrap_or(u64::MAX))
            };
            if !partitions.is_empty() && partitions.iter().all(is) {
                return Ok(listed);
            }
            ensure!(Instant::now() < deadline, "{name} is not {what}: {listed}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a transform runs and has nothing left to do.
    pub(super) async fn drained(&self, name: &str) -> Result<Value> {
        self.is(name, "running without lag", |status, lag| status == "running" && lag == 0).await
    }
}

/// The module of a guest of the conformance tests as a file.
pub(super) fn guest(folder: &Path, name: &str) -> Result<PathBuf> {
    file(folder, name, &wasm::guest(name))
}

/// Some bytes as a file.
pub(super) fn file(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name).with_extension("wasm");
    std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
