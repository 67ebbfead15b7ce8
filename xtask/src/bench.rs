//! `cargo xtask bench …`: what things cost, each measured beside what it is to be compared with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::build;

/// Names the file for the numbers, for the benchmark's program.
const JSON_VARIABLE: &str = "TICKPANDA_BENCH_JSON";

#[derive(Args)]
pub(crate) struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The transform: a trade frame, an index delta and a body of 2,001 rows, natively and as the
    /// real module in the host with the broker's settings. Times are of CPU, so that a busy machine
    /// matters less.
    Transform {
        /// Write the numbers to this file, as one flat object.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Passed on to criterion: a filter, `--sample-size 20`, …
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The sink: a full topic into `ticks`, beside bare COPY of the same rows and single-row inserts.
    /// `--latency SECONDS` measures instead how long a frame takes through the whole local pipeline.
    #[command(disable_help_flag = true)]
    Sink {
        /// Write the numbers to this file, as one flat object.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Passed on: `--rows N`, `--rounds N`, `--test`, `--latency SECONDS`; `--help` tells of them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// The source: frames from a WebSocket to acknowledged on the local broker, beside a bare loop that
    /// only reads them; then how long a frame takes at 10,000 a second.
    #[command(disable_help_flag = true)]
    Source {
        /// Write the numbers to this file, as one flat object.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Passed on: `--frames N`, `--rounds N`, `--seconds N`, `--test`; `--help` tells of them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

pub(crate) fn run(bench: Bench) -> Result<()> {
    let wasm = build::wasm()?;
    let mut cargo = build::cargo()?;
    // The whole workspace, so that its crates are built as the tests have them.
    cargo.args(["bench", "--workspace"]).env(build::WASM_VARIABLE, wasm);
    match bench.what {
        What::Transform { json, args } => {
            cargo.args(["--bench", "transform", "--"]).args(args);
            if let Some(json) = json {
                cargo.env(JSON_VARIABLE, absolute(&json)?);
            }
        }
        What::Sink { json, args } => with_programs(&mut cargo, "sink", json, args)?,
        What::Source { json, args } => with_programs(&mut cargo, "source", json, args)?,
    }
    let status = cargo.status().context("cannot run cargo bench")?;
    if !status.success() {
        bail!("the benchmark failed ({status})");
    }
    Ok(())
}

/// A benchmark that runs our programs, and has flags of its own.
fn with_programs(
    cargo: &mut Command,
    name: &str,
    mut json: Option<PathBuf>,
    mut args: Vec<OsString>,
) -> Result<()> {
    build::tests()?;
    // Behind a flag that is passed on, this one is too.
    if let Some(at) = args.iter().position(|arg| arg == "--json")
        && at + 1 < args.len()
    {
        json = args.drain(at..at + 2).nth(1).map(PathBuf::from);
    }
    cargo.args(["--bench", name, "--"]).args(args);
    if let Some(json) = json {
        cargo.arg("--json").arg(absolute(&json)?);
    }
    Ok(())
}

/// The benchmark's program runs in a folder of its own.
fn absolute(json: &std::path::Path) -> Result<PathBuf> {
    std::path::absolute(json).with_context(|| format!("--json {} is no path", json.display()))
}
