//! A local broker that starts without topics, as a new cluster, and what lies on it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tickpanda_kafka::{At, BatchEncoder, Client, ClientConfig};
use tokio::process::{Child, Command};

use crate::tools;

/// How long anything may take here: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a topic must hold no more than it should.
const SETTLED: Duration = Duration::from_secs(2);

/// The broker's process and its data. Killed, and deleted, at the end.
pub(super) struct Cluster {
    kafka: String,
    admin: String,
    client: Client,
    /// Trades on each topic so far.
    published: Mutex<BTreeMap<String, i64>>,
    _process: Child,
    _folder: TempDir,
}

impl Cluster {
    /// Starts it on free ports, and waits until it serves.
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the broker")?;
        let [kafka, admin] =
            [tools::free_port()?, tools::free_port()?].map(|port| format!("127.0.0.1:{port}"));
        let log = std::fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(program("tickpanda")?);
        command
            .args(["broker", "--no-topics", "--listen", &kafka, "--admin-listen", &admin])
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            // `cargo xtask interop` sets it for tests that want it deployed.
            .env_remove("TICKPANDA_TRANSFORM_WASM")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let process = command.spawn().context("cannot start the local broker")?;
        let config = ClientConfig { retry_for: PATIENCE, ..ClientConfig::default() };
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            match Client::connect(std::slice::from_ref(&kafka), config.clone()).await {
                Ok(client) => break client,
                Err(why) if Instant::now() > deadline => {
                    let log = std::fs::read_to_string(folder.path().join("log"))?;
                    bail!("the local broker does not serve: {why}; {log}");
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        Ok(Self {
            kafka,
            admin,
            client,
            published: Mutex::default(),
            _process: process,
            _folder: folder,
        })
    }

    pub(super) fn kafka(&self) -> &str {
        &self.kafka
    }

    pub(super) fn admin(&self) -> &str {
        &self.admin
    }

    /// Publishes this many frames of a trade each, spread over the partitions.
    pub(super) async fn trades(&self, topic: &str, count: usize) -> Result<()> {
        let partitions = self.client.offsets(topic, At::Latest).await?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let milliseconds = i64::try_from(now.as_millis())?;
        for (n, (partition, end)) in partitions.iter().enumerate() {
            let mut batch = BatchEncoder::default();
            for trade in (n..count).step_by(partitions.len()) {
                let frame = format!(
                    r#"{{"TYPE":"0","M":"Kraken","FSYM":"BTC","TSYM":"USD","F":"1","ID":"{partition}-{end}-{trade}","TS":{},"Q":1.5,"P":27000.5,"TOTAL":40500.75}}"#,
                    now.as_secs()
                );
                let headers = std::iter::empty();
                batch.push(milliseconds, Some(b"Kraken~BTC~USD"), Some(frame.as_bytes()), headers);
            }
            let records = i64::from(batch.len());
            self.client.produce(topic, *partition, batch.finish()).await?;
            let mut published = self.published.lock().expect("nobody panics with it");
            *published.entry(topic.to_owned()).or_default() += records;
        }
        Ok(())
    }

    /// How many trades that were, so far.
    pub(super) fn published(&self, topic: &str) -> i64 {
        self.published.lock().expect("nobody panics with it").get(topic).copied().unwrap_or(0)
    }

    /// Waits until a topic holds exactly this many records, and no more come.
    pub(super) async fn holds(&self, topic: &str, count: i64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let mut held_since = None;
        loop {
            let ends = self.client.offsets(topic, At::Latest).await?;
            let held: i64 = ends.iter().map(|(_, end)| end).sum();
            ensure!(held <= count, "{topic} holds {held} records instead of {count}");
            if held == count && held_since.get_or_insert_with(Instant::now).elapsed() > SETTLED {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{topic} holds {held} records of {count}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// One of our programs, beside this one.
pub(super) fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(path.is_file(), "{} is not built", path.display());
    Ok(path)
}
