//! `tickpanda`: what stands in for the outside on one machine.

use std::process::ExitCode;

use clap::Parser;
use tickpanda::cli::Cli;

#[tokio::main]
async fn main() -> ExitCode {
    // A missing .env is normal; a broken one must not be silently ignored.
    if let Err(error) = dotenvy::dotenv()
        && !error.not_found()
    {
        eprintln!("tickpanda: cannot read .env: {error}");
        return ExitCode::from(2);
    }
    match tickpanda::cli::run(Cli::parse()).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tickpanda: {error:#}");
            ExitCode::FAILURE
        }
    }
}
