//! The command line.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::broker::BrokerSettings;
use crate::demo::settings::DemoSettings;
use crate::exchange::ExchangeSettings;
use crate::make_trades::MakeTradesSettings;

/// tickpanda on one machine.
#[derive(Parser, Debug)]
#[command(version, about)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Demo(DemoSettings),
    Broker(BrokerSettings),
    Exchange(ExchangeSettings),
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
            log_to_stderr("warn");
            let balanced = crate::demo::run(settings).await?;
            Ok(if balanced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Broker(settings) => {
            log_to_stderr("info");
            crate::broker::run(settings).await.map(|()| ExitCode::SUCCESS)
        }
        Command::Exchange(settings) => {
            log_to_stderr("info");
            crate::exchange::run(settings).await.map(|()| ExitCode::SUCCESS)
        }
        Command::MakeTrades(settings) => {
            crate::make_trades::run(&settings).map(|()| ExitCode::SUCCESS)
        }
    }
}

fn log_to_stderr(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}
