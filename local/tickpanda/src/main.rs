//! `tickpanda`: what stands in for the outside on one machine.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use tickpanda::cli::{self, Cli};

fn main() -> ExitCode {
    // Before there is a second thread, and before anything reads the environment.
    if let Err(error) = tickpanda_program::dotenv() {
        eprintln!("tickpanda: {error}");
        return ExitCode::from(2);
    }
    let cli = Cli::parse();
    let runtime = tokio::runtime::Runtime::new().context("cannot start");
    match runtime.and_then(|runtime| runtime.block_on(cli::run(cli))) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tickpanda: {error:#}");
            ExitCode::FAILURE
        }
    }
}
