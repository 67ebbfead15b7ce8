//! A throw-away Docker engine of our own: it does not start where the machine has one, because two would
//! share a bridge and forwarding rules, and nothing of it is left but its cache (images, and what was
//! fetched from Debian).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command as Plain;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::tools;

/// Sockets are in the folder, and their paths may have 107 bytes.
const LONGEST: usize = 80;

/// A running engine. At the end its containers and networks are removed, it is stopped, and its bridge and
/// its forwarding rules are taken away.
pub(super) struct Engine {
    folder: PathBuf,
}

impl Engine {
    /// Fetches it if need be, and starts it.
    pub(super) async fn start() -> Result<Self> {
        let folder = tools::cache("engine")?;
        ensure!(
            folder.as_os_str().len() <= LONGEST,
            "{} is too long for the engine's sockets: set TICKPANDA_CACHE to a shorter one",
            folder.display()
        );
        let engine = Engine { folder };
        engine.script(&["start"]).await?;
        Ok(engine)
    }

    /// Makes an image of a Debian suite with these packages, where it is not there yet.
    pub(super) async fn debian(&self, suite: &str, image: &str, packages: &[&str]) -> Result<()> {
        self.script(&[&["base", suite, image], packages].concat()).await
    }

    /// `docker …` on this engine.
    pub(super) fn docker(&self, args: &[&str]) -> Command {
        let mut command = self.client();
        command.args(args);
        command.into()
    }

    fn client(&self) -> Plain {
        let folder = self.folder.display();
        let mut command = alone("docker");
        command.env("DOCKER_HOST", format!("unix://{folder}/docker.sock"));
        command.env("DOCKER_CONFIG", format!("{folder}/config"));
        command
    }

    async fn script(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::from(script(&self.folder, args));
        tools::scripted(&mut command).await.context("the Docker engine")?;
        Ok(())
    }

    /// The version that it says it is.
    pub(super) async fn version(&self) -> Result<String> {
        let engine = self.docker(&["version", "--format", "{{.Server.Version}}"]);
        let compose = self.docker(&["compose", "version", "--short"]);
        let mut versions = Vec::new();
        for mut command in [engine, compose] {
            versions.push(tools::output(&mut command).await?.trim().to_owned());
        }
        Ok(versions.join(", compose "))
    }

    /// Without waiting for anything else: where the checks failed too.
    pub(super) fn compose_down(&self, args: &[String]) {
        // What it says is of no use here, and what is left over is removed with the engine.
        let _ = self.client().args(args).output();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let stopped = script(&self.folder, &["stop"]).output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!("the Docker engine in {} may still run", self.folder.display());
        }
    }
}

/// Fetches Compose, if need be, and says where it is. As a program it needs neither docker nor an engine.
pub(super) async fn compose() -> Result<PathBuf> {
    let mut command = Command::from(script(&tools::cache("engine")?, &["plugins"]));
    let printed = tools::scripted(&mut command).await.context("Docker Compose")?;
    Ok(PathBuf::from(printed.trim()))
}

/// A program with nothing of ours in its environment: a user's `TICKPANDA_PARTITIONS` or
/// `TIMESCALEDB_PASSWORD` would change what is started.
pub(super) fn alone(program: impl AsRef<OsStr>) -> Plain {
    let mut command = Plain::new(program);
    command.env_clear();
    for kept in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command
}

/// `docker.sh …`, with all that it keeps in a folder.
fn script(engine: &Path, args: &[&str]) -> Plain {
    let mut command = Plain::new(folder().join("docker.sh"));
    command.args(args).env("ENGINE", engine);
    command
}

/// What images are made from.
pub(super) fn folder() -> PathBuf {
    tools::peers().join("compose")
}

/// The top of the repository.
pub(super) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
