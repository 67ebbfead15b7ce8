//! A small pipeline with raw records of the test's own, and `tickpanda audit` run upon it as a user
//! would: the program itself, its output read, its exit code judged.
//!
//! ```text
//!  produce ─▶ broker [raw ▶ transform.wasm ▶ outputs] ─▶ sink ─▶ TimescaleDB ◀─ tickpanda audit
//!             └─────────────────── in this process ──────────┘                   (child)
//! ```

use std::collections::BTreeMap;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser as _;
use rskafka::BackoffConfig;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::Record;
use serde_json::Value;
use sqlx::PgPool;
use tickpanda_broker::{Broker, BrokerConfig, StartFrom, TransformTiming};
use tickpanda_database::testing::TestDatabase;
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::topic;
use tickpanda_sink::{Settings, SinkError, Summary};
use tokio_util::sync::CancellationToken;

use crate::demo::{PATIENCE, program};
use crate::wasm;

/// Of the raw and output topics.
pub const PARTITIONS: i32 = 2;

/// Records in one batch: the topic takes a megabyte.
const AT_ONCE: usize = 2000;

/// A raw record at a time (ms).
pub fn record(key: &str, value: impl Into<Vec<u8>>, at: i64) -> Record {
    Record {
        key: Some(key.into()),
        value: Some(value.into()),
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(at).expect("a time"),
    }
}

/// The same with headers.
pub fn with(mut record: Record, headers: &[(&str, &str)]) -> Record {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    record.headers.extend(headers);
    record
}

/// A trade's frame, in a record with its key.
pub fn trade(market: &str, id: &str, price: f64, second: i64, at: i64) -> Record {
    let frame = format!(
        r#"{{"TYPE":"0","M":"{market}","FSYM":"BTC","TSYM":"USD","F":"1","ID":"{id}","TS":{second},"Q":0.25,"P":{price},"CCSEQ":{at}}}"#
    );
    record(&format!("{market}~BTC~USD"), frame, at)
}

