//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::audit::settings::AuditSettings;
use crate::broker::BrokerSettings;
use crate::demo::settings::DemoSettings;
use crate::exchange::ExchangeSettings;
use crate::make_trades::MakeTradesSettings;
use crate::transform::TransformSettings;

/// tickpanda on one machine.
#[derive(Parser)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(DemoSettings),
    Audit(Box<AuditSettings>),
    Broker(BrokerSettings),
    Exchange(ExchangeSettings),
    Transform(TransformSettings),
    MakeTrades(MakeTradesSettings),
}

/// Runs one command. The exit code is 0 where it did what it should.
///
/// # Errors
/// What failed, on what, and what to do: for people, on one line.
pub async fn run(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Command::Demo(settings) => {
            // The demo has its own display; of the log only what is wrong belongs on the screen.
            tickpanda_program::log("warn")?;
            let balanced = crate::demo::run(settings).await?;
            Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Audit(settings) => {
            tickpanda_program::log("info,sqlx=off")?;
            crate::audit::run(*settings).await
        }
        Command::Broker(settings) => {
            tickpanda_program::log("info")?;
            crate::broker::run(settings).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Exchange(settings) => {
            tickpanda_program::log("info")?;
            crate::exchange::run(settings).await.map(|()| ExitCode::SUCCESS)
        }
        Command::MakeTrades(settings) => {
            crate::make_trades::run(&settings).map(|()| ExitCode::SUCCESS)
        }
        Command::Transform(settings) => crate::transform::run(settings).await,
    }
}
