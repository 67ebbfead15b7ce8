//! The program: settings from the outside, signals, logging, exit code. Everything else is in the
//! library.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use clap::Parser as _;
use tickpanda_source::{Args, Settings, SourceError, run, settings};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;

/// rskafka logs each failure at several levels; ours is the one line.
const DEFAULT_LOG: &str = "info,rskafka=off";

fn main() -> ExitCode {
    // Before anything reads the environment, and before there is a second thread.
    let dotenv = dotenvy::dotenv();
    let result = init_logging().and_then(|()| {
        check_dotenv(dotenv)?;
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
        let shutdown = CancellationToken::new();
        for kind in [SignalKind::interrupt(), SignalKind::terminate()] {
            let mut signal = signal(kind).map_err(internal)?;
            let shutdown = shutdown.clone();
            tokio::spawn(async move {
                signal.recv().await;
                info!("asked to stop");
                shutdown.cancel();
            });
        }
        if stop_on_stdin_close {
            stop_with_stdin(shutdown.clone());
        }
        run(settings, shutdown).await.map(drop)
    });
    // Not waiting for a name lookup, which can't be cancelled and may take half a minute.
    runtime.shutdown_background();
    result
}

/// A thread and not a task: reading stdin can't be cancelled, and must not hold up the end.
fn stop_with_stdin(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        let mut sink = [0; 256];
        while std::io::stdin().read(&mut sink).is_ok_and(|n| n > 0) {}
        info!("standard input closed: stopping");
        shutdown.cancel();
    });
}

/// Logs to stderr. Records of the crate `log` are left out on purpose: at trace level tungstenite
/// prints the whole upgrade request there, API key included.
fn init_logging() -> Result<(), SourceError> {
    let spec = std::env::var("RUST_LOG").unwrap_or_else(|_| DEFAULT_LOG.to_owned());
    let setting = |problem: String| SourceError::Setting { name: "RUST_LOG", problem };
    let filter = EnvFilter::try_new(spec);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter.as_ref().map_or_else(|_| EnvFilter::new(DEFAULT_LOG), Clone::clone))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .finish();
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| SourceError::Internal(error.to_string()))?;
    filter.map(drop).map_err(|error| setting(error.to_string()))
}

/// A missing file is fine, a wrong one is not. dotenvy's own message would print the line, and the
/// line may hold the key.
fn check_dotenv(read: dotenvy::Result<std::path::PathBuf>) -> Result<(), SourceError> {
    let problem = match read {
        Ok(_) => return Ok(()),
        Err(error) if error.not_found() => return Ok(()),
        Err(dotenvy::Error::LineParse(..)) => {
            "a line is not NAME=value (quote values with spaces)".to_owned()
        }
        Err(error) => error.to_string(),
    };
    Err(SourceError::Setting { name: ".env", problem })
}
