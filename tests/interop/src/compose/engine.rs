//! A throw-away Docker engine of our own: it touches no engine that the machine has, and nothing of it is
//! left but its cache (images, and what was fetched from Debian).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::tools;

/// Sockets are in the folder, and their paths may have 107 bytes.
const LONGEST: usize = 80;

/// A running engine. Its containers and networks are removed, it is stopped, and the forwarding rules are
/// put back, at the end.
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
        let mut command = Command::new("docker");
        command.args(args);
        for (name, value) in self.variables() {
            command.env(name, value);
        }
        command
    }

    fn variables(&self) -> [(&'static str, String); 2] {
        let folder = self.folder.display();
        [
            ("DOCKER_HOST", format!("unix://{folder}/docker.sock")),
            ("DOCKER_CONFIG", format!("{folder}/config")),
        ]
    }

    async fn script(&self, args: &[&str]) -> Result<()> {
        let mut command = Command::new(script());
        command.args(args).env("ENGINE", &self.folder);
        tools::output(&mut command).await.context("the Docker engine")?;
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
        let mut command = std::process::Command::new("docker");
        command.args(args).envs(self.variables());
        // What it says is of no use here, and what is left over is removed with the engine.
        let _ = command.output();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let stopped =
            std::process::Command::new(script()).arg("stop").env("ENGINE", &self.folder).output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            eprintln!("the Docker engine in {} may still run", self.folder.display());
        }
    }
}

fn script() -> PathBuf {
    folder().join("docker.sh")
}

/// What images are made from.
pub(super) fn folder() -> PathBuf {
    tools::peers().join("compose")
}

/// The top of the repository.
pub(super) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
