//! When to stop: Ctrl-C, SIGTERM, or the end of a parent that holds our standard input.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};

/// Completes on the first SIGINT or SIGTERM.
///
/// # Errors
/// Where the handlers can't be installed.
pub(crate) fn signals() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Completes when standard input ends, or never where `wanted` is false.
///
/// The read is a thread's and not tokio's: a runtime waits for its blocking reads before it ends,
/// and this one ends only with the parent.
pub(crate) async fn stdin_closed(wanted: bool) {
    if !wanted {
        return std::future::pending().await;
    }
    let (closed, wait) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        // Whatever ends the reading ends the parent's hold on us.
        let _end = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _gone = closed.send(());
    });
    let _end = wait.await;
}
