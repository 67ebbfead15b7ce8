//! What the sink did, counted once: the line in the log every ten seconds, [`Summary`] and `/metrics`
//! all read these counters.
//!
//! ```text
//!  writer, pump, outage, latest ── a few calls a batch ──▶ Stats ──▶ log line, Summary
//!                                                            └─────▶ Registry ──▶ GET /metrics
//! ```
//!
//! It is called once a batch, never once a record, and everything with a label is looked up at the
//! start or where something went wrong.

mod positions;
mod summary;

use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::{Duration, Instant};

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tickpanda_model::dead_letter::{Reason, Stage};
use tracing::info;

use crate::decode::Feed;
use crate::latest::LatestCounters;
use crate::micros::now_millis;
use crate::offsets::{Counts, Place};
use crate::writer::Outcome;

pub(crate) use positions::{Behind, Positions};
pub use summary::Summary;

/// How often the line is written.
const EVERY: Duration = Duration::from_secs(10);
/// Upper ends of the histogram of batch times: a live batch of a few rows takes a millisecond, a
/// large one some 50, and a connection is given up after 60 s.
const BATCH_SECONDS: [f64; 14] =
    [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0];

/// Labels of a metric that has one of them per table.
type Table = [(&'static str, &'static str); 1];
/// Labels of a metric that has two of a fixed set.
type Pair = [(&'static str, &'static str); 2];

/// What is counted for each table.
#[derive(Debug)]
struct TableCounters {
    records: Counter,
    rows: Counter,
    duplicates: Counter,
    refused: Counter,
    batches: Counter,
    took: Histogram,
}

impl TableCounters {
    fn counts(&self) -> Counts {
        Counts {
            records: self.records.get(),
            rows: self.rows.get(),
            duplicates: self.duplicates.get(),
            refused: self.refused.get(),
        }
    }
}

/// The counters of a run, and where each partition stands.
#[derive(Debug)]
pub(crate) struct Stats {
    registry: Registry,
    ticks: TableCounters,
    candles: TableCounters,
    dead_letters: TableCounters,
    gaps: TableCounters,
    fenced: Counter,
    missed: Counter,
    /// By stage and reason.
    letters: Family<Pair, Counter>,
    /// By what was tried again and why.
    retries: Family<Pair, Counter>,
    claimed: Gauge<i64, AtomicI64>,
    database_up: Gauge<i64, AtomicI64>,
    broker_up: Gauge<i64, AtomicI64>,
    positions: Arc<Positions>,
    latest: LatestCounters,
}

impl Default for Stats {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tickpanda_sink");
        let mut counter = |name: &str, help: &str| {
            let family = Family::<Table, Counter>::default();
            registry.register(name, help, family.clone());
            family
        };
        let records = counter("read_records", "Records of the topics that committed batches cover");
        let rows = counter("written_rows", "Rows that are new or changed");
        let duplicates =
            counter("duplicate_records", "Records whose row was there already, or outdone");
        let refused = counter("refused_records", "Records that became a dead letter of the sink");
        let batches = counter("committed_batches", "Transactions that were committed");
        let took =
            Family::<Table, Histogram, fn() -> Histogram>::new_with_constructor(histogram as _);
        registry.register_with_unit(
            "batch",
            "From the first try of a batch to its commit, outages included",
            Unit::Seconds,
            took.clone(),
        );
        let of = |table| {
            let labels = [("table", table)];
            TableCounters {
                records: records.get_or_create_owned(&labels),
                rows: rows.get_or_create_owned(&labels),
                duplicates: duplicates.get_or_create_owned(&labels),
                refused: refused.get_or_create_owned(&labels),
                batches: batches.get_or_create_owned(&labels),
                took: took.get_or_create_owned(&labels),
            }
        };
        let (ticks, candles, dead_letters, gaps) =
            (of("ticks"), of("ohlcv"), of("dead_letters"), of("gaps"));

