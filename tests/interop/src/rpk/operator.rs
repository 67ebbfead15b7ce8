//! Somebody with rpk on the path, who runs `rpk/deploy.sh`, and looks with rpk what came of it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use tickpanda_tests::demo::program;
use tokio::process::Command;

use super::broker::Cluster;
use crate::tools;

/// Seconds that the script waits for a transform that never runs.
const WAIT: &str = "15";

/// Where the operator is, and the environment there. Clones share a home.
#[derive(Clone)]
pub(super) struct Operator {
    home: Arc<TempDir>,
    variables: BTreeMap<&'static str, OsString>,
    tickpanda: bool,
}

impl Operator {
    /// With rpk and tickpanda on the path, and rpk's variables for this cluster.
    pub(super) fn new(rpk: &Path, cluster: &Cluster) -> Result<Self> {
        let home = Arc::new(tempfile::tempdir().context("a home")?);
        for (folder, name, program) in
            [("rpk-bin", "rpk", rpk.to_owned()), ("bin", "tickpanda", program("tickpanda"))]
        {
            std::fs::create_dir(home.path().join(folder))?;
            std::os::unix::fs::symlink(program, home.path().join(folder).join(name))?;
        }
        let variables = BTreeMap::from([
            ("RPK_BROKERS", cluster.kafka().into()),
            ("RPK_ADMIN_HOSTS", cluster.admin().into()),
            ("TICKPANDA_DEPLOY_WAIT", WAIT.into()),
        ]);
        Ok(Self { home, variables, tickpanda: true })
    }

    pub(super) fn home(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    pub(super) fn with(&self, variable: &'static str, value: &str) -> Self {
        let mut other = self.clone();
        other.variables.insert(variable, value.into());
        other
    }

    /// On a machine that has rpk only.
    pub(super) fn without_tickpanda(&self) -> Self {
        Self { tickpanda: false, ..self.clone() }
    }

    /// Without rpk's variables.
    pub(super) fn without_variables(&self) -> Result<Self> {
        let mut other = self.clone();
        other.variables.retain(|name, _| !name.starts_with("RPK_"));
        Ok(other)
    }

    /// What rpk prints; a failure is an error.
    pub(super) async fn rpk(&self, args: &[&str]) -> Result<String> {
        tools::output(self.command(OsStr::new("rpk"))?.args(args)).await
    }

    /// Runs the script to its end.
    pub(super) async fn script(&self, args: &[&str]) -> Result<Ran> {
        self.script_in(args, &[]).await
    }

    /// The same with more of an environment.
    pub(super) async fn script_in(&self, args: &[&str], more: &[(&str, &Path)]) -> Result<Ran> {
        let mut command = self.command(repository().join("rpk/deploy.sh").as_os_str())?;
        command.args(args).envs(more.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.context("cannot run rpk/deploy.sh")?;
        let said =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        let ran =
            Ran { what: args.join(" "), succeeded: output.status.success(), said: said.concat() };
        Ok(ran)
    }

    fn command(&self, program: &OsStr) -> Result<Command> {
        let mut path = vec![self.home.path().join("rpk-bin")];
        if self.tickpanda {
            path.push(self.home.path().join("bin"));
        }
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let mut command = Command::new(program);
        for name in
            ["RPK_BROKERS", "RPK_ADMIN_HOSTS", "RPK_PROFILE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"]
        {
            command.env_remove(name);
        }
        // Cargo and rustup keep what they have: only rpk and the script have their homes here.
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        for (name, folder) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
            if std::env::var_os(name).is_none() && home.join(folder).is_dir() {
                command.env(name, home.join(folder));
            }
        }
        command.env("PATH", std::env::join_paths(path)?).env("HOME", self.home.path());
        command.envs(&self.variables).current_dir(self.home.path());
        Ok(command)
    }
}

/// How the script ended, and all that it said.
pub(super) struct Ran {
    what: String,
    succeeded: bool,
    said: String,
}

impl Ran {
    pub(super) fn succeeds(self) -> Result<Self> {
        ensure!(self.succeeded, "deploy.sh {} failed: {}", self.what, self.said);
        Ok(self)
    }

    pub(super) fn fails(self) -> Result<Self> {
        ensure!(!self.succeeded, "deploy.sh {} succeeded: {}", self.what, self.said);
        Ok(self)
    }

    pub(super) fn says(&self, part: &str) -> Result<()> {
        ensure!(
            self.said.contains(part),
            "deploy.sh {} does not say `{part}`: {}",
            self.what,
            self.said
        );
        Ok(())
    }
}

/// The top of the repository.
pub(super) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
