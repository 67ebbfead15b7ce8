//! What the sink did, counted; one line in the log every ten seconds.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::info;

use crate::decode::Feed;
use crate::offsets::{Counts, Place};
use crate::writer::Outcome;

/// How often the line is written.
const EVERY: Duration = Duration::from_secs(10);

/// What a run of the sink did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Of `tick-data`.
    pub ticks: Counts,
    /// Of `ohlcv-data`.
    pub candles: Counts,
    /// Of `dead-letter`.
    pub dead_letters: Counts,
    /// Of `gap-events`.
    pub gaps: Counts,
    /// Transactions that were committed.
    pub batches: u64,
    /// Batches that another writer had written already.
    pub fenced: u64,
    /// Records that retention took before they were read.
    pub missed: u64,
}

/// The counters of a run, and where each partition stands.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    summary: Mutex<Summary>,
    lags: Mutex<BTreeMap<Place, i64>>,
}

impl Stats {
    pub(crate) fn wrote(&self, feed: Feed, outcome: Outcome) {
        let mut summary = lock(&self.summary);
        let Outcome::Committed(counts) = outcome else {
            summary.fenced += 1;
            return;
        };
        summary.batches += 1;
        let sum = match feed {
            Feed::Ticks => &mut summary.ticks,
            Feed::Candles => &mut summary.candles,
            Feed::DeadLetters => &mut summary.dead_letters,
            Feed::Gaps => &mut summary.gaps,
        };
        sum.records += counts.records;
        sum.rows += counts.rows;
        sum.duplicates += counts.duplicates;
        sum.refused += counts.refused;
    }

    pub(crate) fn hole(&self, records: u64) {
        lock(&self.summary).missed += records;
    }

    /// How many records of a partition are not written yet.
    pub(crate) fn lag(&self, place: &Place, records: i64) {
        let mut lags = lock(&self.lags);
        match lags.get_mut(place) {
            Some(lag) => *lag = records,
            None => _ = lags.insert(place.clone(), records),
        }
    }

    /// The partition is no longer read.
    pub(crate) fn gone(&self, place: &Place) {
        lock(&self.lags).remove(place);
    }

    pub(crate) fn summary(&self) -> Summary {
        *lock(&self.summary)
    }

    /// Writes the line, for ever.
    pub(crate) async fn report(&self) {
        let mut before = Summary::default();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.summary();
            let lag: i64 = lock(&self.lags).values().sum();
            info!("{}", line(&before, &now, lag));
            before = now;
        }
    }
}

/// One line for people: this interval's rate, the run's totals.
fn line(before: &Summary, now: &Summary, lag: i64) -> String {
    let rate = (now.ticks.records - before.ticks.records) / EVERY.as_secs();
    let mut text = format!("{rate} ticks/s, {lag} records behind");
    for (name, counts) in [
        ("ticks", now.ticks),
        ("candles", now.candles),
        ("dead letters", now.dead_letters),
        ("gaps", now.gaps),
    ] {
        if counts.records > 0 {
            let Counts { rows, duplicates, refused, .. } = counts;
            let _ =
                write!(text, "; {name}: {rows} rows, {duplicates} duplicates, {refused} refused");
        }
    }
    text
}

/// A panic elsewhere while the lock was held leaves only counters behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_intervals_rate_and_the_runs_totals() {
        let before = Summary::default();
        let ticks = Counts { records: 1000, rows: 990, duplicates: 8, refused: 2 };
        let now = Summary { ticks, ..before };
        assert_eq!(
            line(&before, &now, 5),
            "100 ticks/s, 5 records behind; ticks: 990 rows, 8 duplicates, 2 refused"
        );
    }
}
