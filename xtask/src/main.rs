//! `cargo xtask …`: the commands of the README.
//!
//! This program only builds and starts others, so that it is there seconds after a clone: `demo`
//! and `make-trades` build the release binaries and then *become* `tickpanda` (exec), so a signal
//! to the command reaches the program itself.

mod bench;
mod build;
mod community;
mod fuzz;
mod interop;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "tickpanda's build commands", disable_help_subcommand = true)]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the whole pipeline on this machine and watch it: exchange, source, broker with the
    /// Wasm transform, sink, TimescaleDB. `cargo xtask demo --help` lists the options.
    #[command(disable_help_flag = true)]
    Demo {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run every test, including the end-to-end test against real TimescaleDB.
    #[command(disable_help_flag = true)]
    Test {
        /// Passed on to `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Run the sink's migrations on TimescaleDB's community edition (continuous aggregates,
    /// compression, policies), in WebAssembly: needs Node.js and npm.
    Community,
    /// Our parts against real peers, fetched from the package registries: Kafka clients, Redpanda's
    /// Admin client, Apache Kafka, secured servers. Prints a table.
    #[command(disable_help_flag = true)]
    Interop {
        /// `admin`, `clients`, `kafka`, `secured`, `rpk`; without any, all of them.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Bring docker-compose.yml up on a real Docker engine, kill its services in turn, count rows.
    /// Prints a table. Needs root.
    ComposeTest,
    /// Fuzz the transform, and assert its contract of every input; fetches cargo-fuzz if need be.
    Fuzz(fuzz::Fuzz),
    /// Measure: natively, and in Wasm as the broker runs it.
    Bench(bench::Bench),
    /// Print distinct seeded trade frames, one a line: `cargo xtask make-trades 1000000 > F`.
    #[command(disable_help_flag = true)]
    MakeTrades {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Build `tickpanda-transform.wasm` exactly as `rpk transform build` does; prints its path.
    Wasm,
}

fn main() -> Result<()> {
    match Xtask::parse().task {
        Task::Demo { args } => {
            let wasm = build::wasm()?;
            build::programs()?;
            let mut demo = Command::new(build::program("tickpanda")?);
            demo.arg("demo").env(build::WASM_VARIABLE, wasm).args(args);
            become_program(demo)
        }
        Task::Bench(bench) => bench::run(bench),
        Task::Interop { args } => interop::run(args),
        Task::ComposeTest => interop::run(vec!["compose".into()]),
        Task::Community => community::run(),
        Task::Fuzz(fuzz) => fuzz::run(fuzz),
        Task::MakeTrades { args } => {
            build::programs()?;
            let mut make = Command::new(build::program("tickpanda")?);
            make.arg("make-trades").args(args);
            become_program(make)
        }
        Task::Test { args } => {
            let (wasm, guests) = (build::wasm()?, build::guests()?);
            build::tests()?;
            let status = build::cargo()?
                .args(["test", "--release", "--workspace", "--no-fail-fast"])
                .args(args)
                .env(build::WASM_VARIABLE, wasm)
                .env(build::GUESTS_VARIABLE, guests)
                .status()
                .context("cannot run cargo test")?;
            if !status.success() {
                bail!("the tests failed ({status})");
            }
            Ok(())
        }
        Task::Wasm => {
            println!("{}", build::wasm()?.display());
            Ok(())
        }
    }
}

/// Replaces this process; returns only where that failed.
fn become_program(mut command: Command) -> Result<()> {
    Err(command.exec()).with_context(|| format!("cannot start {:?}", command.get_program()))
}
