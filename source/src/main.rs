//! The program: settings from the outside, signals, exit code. Everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use tickpanda_source::cli::BackfillRun;
use tickpanda_source::ctl::{self, CtlArgs};
use tickpanda_source::{
    Args, Cli, Command, PastSettings, SourceError, run, run_backfill, settings,
};
use tokio_util::sync::CancellationToken;
use tracing::error;

fn main() -> ExitCode {
    // Before there is a second thread, and before anything reads the environment.
    let dotenv = tickpanda_program::dotenv();
    let result = tickpanda_program::log("info").and(dotenv);
    if let Err(error) = result.map_err(SourceError::from) {
        error!("{error}");
        return ExitCode::from(error.exit_code());
    }
    let cli = Cli::parse(); // exits with 2 and names the setting
    match cli.command {
        None => source(cli.run),
        Some(Command::Run(args)) => source(*args),
        Some(Command::Backfill(args)) => past(*args),
        Some(Command::Ctl(args)) => order(*args),
    }
}

fn key() -> Option<String> {
    std::env::var_os(settings::API_KEY).map(|key| key.to_string_lossy().into_owned())
}

fn source(args: Args) -> ExitCode {
    let on_stdin_close = args.stop_on_stdin_close;
    let settings = args.check(key().as_deref());
    ended(settings.and_then(|settings| until_stopped(on_stdin_close, |stop| run(settings, stop))))
}

fn past(args: BackfillRun) -> ExitCode {
    let on_stdin_close = args.stop_on_stdin_close;
    let settings = PastSettings::check(args, key().as_deref());
    ended(
        settings.and_then(|settings| {
            until_stopped(on_stdin_close, |stop| run_backfill(settings, stop))
        }),
    )
}

fn ended<T>(result: Result<T, SourceError>) -> ExitCode {
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn until_stopped<T, F: Future<Output = Result<T, SourceError>>>(
    on_stdin_close: bool,
    work: impl FnOnce(CancellationToken) -> F,
) -> Result<T, SourceError> {
    let internal = |error: std::io::Error| SourceError::Internal(error.to_string());
    // One thread reads the socket, the other talks to the broker.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(internal)?;
    let result = runtime.block_on(async {
        let stop = tickpanda_program::stop_token(on_stdin_close).map_err(internal)?;
        work(stop).await
    });
    // Not waiting for a name lookup, which can't be cancelled and may take half a minute.
    runtime.shutdown_background();
    result
}

fn order(args: CtlArgs) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!("internal: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(ctl::run(args, &mut std::io::stdout()));
    runtime.shutdown_background();
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            error!("{error}");
            ExitCode::from(error.exit_code())
        }
    }
}
