//! Takes connections, so many at once, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Shared, connection};

/// Serves connections until `stop`, and keeps the time for groups; both end with it. At most `most` at once: the next one
/// waits in the system's queue.
pub(crate) async fn listen(
    listener: TcpListener,
    shared: Arc<Shared>,
    most: usize,
    stop: CancellationToken,
    connections: TaskTracker,
) {
    {
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        connections.spawn(async move { shared.groups.keep_time(&stop).await });
    }
    let room = Arc::new(Semaphore::new(most));
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => return,
            permit = Arc::clone(&room).acquire_owned() => permit,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: the system keeps the connection queued.
                tracing::warn!(%error, "cannot accept a connection, trying again");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let shared = Arc::clone(&shared);
        let stop = stop.clone();
        connections.spawn(async move {
            let _room = permit;
            tokio::select! {
                () = stop.cancelled() => {}
                ended = connection::serve(stream, &shared) => match ended {
                    Ok(()) => tracing::debug!(%peer, "connection closed"),
                    Err(error) => tracing::warn!(%peer, %error, "connection closed by the broker"),
                },
            }
        });
    }
}