/// A REST body of minute candles, each a time and a close.
pub fn candles(rows: &[(i64, &str)], at: i64) -> Record {
    let row = |(time, close): &(i64, &str)| {
        format!(
            r#"{{"time":{time},"high":9.5,"low":1,"open":2,"volumefrom":3,"volumeto":4,"close":{close},"conversionType":"direct","conversionSymbol":""}}"#
        )
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    let body = format!(r#"{{"Response":"Success","Type":100,"Data":[{}]}}"#, rows.join(","));
    let record = record("Kraken~ETH~USD", body, at);
    let about = [("market", "Kraken"), ("base", "ETH"), ("quote", "USD"), ("interval", "1m")];
    with(with(record, &about), &[("feed", "rest")])
}

/// Broker, transform and, between [`Pipeline::start_sink`] and [`Pipeline::stop_sink`], the sink.
pub struct Pipeline {
    /// Holds the topics.
    pub broker: Broker,
    /// The sink's database.
    pub pool: PgPool,
    url: String,
    client: Client,
    raw: Vec<PartitionClient>,
    sink: Option<(CancellationToken, JoinHandle<Result<Summary, SinkError>>)>,
    work: tempfile::TempDir,
}

impl Pipeline {
    /// A broker of its own over the given database, the transform deployed; `settings` are the raw
    /// topic's.
    pub async fn start(database: &TestDatabase, settings: &[(&str, &str)]) -> Self {
        Self::start_with(database, settings, StartFrom::Earliest, vec![]).await
    }

    /// As [`Pipeline::start`], with records that are on the raw topic before the transform is deployed.
    pub async fn start_with(
        database: &TestDatabase,
        settings: &[(&str, &str)],
        start: StartFrom,
        before: Vec<Record>,
    ) -> Self {
        let work = tempfile::tempdir().expect("a folder");
        let config = BrokerConfig {
            transforms: TransformTiming::prompt(),
            retention_interval: Duration::from_millis(20),
            ..BrokerConfig::new(work.path().join("broker"))
        };
        let broker = Broker::start(config).await.expect("a broker");
        broker.create_topic(topic::RAW, PARTITIONS, settings).expect("the raw topic");
        for output in topic::OUTPUTS {
            broker.create_topic(output, PARTITIONS, &[]).expect("an output topic");
        }
        broker.create_topic(topic::GAPS, 1, &[]).expect("the topic of gaps");
        // The default waits for minutes between two attempts.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
            deadline: Some(Duration::from_secs(30)),
        };
        let client = ClientBuilder::new(vec![broker.addr().to_string()]).backoff_config(backoff);
        let client = client.build().await.expect("a client");
        let mut raw = Vec::new();
        for partition in 0..PARTITIONS {
            let unknown = UnknownTopicHandling::Error;
            let partition = client.partition_client(topic::RAW, partition, unknown).await;
            raw.push(partition.expect("a partition"));
        }
        produce(&raw, before).await;
        broker.deploy(wasm::spec(start)).await.expect("the transform");
        let pool = PgPool::connect(&database.url).await.expect("the database");
        tickpanda_sink::migrate(&pool).await.expect("the tables");
        let url = database.url.clone();
        Pipeline { broker, pool, url, client, raw, sink: None, work }
    }

    /// Produces raw records, each to the partition of its key, those of a partition in their order.
    pub async fn produce(&self, records: Vec<Record>) {
        produce(&self.raw, records).await;
    }

    /// Takes the beginning of a partition away, as retention does.
    pub async fn cut(&self, topic: &str, partition: i32, before: i64) {
        let unknown = UnknownTopicHandling::Error;
        let partition = self.client.partition_client(topic, partition, unknown).await;
        let cut = partition.expect("a partition").delete_records(before, 5_000).await;
        cut.expect("records are deleted");
    }

    /// Waits until the transform has read everything that was produced.
    pub async fn transformed(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.is_behind() {
            assert!(Instant::now() < deadline, "the transform does not catch up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn is_behind(&self) -> bool {
        let status = self.broker.transform_status();
        status.iter().flat_map(|transform| &transform.partitions).any(|partition| partition.lag > 0)
    }

    /// Starts the sink.
    pub fn start_sink(&mut self) {
        let brokers = self.broker.addr().to_string();
        let args = ["sink", "--brokers", &brokers, "--database-url", &self.url];
        let stop = CancellationToken::new();
        let (settings, token) = (Settings::parse_from(args), stop.clone());
        // A runtime of its own, as its program has.
        let running = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(tickpanda_sink::run(settings, token))
        });
        self.sink = Some((stop, running));
    }

    /// Stops the sink.
    pub async fn stop_sink(&mut self) {
        if let Some((stop, running)) = self.sink.take() {
            stop.cancel();
            let ended = tokio::task::spawn_blocking(move || running.join()).await;
            let ended = ended.expect("it is waited for").expect("no panic");
            ended.expect("the sink ends in good order");
        }
    }

    /// Waits until everything that was produced is in the database.
    pub async fn caught_up(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_caught_up().await {
            assert!(Instant::now() < deadline, "the pipeline does not catch up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn is_caught_up(&self) -> bool {
        // In this order: what is looked at later can only be further on.
        if self.is_behind() {
            return false;
        }
        let ends = topic::OUTPUTS.iter().flat_map(|output| self.broker.watermarks(output));
        let on_topics: i64 = ends.map(|(_, end)| end).sum();
        let written: i64 = sqlx::query_scalar(
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_offsets
             WHERE topic = ANY ($1) AND cluster LIKE $2 || '%'",
        )
        .bind(&topic::OUTPUTS.map(String::from)[..])
        .bind(self.broker.cluster_id())
        .fetch_one(&self.pool)
        .await
        .expect("the sink's offsets");
        written == on_topics
    }

    /// Produces records, has them written, and stops the sink.
    pub async fn write(&mut self, records: Vec<Record>) {
        self.produce(records).await;
        self.start_sink();
        self.caught_up().await;
        self.stop_sink().await;
    }

    /// Changes the database behind everybody's back; the number of rows.
    pub async fn sql(&self, statement: &'static str) -> u64 {
        let done = sqlx::query(statement).execute(&self.pool).await;
        done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected()
    }

    /// The command, with its result in a file.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program("tickpanda"));
        command.arg("audit").args(["--brokers", &self.broker.addr().to_string()]).args(args);
        command.arg("--json").arg(self.work.path().join("audit.json"));
        for variable in
            ["CRYPTOCOMPARE_API_KEY", "KAFKA_BROKERS", "RUST_LOG", "TICKPANDA_RAW_TOPIC"]
        {
            command.env_remove(variable);
        }
        command.env("DATABASE_URL", &self.url).env("NO_COLOR", "1").current_dir(self.work.path());
        command.stdin(Stdio::null());
        command
    }

    /// Runs the audit; without waiting for what is missing, unless `args` say so.
    pub async fn audit(&self, args: &[&str]) -> Audited {
        let mut args = args.to_vec();
        if !args.contains(&"--settle") {
            args.extend(["--settle", "0s"]);
        }
        let mut command = self.command(&args);
        let output = tokio::task::spawn_blocking(move || command.output()).await;
        self.audited(output.expect("no panic").expect("the audit starts"))
    }

    /// What an audit that has ended said.
    pub fn audited(&self, output: Output) -> Audited {
        let json = std::fs::read(self.work.path().join("audit.json"));
        Audited {
            code: output.status.code().expect("an exit code"),
            text: String::from_utf8(output.stdout).expect("text"),
            log: String::from_utf8(output.stderr).expect("text"),
            json: json
                .ok()
                .map_or(Value::Null, |json| serde_json::from_slice(&json).expect("JSON")),
        }
    }
}

impl Drop for Pipeline {
    /// A test that fails leaves no sink behind that waits for its broker.
    fn drop(&mut self) {
        if let Some((stop, running)) = self.sink.take() {
            stop.cancel();
            // What it ends with is for the test that stops it.
            drop(running.join());
        }
    }
}

/// Each record to the partition of its key.
async fn produce(partitions: &[PartitionClient], records: Vec<Record>) {
    let mut by_partition = BTreeMap::<i32, Vec<Record>>::new();
    for record in records {
        let key = record.key.as_deref().unwrap_or_default();
        by_partition.entry(murmur2_partition(key, PARTITIONS)).or_default().push(record);
    }
    for (partition, records) in by_partition {
        let partition = &partitions[usize::try_from(partition).expect("a partition")];
        for records in records.chunks(AT_ONCE) {
            let produced = partition.produce(records.to_vec(), Compression::NoCompression).await;
            produced.expect("they are produced");
        }
    }
}

/// What an audit said.
#[derive(Debug)]
pub struct Audited {
    /// 0 balanced, 1 not, 2 a wrong setting, 3 not compared.
    pub code: i32,
    /// For people.
    pub text: String,
    /// Standard error.
    pub log: String,
    /// For machines.
    pub json: Value,
}

impl Audited {
    /// A number of a table.
    pub fn count(&self, table: &str, name: &str) -> u64 {
        let tables = self.json["tables"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        let found = tables.iter().find(|found| found["table"] == table);
        found.and_then(|found| found[name].as_u64()).unwrap_or_else(|| panic!("{name} in {self:?}"))
    }

    /// Panics with everything it said where it is not balanced.
    pub fn assert_balanced(&self) {
        assert!(self.code == 0 && self.json["balanced"] == true, "{}\n{}", self.text, self.log);
    }
}
