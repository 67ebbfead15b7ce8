//! The program: settings from the outside, signals, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use tickpanda_source::{Args, Settings, SourceError, run, settings};
use tracing::error;

fn main() -> ExitCode {
    // Before there is a second thread, and before anything reads the environment.
    let dotenv = tickpanda_program::dotenv();
    let result = tickpanda_program::log("info").and(dotenv);
    let result = result.map_err(SourceError::from).and_then(|()| {
        let args = Args::parse();
        let stop_on_stdin_close = args.stop_on_stdin_close;
        let key = std::env::var_os(settings::API_KEY).map(|key| key.to_string_lossy().into_owned());
        source(args.check(key.as_deref())?, stop_on_stdin_close)
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn source(settings: Settings, stop_on_stdin_close: bool) -> Result<(), SourceError> {
    let internal = |error: std::io::Error| SourceError::Internal(error.to_string());
    // One thread reads the socket, the other talks to the broker.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    let result = runtime.block_on(async {
        let stop = tickpanda_program::stop_token(stop_on_stdin_close).map_err(internal)?;
        run(settings, stop).await.map(drop)
    });
    // Not waiting for a name lookup, which can't be cancelled and may take half a minute.
    runtime.shutdown_background();
    result
}
