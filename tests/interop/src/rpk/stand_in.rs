//! The stand-in for rpk, which no package registry has: built from `peers/rpk` with the Go modules that rpk
//! itself is made with.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tokio::process::Command;

use crate::tools;

/// Of Redpanda's Admin client in its `go.mod`.
pub(crate) const VERSION: &str = "rpadmin 0.1.9";

/// The program. It needs no C library, so it also runs in a container.
pub(crate) async fn build() -> Result<PathBuf> {
    let go = tools::go().await?;
    let program = tools::cache("rpk")?.join("rpk");
    let mut command = Command::new(go);
    command
        .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(tools::peers().join("rpk"))
        .env("CGO_ENABLED", "0");
    tools::output(&mut command).await.context("the stand-in for rpk can't be built")?;
    Ok(program)
}
