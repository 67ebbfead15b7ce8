//! `tickpanda transform …`: tools for any Redpanda Wasm transform, of whatever language, not only ours.

mod check;
mod json;
mod package;
pub mod run;
mod samples;
mod text;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Tools for any Redpanda Wasm transform.
#[derive(Args)]
pub struct TransformSettings {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Check(check::CheckSettings),
    Run(Box<run::settings::RunSettings>),
}

/// Runs one of them. The exit code is that of a check, or 0.
pub(crate) async fn run(settings: TransformSettings) -> Result<ExitCode> {
    match settings.command {
        Command::Check(settings) => check::run(&settings),
        Command::Run(settings) => {
            tickpanda_program::log("info")?;
            run::run(*settings).await
        }
    }
}
