//! `cargo xtask community`: the sink's migrations on TimescaleDB's community edition.
//!
//! Debian's packages have the Apache edition, where continuous aggregates and policies do not exist.
//! The other one can be had as an npm package that runs it in WebAssembly, so this needs Node.js 20
//! and npm, which is why it is a command of its own and no part of `cargo xtask test`.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build;

/// Fetches the package into the folder of builds (once), and runs the checks.
pub(crate) fn run() -> Result<()> {
    let (source, work) =
        (build::root()?.join("sink/community"), build::target_directory()?.join("community"));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    for name in ["package.json", "check.test.mjs"] {
        let (from, to) = (source.join(name), work.join(name));
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let npm = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--prefer-offline"];
    build::run(Command::new("npm").args(npm).current_dir(&work))
        .context("this needs Node.js 20 and npm (on Debian: apt install nodejs npm)")?;
    build::run(
        Command::new("node")
            .args(["--test", "check.test.mjs"])
            .env("TICKPANDA_MIGRATIONS", build::root()?.join("sink/migrations"))
            .current_dir(&work),
    )
}
