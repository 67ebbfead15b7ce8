//! What an exchange has done so far: counters ([`Stats`]), and in detail ([`Report`]) who opened which socket, sent
//! which message and made which call, so that a test can tell whether a client keeps the vendor's rules.

mod ledger;
mod report;
mod tally;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

pub(crate) use ledger::{Ledger, public_path};
pub use report::{Call, ClientMessage, KeyShown, Opening, Report};
pub(crate) use tally::Tally;

/// A reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Data frames handed to a socket, snapshots included; control frames are not counted.
    pub frames: u64,
    /// Frames handed to a socket that no subscription brings: garbage, `{}` and what else was ordered.
    pub extra_frames: u64,
    /// Data frames that a fault left out (missing trades, hushed subscriptions, held back when the socket ended).
    pub withheld_frames: u64,
    /// Sockets that were welcomed.
    pub connections: u64,
    /// Sockets open now.
    pub open_sockets: usize,
    /// Sockets turned away (no key, too many, too often, or by a fault).
    pub refused_sockets: u64,
    /// Text messages that clients sent.
    pub client_messages: u64,
    /// REST calls, refused ones included.
    pub rest_calls: u64,
    /// Of a replay: every line has been handed to a socket and flushed.
    pub replay_finished: bool,
    /// Of a replay: the file could no longer be read; the reason is in the log.
    pub replay_failed: bool,
    /// The journal could no longer be written; the reason is in the log.
    pub journal_failed: bool,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) extra_frames: AtomicU64,
    pub(crate) withheld_frames: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) refused_sockets: AtomicU64,
    pub(crate) client_messages: AtomicU64,
    pub(crate) rest_calls: AtomicU64,
    pub(crate) replay_finished: AtomicBool,
    pub(crate) replay_failed: AtomicBool,
}

impl Counters {
    pub(crate) fn read(&self, open_sockets: usize, journal_failed: bool) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            frames: read(&self.frames),
            extra_frames: read(&self.extra_frames),
            withheld_frames: read(&self.withheld_frames),
            connections: read(&self.connections),
            open_sockets,
            refused_sockets: read(&self.refused_sockets),
            client_messages: read(&self.client_messages),
            rest_calls: read(&self.rest_calls),
            // Acquire: who sees the end also sees the last frames counted.
            replay_finished: self.replay_finished.load(Ordering::Acquire),
            replay_failed: self.replay_failed.load(Ordering::Acquire),
            journal_failed,
        }
    }
}

/// Adds to a counter whose order with others does not matter.
pub(crate) fn add(counter: &AtomicU64, n: u64) -> u64 {
    counter.fetch_add(n, Ordering::Relaxed)
}
