//! `tickpanda transform …`: tools for any Redpanda Wasm transform, not only ours.

use anyhow::Result;
use clap::{Args, Subcommand};

pub mod run;

/// Tools for any Redpanda Wasm transform.
#[derive(Args)]
pub struct TransformSettings {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::settings::RunSettings),
}

pub(crate) async fn run(settings: TransformSettings) -> Result<()> {
    match settings.command {
        Command::Run(settings) => {
            tickpanda_program::log("info")?;
            run::run(settings).await
        }
    }
}
