//! The Go program in `peers/rpadmin`: one call of Redpanda's client a process.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::tools;

/// The built program, before it knows where to call.
#[derive(Debug, Clone)]
pub(super) struct Rpadmin(PathBuf);

/// The program with the addresses that it is given.
#[derive(Debug, Clone)]
pub(super) struct Client {
    program: PathBuf,
    addresses: String,
}

/// An answer that is not 200.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u64,
    pub(super) message: String,
}

impl Rpadmin {
    /// Builds it into the cache.
    pub(super) async fn build() -> Result<Self> {
        let built = tools::go_program("rpadmin", "rpadmin").await;
        Ok(Self(built.context("rpadmin's program can't be built")?))
    }

    /// For these addresses; of several it looks up the leader's.
    pub(super) fn at(&self, addresses: impl Into<String>) -> Client {
        Client { program: self.0.clone(), addresses: addresses.into() }
    }
}

impl Client {
    /// Makes a call; the outer error is one of the program, not the broker's.
    pub(super) async fn try_call(&self, args: &[&str]) -> Result<Result<Value, Refused>> {
        let mut command = Command::new(&self.program);
        command.arg(&self.addresses).args(args).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.with_context(|| format!("cannot run {command:?}"))?;
        let answer = || serde_json::from_slice::<Value>(&output.stdout).context("no JSON");
        match output.status.code() {
            Some(0) => Ok(Ok(answer()?)),
            Some(3) => {
                let answer = answer()?;
                let (Some(status), Some(message)) =
                    (answer["status"].as_u64(), answer["message"].as_str())
                else {
                    bail!("no error of Redpanda's form: {answer}");
                };
                if answer["code"] != status {
                    bail!("status and code differ: {answer}");
                }
                Ok(Err(Refused { status, message: message.to_owned() }))
            }
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                bail!("rpadmin {args:?} failed ({}): {}", output.status, said.trim())
            }
        }
    }

    /// Makes a call that has to succeed.
    pub(super) async fn call(&self, args: &[&str]) -> Result<Value> {
        match self.try_call(args).await? {
            Ok(answer) => Ok(answer),
            Err(Refused { status, message }) => bail!("rpadmin {args:?}: {status}: {message}"),
        }
    }

    /// Deploys, whatever comes of it.
    pub(super) async fn try_deploy(
        &self,
        it: &Value,
        module: &Path,
    ) -> Result<Result<Value, Refused>> {
        let module = module.to_str().context("a path in UTF-8")?;
        self.try_call(&["deploy", &it.to_string(), module]).await
    }

    /// Deploys.
    pub(super) async fn deploy(&self, it: &Value, module: &Path) -> Result<()> {
        match self.try_deploy(it, module).await? {
            Ok(_) => Ok(()),
            Err(refused) => bail!("{it} was not deployed: {refused:?}"),
        }
    }

    /// One transform of the list.
    pub(super) async fn listed(&self, name: &str) -> Result<Value> {
        let list = self.call(&["list"]).await?;
        let found = list.as_array().into_iter().flatten().find(|it| it["name"] == name);
        found.cloned().with_context(|| format!("{name} is not in {list}"))
    }
}

/// A description, from the first record on.
pub(super) fn description(name: &str, input: &str, outputs: &[&str]) -> Value {
    json!({
        "name": name, "input_topic": input, "output_topics": outputs,
        "offset": { "format": "from_start", "value": 0 },
    })
}

/// The same with more in it.
pub(super) fn with(mut description: Value, more: &Value) -> Value {
    if let (Some(all), Some(more)) = (description.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    description
}
