//! Our programs as a user starts them, let in by the settings of one [`Way`].

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tickpanda_tests::demo::program;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, PASSWORD, USER, WRONG};

/// Longest wait for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// A listener, and the settings with which a program goes there.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) brokers: String,
    pub(super) env: Vec<(&'static str, String)>,
}

impl Way {
    /// In plain text, as nobody.
    pub(super) fn to(cluster: &Cluster, listener: &str) -> Self {
        Way { brokers: cluster.at(listener), env: vec![] }
    }

    pub(super) fn with(mut self, variable: &'static str, value: impl Into<String>) -> Self {
        self.env.push((variable, value.into()));
        self
    }

    /// With TLS that trusts an authority.
    pub(super) fn tls(self, cluster: &Cluster, ca: &str) -> Self {
        let ca = cluster.file(ca).display().to_string();
        self.with("KAFKA_TLS", "true").with("KAFKA_CA_FILE", ca)
    }

    /// With a certificate of our own.
    pub(super) fn certificate(self, cluster: &Cluster, name: &str) -> Self {
        let file = |ending| cluster.file(&format!("{name}.{ending}")).display().to_string();
        let (cert, key) = (file("pem"), file("key"));
        self.with("KAFKA_CERT_FILE", cert).with("KAFKA_KEY_FILE", key)
    }

    /// With name and password.
    pub(super) fn sasl(self, mechanism: &str, password: &str) -> Self {
        let way = self.with("KAFKA_SASL_MECHANISM", mechanism).with("KAFKA_SASL_USERNAME", USER);
        way.with("KAFKA_SASL_PASSWORD", password)
    }
}

/// A program with its arguments, in a folder without a `.env`, with nothing of ours in its environment.
pub(super) fn command(name: &str, args: &[&str], work: &Path, way: &Way) -> Command {
    let mut command = Command::new(program(name));
    command.args(args).current_dir(work).env_clear().env("NO_COLOR", "1");
    for kept in ["PATH", "HOME", "TMPDIR"] {
        command.envs(std::env::var_os(kept).map(|value| (kept, value)));
    }
    command.env("KAFKA_BROKERS", &way.brokers).envs(way.env.iter().cloned());
    command
}

/// A program that runs until it is stopped; killed at the end. What it says is in a file.
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(super) fn start(name: &str, mut command: Command, folder: &Path) -> Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = std::fs::File::create(&log)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Running { name: name.to_owned(), child, log })
    }

    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its lines that tell of trouble.
    pub(super) fn troubles(&self) -> Vec<String> {
        troubles(&self.log())
    }

    /// Waits until it has said this.
    pub(super) async fn says(&mut self, part: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.log().contains(part) {
            let ended = self.child.try_wait()?;
            ensure!(ended.is_none(), "{} ended ({ended:?}): {}", self.name, self.log());
            ensure!(
                Instant::now() < deadline,
                "{} does not say `{part}`: {}",
                self.name,
                self.log()
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// SIGTERM, and a good end.
    pub(super) async fn stop(mut self) -> Result<()> {
        let id = self.child.id().context("it runs")?;
        Command::new("kill").arg(id.to_string()).status().await?;
        let status = timeout(PATIENCE, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end", self.name))??;
        ensure!(status.success(), "{} ended with {status}: {}", self.name, self.log());
        no_secret(&self.log())
    }

    pub(super) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }
}

/// Lines that tell of trouble: of the log, and what is said outside of it.
pub(super) fn troubles(said: &str) -> Vec<String> {
    let of_trouble = |line: &&str| {
        line.contains(" WARN ") || line.contains(" ERROR ") || line.starts_with("tickpanda")
    };
    said.lines().filter(of_trouble).map(str::to_owned).collect()
}

/// No password may be in what a program says.
pub(super) fn no_secret(said: &str) -> Result<()> {
    ensure!(![PASSWORD, WRONG].iter().any(|secret| said.contains(secret)), "a password: {said}");
    Ok(())
}

/// Runs a program to its end; its exit code and all that it said.
pub(super) async fn output(mut command: Command) -> Result<(i32, String)> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await.context("it does not end")??;
    let (out, err) = (output.stdout, output.stderr);
    let said = format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err));
    no_secret(&said)?;
    Ok((output.status.code().unwrap_or(-1), said))
}
