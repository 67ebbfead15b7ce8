//! A database server for as long as this program runs: `tickpanda-database [DATA_DIR]`.
//!
//! Prints three lines, what it is, its URL and its URL over the socket, when it answers. Ends on Ctrl-C
//! or SIGTERM; without a folder, the data goes too. For trying things by hand, and for the test that
//! kills it.

use std::process::ExitCode;

use tickpanda_database::{DatabaseError, Server, ServerConfig, Source};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    if let Err(error) = tickpanda_program::log("info") {
        eprintln!("tickpanda-database: {error}");
        return ExitCode::from(2);
    }
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
    let stop = tickpanda_program::stop_token(false).map_err(listening)?;
    let data_dir = std::env::args_os().nth(1).map(Into::into);
    let server =
        Server::start(ServerConfig { source: Source::from_env()?, data_dir, durable: true })
            .await?;
    println!("{}\n{}\n{}", server.kind(), server.url(), server.socket_url());
    stop.cancelled().await;
    server.stop().await
}
