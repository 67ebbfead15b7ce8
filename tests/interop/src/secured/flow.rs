//! The whole pipeline over one way: records really flow, and the audit finds all of them.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair, Rate};
use tickpanda_model::topic;
use tokio::time::{Instant, sleep};

use super::database::Database;
use super::programs::{PATIENCE, Running, Way, command, no_secret, output};

const KEY: &str = "a-key";
/// Rows that are waited for.
const ENOUGH: i64 = 300;
const RATE: Rate = Rate::PerSecond(const { NonZeroU32::new(200).unwrap() });

/// One way's pipeline. What it begins with, each of its topics' names does.
pub(super) struct Flow {
    pub(super) way: Way,
    name: String,
    database: Vec<(&'static str, String)>,
    work: TempDir,
    exchange: Option<Exchange>,
    source: Option<Running>,
    transform: Option<Running>,
    sink: Option<Running>,
}

impl Flow {
    /// `name` is a database's name, and with a dot the prefix of the topics.
    pub(super) fn new(name: &str, way: Way, database: Vec<(&'static str, String)>) -> Result<Self> {
        Ok(Flow {
            way,
            name: name.to_owned(),
            database,
            work: tempfile::tempdir()?,
            exchange: None,
            source: None,
            transform: None,
            sink: None,
        })
    }

    fn topic(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    fn command(&self, program: &str, args: &[&str]) -> tokio::process::Command {
        let mut command = command(program, args, self.work.path(), &self.way);
        command.env("TICKPANDA_TOPIC_PREFIX", format!("{}.", self.name));
        command.envs(self.database.iter().cloned());
        command
    }

    /// The source starts, creates its topics, and publishes.
    pub(super) async fn source(&mut self) -> Result<()> {
        let feed = Feed::Synthetic { seed: 7, pairs: Pair::catalogue() };
        let config = ExchangeConfig { rate: RATE, ..ExchangeConfig::new(KEY, feed) };
        let exchange = Exchange::start(config).await?;
        let (ws, rest) = (exchange.ws_url(), exchange.rest_url());
        let args = ["--ws-url", &ws, "--rest-url", &rest, "--replicas", "1"];
        let mut source = self.command("tickpanda-source", &args);
        source.env("CRYPTOCOMPARE_API_KEY", KEY);
        let mut source = Running::start("source", source, self.work.path())?;
        source.says("published=").await?;
        self.exchange = Some(exchange);
        self.source = Some(source);
        Ok(())
    }

    /// The source hears a command and answers it.
    pub(super) async fn ctl(&mut self) -> Result<()> {
        let (code, said) = output(self.command("tickpanda-source", &["ctl", "retry"])).await?;
        ensure!(code == 0 && said.contains("RETRY ok"), "{code}: {said}");
        let (code, said) =
            output(self.command("tickpanda-source", &["ctl", "create-topic", "further"])).await?;
        let output = self.topic(topic::TICKS);
        ensure!(code == 0 && said.contains(&format!("--output-topic {output}")), "{code}: {said}");
        Ok(())
    }

    /// The transform runs beside the cluster.
    pub(super) async fn transform(&mut self) -> Result<()> {
        let wasm = wasm()?;
        let mut args = vec!["transform".to_owned(), "run".to_owned(), wasm.display().to_string()];
        args.extend(["--input-topic".to_owned(), self.topic(topic::RAW)]);
        for output in topic::OUTPUTS {
            args.extend(["--output-topic".to_owned(), self.topic(output)]);
        }
        args.extend(["--from-offset", "+0"].map(str::to_owned));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let run = self.command("tickpanda", &args);
        let mut run = Running::start("transform", run, self.work.path())?;
        run.says("running ").await?;
        self.transform = Some(run);
        Ok(())
    }

    /// The sink writes rows.
    pub(super) async fn sink(&mut self, database: &Database) -> Result<()> {
        let sink = self.command("tickpanda-sink", &[]);
        self.sink = Some(Running::start("sink", sink, self.work.path())?);
        self.rows(database, ENOUGH).await?;
        let (all, encrypted, certificates) = database.sessions(&self.name).await?;
        ensure!(all > 0 && encrypted == all, "{encrypted} of {all} sessions are encrypted");
        let shows = self.database.iter().any(|(name, _)| *name == "TIMESCALEDB_SSLCERT");
        ensure!(
            !shows || certificates == all,
            "{certificates} of {all} sessions show a certificate"
        );
        Ok(())
    }

    /// Waits for so many rows.
    pub(super) async fn rows(&mut self, database: &Database, enough: i64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while database.ticks(&self.name).await? < enough {
            for running in [&mut self.source, &mut self.transform, &mut self.sink] {
                let Some(running) = running else { continue };
                ensure!(running.runs()?, "it has ended: {}", running.log());
            }
            ensure!(Instant::now() < deadline, "too few rows; sink: {}", self.said("sink"));
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    /// The source ends, and the audit of what there is then finds no difference. `quiet`: nobody has told of any
    /// trouble.
    pub(super) async fn audit(&mut self, quiet: bool) -> Result<()> {
        for running in [&self.source, &self.transform, &self.sink].into_iter().flatten() {
            let troubles = running.troubles();
            ensure!(troubles.is_empty() || !quiet, "{troubles:?}");
        }
        self.source.take().context("a source")?.stop().await?;
        if let Some(exchange) = self.exchange.take() {
            exchange.shutdown().await;
        }
        let (code, said) = output(self.command("tickpanda", &["audit", "--settle", "30s"])).await?;
        ensure!(code == 0, "exit code {code}: {said}");
        for running in [self.transform.take(), self.sink.take()].into_iter().flatten() {
            running.stop().await?;
        }
        Ok(())
    }

    /// What a part has said.
    pub(super) fn said(&self, part: &str) -> String {
        let running = match part {
            "source" => &self.source,
            "transform" => &self.transform,
            _ => &self.sink,
        };
        let said = running.as_ref().map(Running::log).unwrap_or_default();
        no_secret(&said).map_or_else(|error| error.to_string(), |()| said)
    }
}

fn wasm() -> Result<PathBuf> {
    let path = std::env::var_os("TICKPANDA_TRANSFORM_WASM").context("TICKPANDA_TRANSFORM_WASM")?;
    Ok(path.into())
}
