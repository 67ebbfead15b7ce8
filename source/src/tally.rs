//! Counters with labels, and times: written where something happens, read as plain values.
//!
//! Labels are text of the program's own, never of a vendor or an operator, so there is a bounded number
//! of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts by `N` labels. For what happens rarely: it takes a lock.
#[derive(Debug, Default)]
pub struct Tally<const N: usize>(Mutex<BTreeMap<[&'static str; N], u64>>);

/// A [`Tally`] at one moment.
pub type Tallied<const N: usize> = BTreeMap<[&'static str; N], u64>;

impl<const N: usize> Tally<N> {
    /// One more of these.
    pub fn add(&self, labels: [&'static str; N]) {
        self.add_many(labels, 1);
    }

    /// So many more of these; with 0 they are shown from now on.
    pub fn add_many(&self, labels: [&'static str; N], count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.entry(labels).or_insert(0);
        *known = known.saturating_add(count);
    }

    /// The counts now.
    pub fn get(&self) -> Tallied<N> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Upper ends of the times from receipt to acknowledgement, in seconds: a local broker takes a
/// millisecond, one across the world some 300, and after an outage it is minutes.
pub const LATENCY_SECONDS: [f64; 16] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 300.0, 3600.0,
];

/// How long things took: written without a lock.
#[derive(Debug, Default)]
pub struct Latency {
    /// One for each of [`LATENCY_SECONDS`], and the rest.
    counts: [AtomicU64; LATENCY_SECONDS.len() + 1],
    micros: AtomicU64,
}

/// [`Latency`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Latencies {
    /// How many took up to each of [`LATENCY_SECONDS`] and more than the one before, then how many took
    /// longer.
    pub counts: [u64; LATENCY_SECONDS.len() + 1],
    /// All times together, in seconds.
    pub sum: f64,
}

impl Latency {
    /// So many took so long.
    pub fn observe(&self, took: Duration, count: u64) {
        let seconds = took.as_secs_f64();
        let bucket = LATENCY_SECONDS.iter().position(|end| seconds <= *end);
        let bucket = bucket.unwrap_or(LATENCY_SECONDS.len());
        self.counts[bucket].fetch_add(count, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.fetch_add(micros.saturating_mul(count), Ordering::Relaxed);
    }

    /// The times now.
    pub fn get(&self) -> Latencies {
        let micros = Duration::from_micros(self.micros.load(Ordering::Relaxed));
        let counts = self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        Latencies { counts, sum: micros.as_secs_f64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_by_their_labels() {
        let tally = Tally::default();
        tally.add(["a", "x"]);
        tally.add(["a", "x"]);
        tally.add(["a", "y"]);
        tally.add_many(["b", "x"], 0);
        let expected = [(["a", "x"], 2), (["a", "y"], 1), (["b", "x"], 0)];
        assert_eq!(tally.get(), expected.into());
    }

    #[test]
    fn a_time_counts_where_it_ends() {
        let latency = Latency::default();
        latency.observe(Duration::from_millis(1), 3);
        latency.observe(Duration::from_micros(1001), 1);
        latency.observe(Duration::from_secs(4000), 1);
        let seen = latency.get();
        assert_eq!((seen.counts[0], seen.counts[1], seen.counts[16]), (3, 1, 1));
        assert!((seen.sum - 4_000.004_001).abs() < 1e-9, "{}", seen.sum);
    }
}
