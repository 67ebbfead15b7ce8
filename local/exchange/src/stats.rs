//! What an exchange has done so far.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Data frames handed to a socket, snapshots included; control frames are not counted.
    pub frames: u64,
    /// Sockets that were welcomed.
    pub connections: u64,
    /// Sockets open now.
    pub open_sockets: usize,
    /// Sockets turned away (no key, too many, too often).
    pub refused_sockets: u64,
    /// REST calls, refused ones included.
    pub rest_calls: u64,
    /// Of a replay: every line has been handed to a socket and flushed.
    pub replay_finished: bool,
    /// Of a replay: the file could no longer be read; the reason is in the log.
    pub replay_failed: bool,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) refused_sockets: AtomicU64,
    pub(crate) rest_calls: AtomicU64,
    pub(crate) replay_finished: AtomicBool,
    pub(crate) replay_failed: AtomicBool,
}

impl Counters {
    pub(crate) fn read(&self, open_sockets: usize) -> Stats {
        Stats {
            frames: self.frames.load(Ordering::Relaxed),
            connections: self.connections.load(Ordering::Relaxed),
            open_sockets,
            refused_sockets: self.refused_sockets.load(Ordering::Relaxed),
            rest_calls: self.rest_calls.load(Ordering::Relaxed),
            // Acquire: who sees the end also sees the last frames counted.
            replay_finished: self.replay_finished.load(Ordering::Acquire),
            replay_failed: self.replay_failed.load(Ordering::Acquire),
        }
    }
}

/// Adds to a counter whose order with others does not matter.
pub(crate) fn add(counter: &AtomicU64, n: u64) -> u64 {
    counter.fetch_add(n, Ordering::Relaxed)
}
