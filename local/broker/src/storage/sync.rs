//! One thread for what may take long: syncing closed segments, and retention.
//!
//! Appends hand it files and never wait for the disk, unless it is far behind.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Closed segments that may wait for their sync; the next one is synced by whoever closed it.
const WAITING: usize = 64;

/// Hands files to the housekeeping thread.
#[derive(Debug, Clone)]
pub(crate) struct Syncer(SyncSender<Option<Arc<File>>>);

impl Syncer {
    /// The two ends: for the logs, and for [`run`].
    pub(crate) fn channel() -> (Self, Receiver<Option<Arc<File>>>) {
        let (sender, receiver) = sync_channel(WAITING);
        (Self(sender), receiver)
    }

    /// Has the file synced, soon.
    pub(crate) fn sync(&self, file: Arc<File>) {
        let handed = self.0.try_send(Some(file));
        if let Err(TrySendError::Full(Some(file)) | TrySendError::Disconnected(Some(file))) = handed
        {
            sync(&file);
        }
    }

    /// Ends the housekeeping thread, after the files that wait.
    pub(crate) fn stop(&self) {
        // It may have ended already.
        let _ = self.0.send(None);
    }
}

/// Starts the thread: syncs what comes and calls `tick` every `interval`, until
/// [`Syncer::stop`], or until every [`Syncer`] is gone.
pub(crate) fn run(
    files: Receiver<Option<Arc<File>>>,
    interval: Duration,
    mut tick: impl FnMut() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("broker-housekeeper".to_owned()).spawn(move || {
        let mut next = Instant::now() + interval;
        loop {
            match files.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Some(file)) => sync(&file),
                Err(RecvTimeoutError::Timeout) => {}
                Ok(None) | Err(RecvTimeoutError::Disconnected) => return,
            }
            if Instant::now() >= next {
                tick();
                next = Instant::now() + interval;
            }
        }
    })
}

fn sync(file: &File) {
    if let Err(error) = file.sync_data() {
        tracing::error!(%error, "a closed segment could not be synced: it may not survive loss of power");
    }
}
