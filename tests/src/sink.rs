//! A pipeline for tests of the sink: a local broker with the real transform, a real database, sinks as
//! the processes that a user starts.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use sqlx::PgPool;
use tickpanda_broker::{Broker, BrokerConfig, StartFrom};
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::topic;

use crate::demo::program;
use crate::process::Process;
use crate::wasm;

/// Partitions of the raw and output topics.
pub const PARTITIONS: i32 = 4;

/// A broker with all topics and the transform, in this folder. Topics that are there stay as they are.
pub async fn broker(folder: &Path, listen: Option<std::net::SocketAddr>) -> Broker {
    let config = BrokerConfig::new(folder.join("broker"));
    let config = BrokerConfig { listen: listen.unwrap_or(config.listen), ..config };
    let broker = Broker::start(config).await.expect("a broker");
    for name in [topic::RAW].into_iter().chain(topic::OUTPUTS) {
        broker.create_topic(name, PARTITIONS, &[]).expect("a topic");
    }
    broker.create_topic(topic::GAPS, 1, &[]).expect("a topic");
    let spec = wasm::spec(StartFrom::Earliest);
    broker.deploy(spec).await.expect("the transform is deployed");
    broker
}

/// A sink as its own process.
pub struct Sink(Process);

impl std::ops::Deref for Sink {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.0
    }
}

impl std::ops::DerefMut for Sink {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

impl Sink {
    /// Starts it in a working folder without a `.env`.
    pub fn start(work: &Path, brokers: &str, database: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program("tickpanda-sink"));
        command.args(["--brokers", brokers]).args(more).current_dir(work);
        for variable in ["KAFKA_BROKERS", "RUST_LOG", "REDIS_HOST"] {
            command.env_remove(variable);
        }
        command.env("DATABASE_URL", database);
        Sink(Process::start("sink", command))
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn stop(self) -> (ExitStatus, Duration) {
        self.0.stop()
    }
}

/// Puts trades on the raw topic as a source does, each with its `seq`.
pub struct Publisher {
    writers: Vec<PartitionClient>,
    frames: std::vec::IntoIter<(String, Vec<u8>)>,
    published: u64,
}

impl Publisher {
    /// For at most so many distinct trades.
    pub async fn new(brokers: &str, trades: u64, seed: u64) -> Self {
        let client = client(brokers).await;
        let mut writers = Vec::new();
        for partition in 0..PARTITIONS {
            let unknown = UnknownTopicHandling::Error;
            let writer = client.partition_client(topic::RAW, partition, unknown).await;
            writers.push(writer.expect("a partition"));
        }
        let mut lines = Vec::new();
        tickpanda_exchange::make_trades(trades, seed, &mut lines).expect("trades");
        let frames = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let frames: Vec<_> = frames.map(|frame| (key(frame), frame.to_vec())).collect();
        Publisher { writers, frames: frames.into_iter(), published: 0 }
    }

    /// The next `count` trades, now.
    pub async fn publish(&mut self, count: usize) {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = i64::try_from(now.expect("after 1970").as_millis()).expect("a time");
        let mut batches = vec![Vec::new(); self.writers.len()];
        for (key, frame) in self.frames.by_ref().take(count) {
            let seq = format!("00000000000000aa:{}", self.published);
            self.published += 1;
            let partition = murmur2_partition(key.as_bytes(), PARTITIONS);
            batches[partition.unsigned_abs() as usize].push(Record {
                key: Some(key.into_bytes()),
                value: Some(frame),
                headers: BTreeMap::from([
                    ("feed".to_owned(), b"ws".to_vec()),
                    ("seq".to_owned(), seq.into_bytes()),
                ]),
                timestamp: DateTime::from_timestamp_millis(now).expect("a time"),
            });
        }
        for (writer, batch) in self.writers.iter().zip(batches) {
            if !batch.is_empty() {
                let done = writer.produce(batch, Compression::NoCompression).await;
                done.expect("the broker takes it");
            }
        }
    }

    /// How many so far.
    pub fn published(&self) -> u64 {
        self.published
    }
}

/// rskafka's client of this broker.
pub async fn client(brokers: &str) -> Client {
    ClientBuilder::new(vec![brokers.to_owned()]).build().await.expect("a client")
}

fn key(frame: &[u8]) -> String {
    let frame: serde_json::Value = serde_json::from_slice(frame).expect("a frame is JSON");
    let text = |name: &str| frame[name].as_str().expect("a trade names its pair").to_owned();
    format!("{}~{}~{}", text("M"), text("FSYM"), text("TSYM"))
}

/// One number from the database; `None` while that does not answer.
pub async fn number(pool: &PgPool, sql: &'static str) -> Option<i64> {
    sqlx::query_scalar(sql).fetch_one(pool).await.ok()
}

/// Waits until a number is reached; panics where it takes longer than `within`.
pub async fn reaches(pool: &PgPool, sql: &'static str, goal: i64, within: Duration) {
    let deadline = Instant::now() + within;
    let mut last = None;
    while last < Some(goal) {
        assert!(Instant::now() < deadline, "{sql}: {last:?} instead of {goal} after {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
        last = number(pool, sql).await;
    }
    assert_eq!(last, Some(goal), "{sql}");
}
