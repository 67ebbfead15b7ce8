//! The sink as a program: settings, log, signals, exit code (0 stopped, 1 failed, 2 wrong setting).

use std::process::ExitCode;

use clap::Parser as _;
use tickpanda_program::{dotenv, log, stop_token};
use tickpanda_sink::{Settings, SinkError, Summary, run};

fn main() -> ExitCode {
    // rskafka logs each retry, and sqlx each slow statement: here a failure is logged once, where it
    // is handled.
    if let Err(error) = dotenv().and_then(|()| log("info,rskafka=off,sqlx=off")) {
        eprintln!("tickpanda-sink: {error}");
        return ExitCode::from(2);
    }
    let settings = Settings::parse(); // exits with 2 and names the setting
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
        let stop = stop_token(settings.stop_on_stdin_close)?;
        run(settings, stop).await
    });
    // Not waiting for a name lookup, which can't be cancelled and may take half a minute.
    runtime.shutdown_background();
    result
}
