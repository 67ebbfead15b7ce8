//! What a run has done so far. Written by the tasks, read by the summary line and by tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::spool::Meter;
use crate::tally::Tally;

/// Counts since the start of the run.
#[derive(Debug, Default)]
pub struct Counters {
    /// Data frames received by WebSocket.
    pub frames: Count,
    /// Bytes of these.
    pub bytes: Count,
    /// REST bodies handed on for publishing.
    pub bodies: Count,
    /// Frames and bodies that are not published, because the API key is in them.
    pub withheld: Count,
    /// Sockets, and attempts, that ended, by cause.
    pub ends: Tally<1>,
    /// Alarms of watchdogs: `socket` (no frame of any kind), `data` (a sub that fell silent), `from_start`
    /// (a sub that never gave anything).
    pub alarms: Tally<1>,
    /// Gaps told of, by kind and reason.
    pub gaps: Tally<2>,
    /// Replies to commands, by status.
    pub commands: Arc<Tally<1>>,
    /// REST requests, by outcome.
    pub requests: Tally<1>,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds `n`.
    pub fn add(&self, n: usize) {
        self.0.fetch_add(n as u64, Ordering::AcqRel);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// [`Counters`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The run's number, the first half of every `seq` header.
    pub run: u64,
    /// Data frames received by WebSocket.
    pub frames: u64,
    /// Bytes of these.
    pub bytes: u64,
    /// REST bodies handed on for publishing.
    pub bodies: u64,
    /// Records acknowledged by the broker.
    pub published: u64,
    /// Of these, those that say only size and hash of a frame larger than the topic takes.
    pub too_large: u64,
    /// Produce requests that failed and were tried again.
    pub publish_retries: u64,
    /// Sockets, and attempts, that ended while the source ran on.
    pub reconnects: u64,
}

impl Counters {
    /// The numbers now, for the run with this number, with what the publishers have counted.
    pub fn summary(&self, run: u64, meter: &Meter) -> Summary {
        Summary {
            run,
            frames: self.frames.get(),
            bytes: self.bytes.get(),
            bodies: self.bodies.get(),
            published: meter.published.get(),
            too_large: meter.too_large.get(),
            publish_retries: meter.retries.get(),
            reconnects: self.ends.get().values().sum(),
        }
    }
}
