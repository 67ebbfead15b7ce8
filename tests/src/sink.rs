//! A pipeline for tests of the sink: a local broker with the real transform, a real database, sinks as
//! the processes that a user starts.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rskafka::chrono::DateTime;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use sqlx::PgPool;
use tickpanda_broker::{Broker, BrokerConfig, StartFrom};
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::topic;

use crate::demo::{PATIENCE, program};
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

/// A sink as its own process, its log at hand. Killed where the test fails.
pub struct Sink {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Sink {
    /// Starts it in a working folder without a `.env`.
    pub fn start(work: &Path, brokers: &str, database: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program("tickpanda-sink"));
        command.args(["--brokers", brokers]).args(more).current_dir(work);
        for variable in ["KAFKA_BROKERS", "RUST_LOG", "REDIS_HOST"] {
            command.env_remove(variable);
        }
        command.env("DATABASE_URL", database).env("NO_COLOR", "1");
        let mut child =
            command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the sink starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("sink: {line}");
                lines.lock().expect("a list of lines").push(line);
            }
        });
        Sink { child, log, reader: Some(reader) }
    }

    /// Lines of its log with this in them.
    pub fn lines_with(&self, part: &str) -> usize {
        let log = self.log.lock().expect("a list of lines");
        log.iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until it has said this.
    pub async fn says(&self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines_with(part) == 0 {
            assert!(Instant::now() < deadline, "the sink does not say `{part}`");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        (self.wait(), start.elapsed())
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                // What it said last is in the log then.
                if let Some(reader) = self.reader.take() {
                    reader.join().expect("the reader ends with the log");
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the sink does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
