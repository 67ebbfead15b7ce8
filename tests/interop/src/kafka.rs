//! Our parts against a real Apache Kafka, each of them killed in the middle, and the broker too.
//!
//! ```text
//!  exchange ─▶ tickpanda-source ─▶ Kafka ◀─▶ tickpanda transform run
//!                                    └─▶ tickpanda-sink ─▶ TimescaleDB ◀─ tickpanda audit
//! ```
//!
//! After each `kill -9` rows must flow again and the audit be balanced while everything runs; at the end,
//! with everything at rest, once more.

use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tickpanda_database::testing::{self, TestDatabase};
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Limits, Pair, Rate};
use tickpanda_model::topic;
use tickpanda_tests::demo::program;
use tickpanda_tests::process::Process;
use tickpanda_tests::sink::{Sink, number};
use tickpanda_tests::source::{self, Source};
use tickpanda_tests::wasm;
use tokio::sync::Mutex;

use crate::apache::{self, Apache};
use crate::clients::{hex, java};
use crate::table::{Peer, Table};
use crate::{tools, topics};

const PARTITIONS: i32 = 4;
/// Frames a second.
const RATE: u32 = 1_000;
/// Rows that must come before and after each death.
const FLOWS: i64 = 2_000;
/// Frames in each transaction of somebody else.
const FOREIGN: u32 = 1_000;
/// The source may not reconnect before 5 s, and a transform takes 3 s before it runs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Broker,
    Source,
    Transform,
    Sink,
}

/// Everything that runs.
struct Pipeline {
    kafka: Apache,
    exchange: Exchange,
    database: TestDatabase,
    pool: sqlx::PgPool,
    source: Option<Source>,
    transform: Option<Process>,
    sink: Option<Sink>,
    work: tempfile::TempDir,
}

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    if let Err(error) = apache::jars().await {
        return table.not_begun("Apache Kafka", "our whole pipeline", &error);
    }
    let peer = Peer::new("Apache Kafka", apache::VERSION);
    let pipeline = Arc::new(Mutex::new(None));

    let place = Arc::clone(&pipeline);
    let what = "exchange → source → Kafka ⇄ transform run, → sink → TimescaleDB: rows flow";
    let start = async move {
        let mut place = place.lock().await;
        place.insert(Pipeline::start().await?).flows().await
    };
    table.check(&peer, what, start).await;

    for (victim, name) in [
        (Victim::Broker, "the broker"),
        (Victim::Source, "tickpanda-source"),
        (Victim::Transform, "tickpanda transform run"),
        (Victim::Sink, "tickpanda-sink"),
    ] {
        let what = format!("kill -9 of {name} under load: rows flow again, the audit is balanced");
        let place = Arc::clone(&pipeline);
        let kill = async move { running(&mut *place.lock().await)?.survives(victim).await };
        table.check(&peer, what, kill).await;
    }

    let place = Arc::clone(&pipeline);
    let what = "a foreign producer's transactions between our frames: what is committed is stored, what is aborted is not";
    let check = async move { running(&mut *place.lock().await)?.transactions().await };
    table.check(&peer, what, check).await;

    let what = "all at rest: 0 missing, 0 extra, no frame's number lost";
    let check = async move { running(&mut *pipeline.lock().await)?.at_rest().await };
    table.check(&peer, what, check).await;
}

fn running(pipeline: &mut Option<Pipeline>) -> Result<&mut Pipeline> {
    pipeline.as_mut().context("the pipeline did not start")
}

impl Pipeline {
    async fn start() -> Result<Self> {
        let kafka = Apache::start("").await?;
        topics::create(&kafka.address(), PARTITIONS).await?;
        let feed = Feed::Synthetic { seed: 7, pairs: Pair::catalogue() };
        let rate = Rate::PerSecond(NonZeroU32::new(RATE).context("a rate")?);
        let config = ExchangeConfig::new(source::KEY, feed);
        let config = ExchangeConfig { rate, socket_limits: Limits::NONE, ..config };
        let exchange = Exchange::start(config).await?;
        let database = testing::database().await;
        let pool = sqlx::PgPool::connect(&database.url).await?;
        let work = tempfile::tempdir()?;
        let mut pipeline = Pipeline {
            kafka,
            exchange,
            database,
            pool,
            source: None,
            transform: None,
            sink: None,
            work,
        };
        for part in [Victim::Transform, Victim::Sink, Victim::Source] {
            pipeline.start_part(part)?;
        }
        Ok(pipeline)
    }

