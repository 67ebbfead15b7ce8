//! A run's totals, for the log and for whoever started it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::offsets::Counts;

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

/// One line for people: the rate since `before`, which was `every` ago, and the run's totals.
pub(super) fn line(before: &Summary, now: &Summary, every: Duration, lag: i64) -> String {
    let rate = now.ticks.records.saturating_sub(before.ticks.records) / every.as_secs().max(1);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_the_intervals_rate_and_the_runs_totals() {
        let before = Summary::default();
        let ticks = Counts { records: 1000, rows: 990, duplicates: 8, refused: 2 };
        let now = Summary { ticks, ..before };
        assert_eq!(
            line(&before, &now, Duration::from_secs(10), 5),
            "100 ticks/s, 5 records behind; ticks: 990 rows, 8 duplicates, 2 refused"
        );
    }
}
