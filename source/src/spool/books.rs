//! What all lanes keep account of together.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::lost::{LostBook, Tally};
use super::meter::Meter;
use super::runs::Runs;

/// One for all lanes of a spool.
#[derive(Debug)]
pub(crate) struct Books {
    /// This run.
    pub(crate) run: u64,
    pub(crate) meter: Meter,
    /// Bytes of all segments.
    pub(crate) bytes: Gauge,
    /// Records that wait for being acknowledged.
    pub(crate) waiting: Gauge,
    runs: Mutex<Runs>,
    lost: Mutex<LostBook>,
    /// Something was lost, or a run has ended.
    pub(crate) news: Notify,
    /// At so many bytes the disk is full, in a test that has one so small.
    #[cfg(test)]
    pub(crate) disk: Gauge,
}

impl Books {
    pub(crate) fn open(dir: &Path, run: u64) -> Self {
        Books {
            run,
            meter: Meter::default(),
            bytes: Gauge::default(),
            waiting: Gauge::default(),
            runs: Mutex::new(Runs::open(dir, run)),
            lost: Mutex::new(LostBook::open(dir)),
            news: Notify::new(),
            #[cfg(test)]
            disk: Gauge::default(),
        }
    }

    pub(crate) fn runs(&self) -> MutexGuard<'_, Runs> {
        lock(&self.runs)
    }

    pub(crate) fn lost(&self) -> MutexGuard<'_, LostBook> {
        lock(&self.lost)
    }

    /// Fails as a write of so many bytes would, where a test has made the disk small.
    pub(crate) fn check_disk(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        if self.disk.get() > 0 && self.bytes.get() + bytes > self.disk.get() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let _ = bytes;
        Ok(())
    }

    /// So many records of a run wait no longer.
    pub(crate) fn settle(&self, run: u64, records: u64) {
        if records > 0 && self.runs().settle(run, records) {
            self.news.notify_one();
        }
    }

    /// These are going to be lost.
    pub(crate) fn lose(&self, tally: &Tally) {
        let count = usize::try_from(tally.count()).unwrap_or(usize::MAX);
        if count > 0 {
            self.meter.lost.add(count);
            self.lost().add(tally);
            self.news.notify_one();
        }
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::AcqRel);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::AcqRel);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A panic elsewhere while a lock was held leaves numbers behind, which stay usable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
