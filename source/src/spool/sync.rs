//! Having the disk keep what waits. Appending writes into the page cache, which outlives the process but
//! not the machine; so about once a second what has waited for longer is synced, if anything has. What
//! the broker takes at once is never synced: it is on the broker.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Spool;
use super::lane::Lane;
use crate::clock::now_ms;

/// How often.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// What the disk does not have for certain.
struct Unsynced {
    file: Arc<File>,
    first: u64,
    end: u64,
}

impl Spool {
    /// Syncs until told to stop.
    pub(crate) async fn keep_synced(self: Arc<Self>, stop: CancellationToken) {
        let mut failing = false;
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let spool = Arc::clone(&self);
            let before = now_ms().saturating_sub(1_000);
            let synced = tokio::task::spawn_blocking(move || spool.sync(before)).await;
            match synced.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok(()) if failing => {
                    info!("the spool can be synced again");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) => {
                    self.meter().disk_errors.add(1);
                    if !failing {
                        warn!(%error, "the spool can't be synced: a crash of the machine would lose what waits");
                    }
                    failing = true;
                }
            }
        }
    }

    /// Syncs the lanes in which something waits that was received before `before` (ms since the epoch).
    ///
    /// # Errors
    /// The disk's, after all lanes have been tried.
    pub(crate) fn sync(&self, before: i64) -> io::Result<()> {
        let lanes = self.lanes();
        let waiting = lanes.iter().filter(|lane| lane.oldest_ms().is_some_and(|ms| ms < before));
        waiting.map(|lane| lane.sync()).fold(Ok(()), io::Result::and)
    }
}

impl Lane {
    fn sync(&self) -> io::Result<()> {
        let mut unsynced = Vec::new();
        let unnamed = {
            let mut state = self.state();
            for segment in &mut state.segments {
                match &segment.file {
                    Some(file) if segment.synced < segment.end => {
                        let (file, first, end) = (Arc::clone(file), segment.first, segment.end);
                        unsynced.push(Unsynced { file, first, end });
                    }
                    _ => {}
                }
            }
            !std::mem::replace(&mut state.named, true)
        };
        let named = if unnamed { self.sync_names() } else { Ok(()) };
        if named.is_err() {
            self.state().named = false;
        }
        for Unsynced { file, first, end } in unsynced {
            file.sync_data()?;
            let mut state = self.state();
            let newest = state.segments.len().saturating_sub(1);
            let open = !state.sealed;
            let mut segments = state.segments.iter_mut().enumerate();
            if let Some((place, segment)) = segments.find(|(_, segment)| segment.first == first) {
                segment.synced = end;
                if segment.synced == segment.end && !(open && place == newest) {
                    // It is opened again when it is read.
                    segment.file = None;
                }
            }
        }
        named
    }

    /// The names of segments are the folder's, the name of the folder is that of the one above.
    fn sync_names(&self) -> io::Result<()> {
        for folder in self.folder.ancestors().take(5) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}
