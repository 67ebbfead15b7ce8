//! `docker-compose.yml` on the engine, under a project name and on ports of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio::process::Command;

use super::engine::{Engine, repository};
use super::images::BUILT;
use crate::tools;

const PROJECT: &str = "tickpanda-test";
/// How long anything may take to be as it should: the machine is busy.
const PATIENCE: Duration = Duration::from_secs(180);

/// What this machine can't have is left out by a profile; our programs come from an image that has them.
const OVERRIDE: &str = "services:
  exchange: &built {build: {args: {BUILT: BUILT_IMAGE}}}
  source: *built
  sink: *built
  deploy: *built
  console: {profiles: [not-to-be-had]}
  grafana: {profiles: [not-to-be-had]}
";

/// Variables of docker-compose.yml for the ports that it publishes, of what is started here.
const PORTS: [&str; 6] = [
    "REDPANDA_KAFKA_PORT",
    "REDPANDA_ADMIN_PORT",
    "TIMESCALEDB_PUBLISHED_PORT",
    "SOURCE_PORT",
    "SINK_PORTS",
    "PROMETHEUS_PORT",
];

/// The containers. Taken down with their volumes at the end.
pub(super) struct Stack {
    engine: Arc<Engine>,
    folder: TempDir,
    ports: Vec<(&'static str, String)>,
}

impl Stack {
    pub(super) fn new(engine: Arc<Engine>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("override.yml"), OVERRIDE.replace("BUILT_IMAGE", BUILT))?;
        // A `.env` in the repository is the user's.
        std::fs::write(folder.path().join("env"), "")?;
        // All at once, so that each is another.
        let free: [u16; PORTS.len()] = tools::free_ports()?;
        let ports = PORTS.into_iter().zip(free.map(|port| port.to_string())).collect();
        let stack = Stack { engine, folder, ports };
        // What a test left that was killed.
        stack.engine.compose_down(&stack.arguments(&["down", "--volumes", "--remove-orphans"]));
        Ok(stack)
    }

    /// `docker compose …`; returns what it printed.
    pub(super) async fn compose(&self, args: &[&str]) -> Result<String> {
        tools::output(&mut self.command(args)).await
    }

    fn arguments(&self, args: &[&str]) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let file = repository().join("docker-compose.yml").display().to_string();
        let before = ["compose", "--project-name", PROJECT, "--progress", "quiet", "--file", &file];
        let (more, env) = (path("override.yml"), path("env"));
        let before = before.iter().copied().chain(["--file", &more, "--env-file", &env]);
        before.chain(args.iter().copied()).map(str::to_owned).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.engine.docker(&[]);
        command.args(self.arguments(args)).envs(self.ports.iter().map(|(k, v)| (k, v)));
        command
    }

    /// One field of a service's container, by docker's template.
    pub(super) async fn inspect(&self, service: &str, template: &str) -> Result<String> {
        let id = self.compose(&["ps", "--all", "--quiet", service]).await?;
        let mut command = self.engine.docker(&["inspect", "--format", template, id.trim()]);
        let printed = tools::output(&mut command).await?;
        Ok(printed.trim().to_owned())
    }

    /// The size of a service's image.
    pub(super) async fn image_size(&self, service: &str) -> Result<u64> {
        let image = format!("{PROJECT}-{service}");
        let mut command =
            self.engine.docker(&["image", "inspect", "--format", "{{.Size}}", &image]);
        Ok(tools::output(&mut command).await?.trim().parse()?)
    }

    /// What a query gives, in the database.
    pub(super) async fn sql(&self, query: &str) -> Result<String> {
        let psql =
            ["exec", "-T", "timescaledb", "psql", "-U", "postgres", "-d", "ticks", "-Atc", query];
        Ok(self.compose(&psql).await?.trim().to_owned())
    }

    /// Rows of ticks; none where there is no table yet, or no database.
    pub(super) async fn ticks(&self) -> Result<u64> {
        Ok(self.sql("SELECT count(*) FROM ticks").await?.parse()?)
    }

    /// Waits until there are more ticks than this.
    pub(super) async fn more_ticks_than(&self, count: u64) -> Result<u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.ticks().await;
            match now {
                Ok(now) if now > count => return Ok(now),
                _ if Instant::now() > deadline => {
                    let logs = self.compose(&["logs", "--no-color", "--tail", "15"]).await;
                    bail!("no more than {count} ticks, but {now:?}: {}", logs.unwrap_or_default());
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// `docker compose kill -s KILL`, `start`, and rows come again that were not there before.
    pub(super) async fn survives_a_kill(&self, service: &str) -> Result<()> {
        self.more_ticks_than(self.ticks().await?).await?;
        self.compose(&["kill", "--signal", "KILL", service]).await?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let ended = self.inspect(service, "{{.State.Running}} {{.State.ExitCode}}").await?;
            if ended == "false 137" {
                break;
            }
            ensure!(Instant::now() < deadline, "{service} was not killed: {ended}");
        }
        // The others go on, or wait, without it for a while.
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.compose(&["start", service]).await?;
        self.healthy(service).await?;
        let then = self.ticks().await?;
        // More than one second of the exchange, so that it was not all on its way already.
        self.more_ticks_than(then + 1_000).await?;
        Ok(())
    }

    /// Waits until a service's health check passes.
    pub(super) async fn healthy(&self, service: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let health = self.inspect(service, "{{.State.Health.Status}}").await?;
            if health == "healthy" {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{service} is {health}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Stops what brings more, and lets `tickpanda audit` compare the database with the raw topic, in a
    /// container of the same network.
    pub(super) async fn audit(&self) -> Result<String> {
        self.compose(&["stop", "source"]).await?;
        let network = format!("{PROJECT}_default");
        let (state, image) =
            (format!("{PROJECT}_source:/source:ro"), format!("{PROJECT}-exchange"));
        let database = [
            "TIMESCALEDB_HOST=timescaledb",
            "TIMESCALEDB_PASSWORD=tickpanda",
            "TIMESCALEDB_DATABASE=ticks",
        ];
        let mut args = vec!["run", "--rm", "--network", &network, "--volume", &state];
        args.extend(database.iter().flat_map(|variable| ["--env", variable]));
        args.extend(["--entrypoint", "tickpanda", &image, "audit", "--brokers", "redpanda:9092"]);
        args.extend(["--source-state", "/source", "--settle", "30s"]);
        let mut command = self.engine.docker(&args);
        let told = tools::output(&mut command).await.context("tickpanda audit");
        // Also where the audit failed: the checks that follow need it.
        let started = self.compose(&["start", "source"]).await;
        let told = told?;
        started?;
        Ok(told)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.engine.compose_down(&self.arguments(&["down", "--volumes", "--remove-orphans"]));
    }
}
