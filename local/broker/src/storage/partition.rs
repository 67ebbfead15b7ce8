//! A log shared by connections and the transform engine: one lock around it, and a wake-up for
//! whoever waits for more.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::log::{AppendError, Appended, Log};
use super::segment::Slice;
use crate::batch::Header;

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// Before the log's start or after its end.
    #[error("offset {offset} is not within {start}..={end}")]
    OutOfRange { offset: i64, start: i64, end: i64 },
    /// The topic has been deleted.
    #[error("the topic has been deleted")]
    Deleted,
    /// The disk refused.
    #[error("cannot read the log: {0}")]
    Io(#[from] io::Error),
}

/// What a reader finds: where the log begins and ends, and the bytes from its offset on.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// `None` at the end of the log.
    pub(crate) slice: Option<Slice>,
    /// Whether more follows in further segments: the slice is all of its own that will ever be.
    pub(crate) continues: bool,
}

/// One partition of a topic.
#[derive(Debug)]
pub(crate) struct Partition {
    log: Mutex<Log>,
    /// The log's end, for those who wait for it to move; sent after every append.
    end: watch::Sender<i64>,
    /// Threads that wait for any of several partitions.
    signals: RwLock<Vec<Weak<Signal>>>,
}

impl Partition {
    pub(crate) fn new(log: Log) -> Self {
        let (end, _) = watch::channel(log.end());
        Self { log: Mutex::new(log), end, signals: RwLock::new(Vec::new()) }
    }

    #[expect(clippy::expect_used, reason = "see the message")]
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect(
            "a panic while the log was being changed: its state is not known, so nobody may use it",
        )
    }

    /// Appends one checked batch and wakes who waits.
    pub(crate) fn append(&self, header: &Header, batch: &[u8]) -> Result<Appended, AppendError> {
        let appended = self.log().append(header, batch, SystemTime::now())?;
        self.wake(appended.end);
        Ok(appended)
    }

    fn wake(&self, end: i64) {
        self.end.send_if_modified(|current| {
            // Two appends may get here in either order.
            *current = end.max(*current);
            true
        });
        for signal in self.signals.read().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(signal) = signal.upgrade() {
                signal.wake();
            }
        }
    }

    /// What there is from `offset` on.
    pub(crate) fn find(&self, offset: i64) -> Result<Found, ReadError> {
        let log = self.log();
        if log.is_deleted() {
            return Err(ReadError::Deleted);
        }
        let (start, end) = (log.start(), log.end());
        if offset < start || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        let slice = if offset == end { None } else { log.slice_at(offset)? };
        Ok(Found { start, end, slice, continues: offset < log.active_base() })
    }

    /// What there is from the first batch with a record at or after the time `at` (ms).
    pub(crate) fn find_time(&self, at: i64) -> Result<Option<Slice>, ReadError> {
        let log = self.log();
        if log.is_deleted() {
            return Err(ReadError::Deleted);
        }
        Ok(log.slice_at_time(at)?)
    }

    /// The newest timestamp of its records, ms; −1 where there is none.
    pub(crate) fn max_timestamp(&self) -> i64 {
        self.log().max_timestamp()
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> u64 {
        self.log().size()
    }

    /// First readable offset, and the offset that the next record will have.
    pub(crate) fn watermarks(&self) -> (i64, i64) {
        let log = self.log();
        (log.start(), log.end())
    }

    /// Deletes the records before `offset` (−1: all of them); returns the new start.
    pub(crate) fn delete_before(&self, offset: i64) -> Result<i64, ReadError> {
        let mut log = self.log();
        if log.is_deleted() {
            // By now the folder may be that of a new topic of the same name.
            return Err(ReadError::Deleted);
        }
        let (start, end) = (log.start(), log.end());
        let offset = if offset == -1 { end } else { offset };
        if offset < 0 || offset > end {
            return Err(ReadError::OutOfRange { offset, start, end });
        }
        Ok(log.delete_before(offset)?)
    }

    pub(crate) fn retain(&self, now: SystemTime) -> io::Result<()> {
        self.log().retain(now)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.log().sync()
    }

    /// Ends all reading and writing, also what waits.
    pub(crate) fn set_deleted(&self) {
        let end = {
            let mut log = self.log();
            log.set_deleted();
            log.end()
        };
        self.wake(end);
    }

    /// To wait for the next append from async code.
    pub(crate) fn subscribe(&self) -> watch::Receiver<i64> {
        self.end.subscribe()
    }

    /// Has `signal` woken by every append, for as long as it lives.
    pub(crate) fn signal(&self, signal: &Arc<Signal>) {
        let mut signals = self.signals.write().unwrap_or_else(PoisonError::into_inner);
        signals.retain(|old| old.strong_count() > 0);
        signals.push(Arc::downgrade(signal));
    }
}

/// What a thread sleeps on until something happens to any of the things it serves.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    woken: Mutex<bool>,
    condition: Condvar,
}

impl Signal {
    /// Ends the current [`Signal::wait`], or the next.
    pub(crate) fn wake(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if !*woken {
            *woken = true;
            self.condition.notify_one();
        }
    }

    /// Sleeps until woken, for `at_most` if given.
    pub(crate) fn wait(&self, at_most: Option<Duration>) {
        let woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut woken = match at_most {
            Some(time) => {
                let slept = self.condition.wait_timeout_while(woken, time, |woken| !*woken);
                slept.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self
                .condition
                .wait_while(woken, |woken| !*woken)
                .unwrap_or_else(PoisonError::into_inner),
        };
        *woken = false;
    }
}