    fn start_part(&mut self, part: Victim) -> Result<()> {
        let (work, brokers) = (self.work.path(), self.kafka.address());
        match part {
            Victim::Broker => {}
            Victim::Source => {
                let (ws, rest) = (self.exchange.ws_url(), self.exchange.rest_url());
                self.source = Some(Source::start(work, &brokers, &ws, &rest, &[]));
            }
            Victim::Transform => {
                let mut command = ours(work, &["transform", "run"]);
                command.arg(wasm::path()).args(["--brokers", &brokers, "--from-offset", "+0"]);
                command.args(["--input-topic", topic::RAW]);
                for output in topic::OUTPUTS {
                    command.args(["--output-topic", output]);
                }
                self.transform = Some(Process::start("transform", command));
            }
            Victim::Sink => {
                self.sink = Some(Sink::start(work, &brokers, &self.database.url, &[]));
            }
        }
        Ok(())
    }

    /// A first row, and many after it.
    async fn flows(&self) -> Result<()> {
        let before = self.ticks().await;
        let deadline = Instant::now() + PATIENCE;
        while self.ticks().await < before + FLOWS {
            ensure!(Instant::now() < deadline, "no {FLOWS} further ticks within {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// Rows in `ticks`; none where there is no table yet.
    async fn ticks(&self) -> i64 {
        let exists = "SELECT count(*) FROM pg_tables WHERE tablename = 'ticks'";
        match number(&self.pool, exists).await {
            Some(1..) => number(&self.pool, "SELECT count(*) FROM ticks").await.unwrap_or(0),
            _ => 0,
        }
    }

    async fn survives(&mut self, victim: Victim) -> Result<()> {
        self.flows().await?;
        match victim {
            Victim::Broker => {
                self.kafka.kill().await?;
                // Long enough for everybody to notice.
                tokio::time::sleep(Duration::from_secs(3)).await;
                self.kafka.again().await?;
            }
            Victim::Source => self.source.take().context("a source")?.kill(),
            Victim::Transform => self.transform.take().context("a transform")?.kill(),
            Victim::Sink => self.sink.take().context("a sink")?.kill(),
        }
        self.start_part(victim)?;
        self.flows().await?;
        // What runs on is at most a few seconds behind.
        self.audit(&["--settle", "30s"]).await.map(drop)
    }

    /// Frames that somebody else wrote in a transaction that was aborted, and as many in one that was not.
    async fn transactions(&mut self) -> Result<()> {
        let foreign = java(&self.kafka.address()).await?;
        for (market, commit) in [("Aborted", false), ("Committed", true)] {
            let frames = (0..FOREIGN).map(|id| {
                let frame = format!(
                    r#"{{"TYPE":"0","M":"{market}","FSYM":"BTC","TSYM":"USD","F":"1","ID":"{id}","TS":1704067200,"Q":1.5,"P":63238.3,"TOTAL":94857.45}}"#
                );
                json!({"value": hex(frame.as_bytes())})
            });
            let frames: Vec<Value> = frames.collect();
            let command = json!({
                "do": "transact", "topic": topic::RAW, "partition": 0, "commit": commit, "records": frames,
            });
            foreign.call(command).await?;
        }
        self.flows().await?;
        // The audit reads what is committed by itself, and compares all of it.
        self.audit(&["--settle", "30s"]).await?;
        for (market, expected) in [("Aborted", 0), ("Committed", i64::from(FOREIGN))] {
            let sql = "SELECT count(*) FROM ticks WHERE market = $1";
            let rows: i64 = sqlx::query_scalar(sql).bind(market).fetch_one(&self.pool).await?;
            ensure!(rows == expected, "{rows} rows of the market {market}, not {expected}");
        }
        Ok(())
    }

    /// Stops what brings in more, lets the rest drain, and counts.
    async fn at_rest(&mut self) -> Result<()> {
        let (status, _) = self.source.take().context("a source")?.stop();
        ensure!(status.success(), "the source ended with {status}");
        let state = self.work.path().join("state");
        let state = state.to_str().context("a path")?;
        let audited = self.audit(&["--settle", "60s", "--source-state", state]).await?;
        eprintln!("{audited:#}");
        Ok(())
    }

    /// What the audit says as JSON; an error with its text where it is not balanced.
    async fn audit(&self, args: &[&str]) -> Result<Value> {
        let json = self.work.path().join("audit.json");
        let mut command = ours(self.work.path(), &["audit", "--brokers", &self.kafka.address()]);
        command.args(args).arg("--json").arg(&json).env("DATABASE_URL", &self.database.url);
        tools::output(&mut command.into()).await?;
        let audited: Value = serde_json::from_slice(&std::fs::read(&json)?)?;
        ensure!(audited["balanced"] == true, "not balanced: {audited}");
        Ok(audited)
    }
}

/// `tickpanda …` in a working folder without a `.env`.
fn ours(work: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("tickpanda"));
    command.args(args).current_dir(work).env("NO_COLOR", "1");
    for variable in ["KAFKA_BROKERS", "RUST_LOG", "CRYPTOCOMPARE_API_KEY", "TICKPANDA_RAW_TOPIC"] {
        command.env_remove(variable);
    }
    command
}
