//! What the spool and the publishers have done and how long it took: atomics, for metrics and the
//! summary.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::counters::Count;
use crate::tally::Latencies;

/// Upper bounds of the latency buckets in milliseconds; what took longer is in one more.
pub const LATENCY_MS: [u64; 24] = [
    1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 30, 50, 75, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
    30_000, 60_000, 300_000,
];

/// Counts since the start of the run.
#[derive(Debug, Default)]
pub struct Meter {
    /// Records appended.
    pub appended: Count,
    /// Records acknowledged by the broker.
    pub published: Count,
    /// Of these, those that say only size and hash of a frame larger than the topic takes.
    pub too_large: Count,
    /// Produce requests that were acknowledged.
    pub requests: Count,
    /// Produce requests that failed and were tried again.
    pub retries: Count,
    /// Records lost: the spool was full, or they were damaged on disk.
    pub lost: Count,
    /// Of these, the damaged ones.
    pub damaged: Count,
    /// Records that were acknowledged after they had been given up for lost.
    pub lost_and_published: Count,
    /// Writes to the disk that failed, and reads.
    pub disk_errors: Count,
    /// From receipt to acknowledgement.
    pub latency: Latency,
}

/// A histogram of [`LATENCY_MS`].
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_MS.len() + 1],
    sum_ms: AtomicU64,
}

impl Latency {
    /// Adds records that were received at these times (ms since the epoch) and acknowledged at `now`.
    pub(crate) fn see(&self, received: impl Iterator<Item = i64>, now: i64) {
        let mut counts = [0u64; LATENCY_MS.len() + 1];
        // Records that were received together are in a row.
        let (mut before, mut bucket, mut sum) = (None, 0, 0u64);
        for at in received {
            // A clock that was set back meanwhile: none.
            let took = now.saturating_sub(at).max(0).unsigned_abs();
            if before != Some(at) {
                before = Some(at);
                bucket = LATENCY_MS.partition_point(|bound| *bound < took);
            }
            counts[bucket] += 1;
            sum = sum.saturating_add(took);
        }
        for (bucket, count) in self.buckets.iter().zip(counts) {
            if count > 0 {
                bucket.fetch_add(count, Ordering::Relaxed);
            }
        }
        self.sum_ms.fetch_add(sum, Ordering::Relaxed);
    }

    /// Records in each bucket; the last is of those above all bounds.
    pub fn counts(&self) -> [u64; LATENCY_MS.len() + 1] {
        std::array::from_fn(|bucket| self.buckets[bucket].load(Ordering::Relaxed))
    }

    /// The times now.
    pub fn view(&self) -> Latencies {
        // Milliseconds of a process's life are exact in an f64.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let seconds = |ms: u64| ms as f64 / 1000.0;
        let ends = LATENCY_MS.into_iter().map(seconds).chain([f64::MAX]);
        Latencies { counts: ends.zip(self.counts()).collect(), sum: seconds(self.sum_ms()) }
    }

    /// Sum of all latencies in milliseconds.
    pub fn sum_ms(&self) -> u64 {
        self.sum_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_in_the_bucket_of_the_least_bound_that_it_kept() {
        let latency = Latency::default();
        latency.see([1_000, 1_000, 999, 995, 990, -400_000, 2_000].into_iter(), 1_000);
        let mut counts = [0; LATENCY_MS.len() + 1];
        counts[0] = 4; // 0, 0, 1 and one from the future
        counts[4] = 1; // 5
        counts[7] = 1; // 10
        counts[LATENCY_MS.len()] = 1;
        assert_eq!((latency.counts(), latency.sum_ms()), (counts, 1 + 5 + 10 + 401_000));
    }
}
