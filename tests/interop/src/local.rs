//! `tickpanda broker` as the process that a user starts, without topics, as a new cluster is.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tickpanda_kafka::{Client, ClientConfig};
use tickpanda_tests::demo::program;
use tickpanda_tests::process::Process;
use tickpanda_tests::wasm;

/// Says where a listener is, behind `addr=`.
const KAFKA: &str = "broker is listening";
const ADMIN: &str = "the Admin API is listening";
/// Any free port of this machine's own.
const FREE: &str = "127.0.0.1:0";

/// A running broker with its data; killed, and deleted, at the end.
pub(crate) struct LocalBroker {
    process: Process,
    kafka: String,
    admin: String,
    /// Last, so that it goes when nobody uses it any more.
    folder: TempDir,
}

impl LocalBroker {
    /// Starts one on free ports, and waits until it serves.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the broker")?;
        let process = run(folder.path(), FREE, FREE).await;
        let (kafka, admin) = (address(&process, KAFKA)?, address(&process, ADMIN)?);
        Ok(Self { process, kafka, admin, folder })
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after that, on its data and at the same addresses.
    pub(crate) async fn again(&mut self) {
        self.process = run(self.folder.path(), &self.kafka, &self.admin).await;
    }

    /// SIGTERM, and a good end.
    pub(crate) fn stop(self) -> Result<()> {
        let (status, _) = self.process.stop();
        ensure!(status.success(), "the broker ended with {status}");
        Ok(())
    }

    /// Where it speaks Kafka's protocol.
    pub(crate) fn kafka(&self) -> &str {
        &self.kafka
    }

    /// Where its Admin API is.
    pub(crate) fn admin(&self) -> &str {
        &self.admin
    }

    /// A client of ours for it.
    pub(crate) async fn client(&self) -> Result<Client> {
        Ok(Client::connect(std::slice::from_ref(&self.kafka), ClientConfig::default()).await?)
    }

    /// Its folder, where other files may lie too.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits for a line of its log.
    pub(crate) async fn says(&self, words: &str) {
        self.process.says(words).await;
    }
}

async fn run(folder: &Path, kafka: &str, admin: &str) -> Process {
    let mut command = std::process::Command::new(program("tickpanda"));
    command.args(["broker", "--no-topics", "--listen", kafka, "--admin-listen", admin]);
    command.arg("--data-dir").arg(folder.join("data")).current_dir(folder);
    // `cargo xtask interop` sets the first for those who deploy it themselves.
    for variable in [wasm::VARIABLE, "RUST_LOG"] {
        command.env_remove(variable);
    }
    let process = Process::start("broker", command);
    process.says(ADMIN).await;
    process
}

fn address(process: &Process, words: &str) -> Result<String> {
    let log = process.log();
    let line = log.iter().find(|line| line.contains(words));
    let address = line.and_then(|line| line.split_once("addr=")?.1.split_whitespace().next());
    let address = address.map(str::to_owned);
    address.with_context(|| format!("the broker did not say where it listens: {log:?}"))
}
