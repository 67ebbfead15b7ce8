//! The sink as a program: settings, log, signals, exit code (0 stopped, 1 failed, 2 wrong setting).

use std::io::{ErrorKind, IsTerminal as _};
use std::process::ExitCode;

use clap::Parser as _;
use tickpanda_sink::{Settings, SinkError, Summary, run, stop};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match dotenvy::dotenv() {
        Ok(_) => {}
        Err(dotenvy::Error::Io(error)) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            // Its Display quotes the offending line, which may hold a password.
            let problem = match error {
                dotenvy::Error::LineParse(_, at) => format!("a line does not parse (column {at})"),
                dotenvy::Error::Io(error) => error.to_string(),
                _ => "it can't be used".to_owned(),
            };
            eprintln!("tickpanda-sink: .env: {problem}");
            return ExitCode::from(2);
        }
    }
    let settings = Settings::parse(); // exits with 2 and names the setting
    // rskafka logs each retry, and sqlx each slow statement: here a failure is logged once, where it
    // is handled.
    let wanted = std::env::var("RUST_LOG").ok().filter(|wanted| !wanted.is_empty());
    let filter = match EnvFilter::try_new(wanted.as_deref().unwrap_or("info,rskafka=off,sqlx=off"))
    {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("tickpanda-sink: RUST_LOG: {error}");
            return ExitCode::from(2);
        }
    };
    let stderr = std::io::stderr;
    let colours = stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(stderr).init();
    match start(settings) {
        Ok(summary) => {
            tracing::info!(?summary, "stopped");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(settings: Settings) -> Result<Summary, SinkError> {
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let stop = stop::token(settings.stop_on_stdin_close)?;
        run(settings, stop).await
    });
    // Not waiting for a name lookup, which can't be cancelled and may take half a minute.
    runtime.shutdown_background();
    result
}
