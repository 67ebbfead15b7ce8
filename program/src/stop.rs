//! What ends the program: SIGINT, SIGTERM, or a parent that went away.

use std::io::Read as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

/// A token that is cancelled on SIGINT and SIGTERM, and with `on_stdin_close` when standard input
/// ends. Must be called inside a tokio runtime.
///
/// # Errors
/// Where the operating system refuses a handler or a thread.
pub fn stop_token(on_stdin_close: bool) -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stop = token.clone();
    tokio::spawn(async move {
        let signal = tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        };
        stop.cancel();
        info!("stopping: {signal}");
    });
    if on_stdin_close {
        let stop = token.clone();
        // A thread of its own and not tokio's stdin: a read that never returns would keep the
        // runtime from ending.
        std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            let mut ignored = [0; 256];
            while std::io::stdin().read(&mut ignored).is_ok_and(|read| read > 0) {}
            // Before the log, whose reader may be the parent that has just gone.
            stop.cancel();
            info!("stopping: standard input ended");
        })?;
    }
    Ok(token)
}
