//! A client in another language: a program of `peers/clients/` that takes JSON commands, one a line, and
//! answers each with a line.
//!
//! A command is `{"do": WHAT, …}`, with `topic`, `partition`, `partitions`, `group`, `configs` (null deletes), `codec`,
//! `records`, `from` (an offset), `count` and `at` (ms) where they make sense. Bytes are hexadecimal, or null. An answer is an
//! object; with `error`, it failed. Of what must be refused, `refused` is how the client was told.
//!
//! Two take a while, in which the broker may be away: `follow` reads in a group until it has `count` different values, commits what
//! it has after each poll, and tells the `values` as text; `drip` sends the numbers below `count` to partition 0, one each 20 ms,
//! with one idempotent producer. One is Java's alone, and for another broker: `transact` sends `records` in a transaction that it
//! ends as `commit` says.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

/// Longer than anything here takes: the programs give up after 30 s of waiting, and to follow after 60 s.
const PATIENCE: Duration = Duration::from_secs(90);

/// A running client. It ends with this value.
pub(crate) struct Remote(Mutex<Pipes>);

struct Pipes {
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Remote {
    pub(super) fn start(mut command: Command) -> Result<Self> {
        let shown = format!("{:?}", command.as_std());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot run {shown}"))?;
        let input = child.stdin.take().context("its standard input")?;
        let output = child.stdout.take().context("its standard output")?;
        let output = BufReader::new(output).lines();
        Ok(Self(Mutex::new(Pipes { input, output, _child: child })))
    }

    /// Has a command done.
    pub(crate) async fn call(&self, command: Value) -> Result<Value> {
        let what = command["do"].clone();
        let answer = async {
            let mut pipes = self.0.lock().await;
            pipes.input.write_all(format!("{command}\n").as_bytes()).await?;
            pipes.output.next_line().await?.context("the client has ended")
        };
        let answer = tokio::time::timeout(PATIENCE, answer).await;
        let answer = answer.with_context(|| format!("{what} has no end"))??;
        let answer: Value = serde_json::from_str(&answer)
            .with_context(|| format!("{what} is answered by {answer:?}"))?;
        match &answer["error"] {
            Value::Null => Ok(answer),
            error => bail!("{what}: {error}"),
        }
    }

    pub(super) async fn version(&self) -> Result<String> {
        let answer = self.call(serde_json::json!({"do": "version"})).await?;
        Ok(answer["version"].as_str().unwrap_or("?").to_owned())
    }
}