        let (fenced, missed) = (Counter::default(), Counter::default());
        let (letters, retries) = (Family::default(), Family::default());
        let (claimed, database_up, broker_up) =
            (Gauge::default(), Gauge::default(), Gauge::default());
        registry.register(
            "fenced_batches",
            "Batches that another writer had written already",
            fenced.clone(),
        );
        registry.register(
            "missed_records",
            "Records that retention took before they were read",
            missed.clone(),
        );
        registry.register(
            "dead_letters",
            "Dead letters that were written, by who gave up and why",
            letters.clone(),
        );
        registry.register("retries", "Tries that failed and were repeated", retries.clone());
        registry.register(
            "claimed_partitions",
            "Partitions that this sink writes",
            claimed.clone(),
        );
        registry.register("database_up", "Whether the database serves", database_up.clone());
        registry.register("broker_up", "Whether the broker serves", broker_up.clone());
        let latest = LatestCounters::default();
        latest.register(&mut registry);
        let positions = Arc::new(Positions::default());
        registry.register_collector(Box::new(positions::Lags(Arc::clone(&positions))));
        Stats {
            registry,
            ticks,
            candles,
            dead_letters,
            gaps,
            fenced,
            missed,
            letters,
            retries,
            claimed,
            database_up,
            broker_up,
            positions,
            latest,
        }
    }
}

fn histogram() -> Histogram {
    Histogram::new(BATCH_SECONDS)
}

impl Stats {
    /// A batch was written, or somebody else had done it; `took` is the time since its first try.
    pub(crate) fn wrote(&self, feed: Feed, outcome: Outcome, took: Duration) {
        let Outcome::Committed(counts) = outcome else {
            self.fenced.inc();
            return;
        };
        let table = match feed {
            Feed::Ticks => &self.ticks,
            Feed::Candles => &self.candles,
            Feed::DeadLetters => &self.dead_letters,
            Feed::Gaps => &self.gaps,
        };
        table.records.inc_by(counts.records);
        table.rows.inc_by(counts.rows);
        table.duplicates.inc_by(counts.duplicates);
        table.refused.inc_by(counts.refused);
        table.batches.inc();
        table.took.observe(took.as_secs_f64());
    }

    /// Where a partition stands: records that are not written yet, and the timestamp of the last
    /// one that is, where there is one. To be called whenever a fetch has returned, also with nothing.
    pub(crate) fn position(&self, place: &Place, lag_records: i64, last_timestamp_ms: Option<i64>) {
        self.positions.set(place, lag_records, last_timestamp_ms, Instant::now());
    }

    /// Dead letters were committed. A reason that is no code of ours counts as `other`: whoever
    /// writes to the topic must not be able to make labels.
    pub(crate) fn dead_letters(&self, stage: Stage, reason: &str, letters: u64) {
        let known = Reason::ALL.into_iter().map(Reason::code).find(|code| *code == reason);
        let labels = [("stage", stage.as_str()), ("reason", known.unwrap_or("other"))];
        self.letters.get_or_create(&labels).inc_by(letters);
    }

    /// A try failed and is repeated: what it was on (`database`), and the class of the failure.
    pub(crate) fn retried(&self, what: &'static str, class: &'static str) {
        self.retries(what, class).inc();
    }

    /// The counter of [`Stats::retried`], for what has one class only.
    pub(crate) fn retries(&self, what: &'static str, class: &'static str) -> Counter {
        self.retries.get_or_create_owned(&[("on", what), ("class", class)])
    }

    /// Retention took records of a partition before they were read.
    pub(crate) fn hole(&self, records: u64) {
        self.missed.inc_by(records);
    }

    /// The partition is no longer read by this sink.
    pub(crate) fn gone(&self, place: &Place) {
        self.positions.remove(place);
    }

    /// How many partitions this sink writes.
    pub(crate) fn claimed(&self, partitions: usize) {
        self.claimed.set(i64::try_from(partitions).unwrap_or(i64::MAX));
    }

    /// How many partitions this sink writes, and how many of them have reported where they stand.
    pub(crate) fn partitions(&self) -> (i64, usize) {
        (self.claimed.get(), self.positions.len())
    }

    /// How far behind each partition is now.
    pub(crate) fn behind(&self) -> Vec<Behind> {
        self.positions.behind(Instant::now(), now_millis())
    }

    /// What the Redis cache counts.
    pub(crate) fn latest(&self) -> &LatestCounters {
        &self.latest
    }

