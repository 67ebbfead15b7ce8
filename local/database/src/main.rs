//! A database server for as long as this program runs: `tickpanda-database [DATA_DIR]`.
//!
//! Prints three lines, what it is, its URL and its URL over the socket, when it answers. Ends on Ctrl-C
//! or SIGTERM; without a folder, the data goes too. For trying things by hand, and for the test that
//! kills it.

use std::process::ExitCode;

use tickpanda_database::{DatabaseError, Server, ServerConfig, Source};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let level =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr).init();
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tickpanda-database: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), DatabaseError> {
    let listening = |source| DatabaseError::Io { doing: "listen for signals".into(), source };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(listening)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(listening)?;
    let data_dir = std::env::args_os().nth(1).map(Into::into);
    let server =
        Server::start(ServerConfig { source: Source::from_env()?, data_dir, durable: true })
            .await?;
    println!("{}\n{}\n{}", server.kind(), server.url(), server.socket_url());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    server.stop().await
}
