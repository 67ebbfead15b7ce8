//! A real Apache Kafka broker of one node, on free ports, in a folder of its own.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::Command;

use crate::tools;

/// The version that `peers/kafka.sh` fetches.
pub(crate) const VERSION: &str = "4.3.1";

/// Longer than a killed process needs to be gone.
const GONE: Duration = Duration::from_secs(10);

/// A broker's data, whether it runs or not. Stopped, and its data deleted, at the end.
pub(crate) struct Apache {
    folder: TempDir,
    port: u16,
    controller: u16,
}

impl Apache {
    /// Fetches it if need be, and starts it. `extra` are lines of `server.properties`, which win.
    pub(crate) async fn start(extra: &str) -> Result<Self> {
        Self::start_with(|_, _| extra.to_owned()).await
    }

    /// The same, where the lines depend on the ports for plain text and for the controller.
    pub(crate) async fn start_with(extra: impl FnOnce(u16, u16) -> String) -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for Kafka")?;
        let [port, controller] = tools::free_ports()?;
        std::fs::write(folder.path().join("extra.properties"), extra(port, controller))?;
        let apache = Apache { folder, port, controller };
        apache.again().await?;
        Ok(apache)
    }

    /// Where it listens, in plain text.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `kill -9`.
    pub(crate) async fn kill(&self) -> Result<()> {
        self.script(&["kill"]).await.map(drop)
    }

    /// Starts it on its data, and waits until it serves.
    pub(crate) async fn again(&self) -> Result<()> {
        self.script(&["start"]).await.map(drop)
    }

    async fn script(&self, args: &[&str]) -> Result<String> {
        let mut command = script().await?;
        let data = self.folder.path().join("kafka");
        command
            .args(args)
            .env("KAFKA_DATA", data)
            .env("KAFKA_PORT", self.port.to_string())
            .env("KAFKA_CONTROLLER_PORT", self.controller.to_string())
            .env("KAFKA_EXTRA", self.folder.path().join("extra.properties"));
        tools::output(&mut command).await
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("kafka/pid"));
        if let Ok(pid) = pid {
            let kill = |signal| {
                let mut kill = std::process::Command::new("kill");
                kill.args([signal, pid.trim()]).stderr(Stdio::null()).status()
            };
            let deadline = Instant::now() + GONE;
            let mut there = kill("-9").is_ok_and(|status| status.success());
            // Its files are deleted next.
            while there && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(10));
                there = kill("-0").is_ok_and(|status| status.success());
            }
        }
    }
}

/// Runs a class of Kafka's own jars, e.g. `org.apache.kafka.tools.TopicCommand`; returns what it printed.
pub(crate) async fn tool(class: &str, args: &[&str]) -> Result<String> {
    let mut command = script().await?;
    tools::output(command.args(["tool", class]).args(args)).await
}

/// The jars' folder, for a program that is compiled against them.
pub(crate) async fn jars() -> Result<PathBuf> {
    tools::fetched(script().await?.arg("fetch")).await?;
    Ok(tools::cache("kafka")?.join(format!("libs-{VERSION}")))
}

async fn script() -> Result<Command> {
    tools::debian("java", "default-jdk-headless").await?;
    tools::debian("mvn", "maven").await?;
    let mut command = Command::new(tools::peers().join("kafka.sh"));
    command.env("KAFKA_CACHE", tools::cache("kafka")?);
    Ok(command)
}