    pub(crate) fn summary(&self) -> Summary {
        let tables = [&self.ticks, &self.candles, &self.dead_letters, &self.gaps];
        Summary {
            ticks: self.ticks.counts(),
            candles: self.candles.counts(),
            dead_letters: self.dead_letters.counts(),
            gaps: self.gaps.counts(),
            batches: tables.iter().map(|table| table.batches.get()).sum(),
            fenced: self.fenced.get(),
            missed: self.missed.get(),
        }
    }

    /// All of it in Prometheus' text format, 0.0.4.
    pub(crate) fn text(&self, database_up: bool, broker_up: bool) -> String {
        self.database_up.set(database_up.into());
        self.broker_up.set(broker_up.into());
        let mut text = String::new();
        let encoded = prometheus_text::encode(&mut text, &self.registry);
        debug_assert!(encoded.is_ok(), "a String takes everything");
        text
    }

    /// Writes the line, for ever.
    pub(crate) async fn report(&self) {
        let mut before = Summary::default();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.summary();
            info!("{}", summary::line(&before, &now, EVERY, self.positions.records()));
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed(rows: u64, duplicates: u64, refused: u64) -> Outcome {
        let records = rows + duplicates + refused;
        Outcome::Committed(Counts { records, rows, duplicates, refused })
    }

    #[test]
    fn the_summary_and_the_metrics_are_the_same_numbers() {
        let stats = Stats::default();
        let place = Place { cluster: "c".into(), topic: "tick-data".into(), partition: 2 };
        stats.wrote(Feed::Ticks, committed(7, 2, 1), Duration::from_millis(3));
        stats.wrote(Feed::Ticks, committed(1, 0, 0), Duration::from_secs(100));
        stats.wrote(Feed::Gaps, Outcome::Fenced, Duration::ZERO);
        stats.hole(30);
        stats.claimed(1);
        stats.position(&place, 4, Some(now_millis()));
        stats.retried("database", "connection");
        stats.dead_letters(Stage::Sink, "refused", 1);
        stats.dead_letters(Stage::Transform, "what somebody wrote", 3);
        let summary = stats.summary();
        assert_eq!(summary.ticks, Counts { records: 11, rows: 8, duplicates: 2, refused: 1 });
        assert_eq!((summary.batches, summary.fenced, summary.missed), (2, 1, 30));
        let text = stats.text(true, false);
        for line in [
            "tickpanda_sink_read_records_total{table=\"ticks\"} 11",
            "tickpanda_sink_written_rows_total{table=\"ticks\"} 8",
            "tickpanda_sink_written_rows_total{table=\"ohlcv\"} 0",
            "tickpanda_sink_duplicate_records_total{table=\"ticks\"} 2",
            "tickpanda_sink_committed_batches_total{table=\"ticks\"} 2",
            "tickpanda_sink_batch_seconds_bucket{table=\"ticks\",le=\"0.005\"} 1",
            "tickpanda_sink_batch_seconds_count{table=\"ticks\"} 2",
            "tickpanda_sink_fenced_batches_total 1",
            "tickpanda_sink_missed_records_total 30",
            "tickpanda_sink_dead_letters_total{stage=\"sink\",reason=\"refused\"} 1",
            "tickpanda_sink_dead_letters_total{stage=\"transform\",reason=\"other\"} 3",
            "tickpanda_sink_retries_total{on=\"database\",class=\"connection\"} 1",
            "tickpanda_sink_lag_records{topic=\"tick-data\",partition=\"2\"} 4",
            "tickpanda_sink_claimed_partitions 1",
            "tickpanda_sink_database_up 1",
            "tickpanda_sink_broker_up 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(
            text.contains("\ntickpanda_sink_lag_seconds{topic=\"tick-data\",partition=\"2\"} ")
        );
    }

    #[test]
    fn a_partition_that_is_no_longer_ours_is_not_shown() {
        let stats = Stats::default();
        let place = Place { cluster: "c".into(), topic: "t".into(), partition: 0 };
        stats.position(&place, 4, None);
        assert!(stats.text(true, true).contains("lag_records{"));
        stats.gone(&place);
        assert!(!stats.text(true, true).contains("lag_records"));
    }
}
