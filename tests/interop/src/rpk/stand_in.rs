//! The stand-in for rpk, which no package registry has: built from `peers/rpk` with the Go modules that rpk
//! itself is made with.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::tools;

/// The program.
pub(crate) async fn build() -> Result<PathBuf> {
    tools::go_program("rpk", "rpk").await.context("the stand-in for rpk can't be built")
}

/// Of Redpanda's Admin client, with which it is made.
pub(crate) fn version() -> String {
    format!("rpadmin {}", tools::go_version("rpk", "github.com/redpanda-data/common-go/rpadmin"))
}
