//! How far behind each partition of this sink is: kept as it was last reported, computed when asked.
//!
//! Seconds behind are how old the oldest record can be that is not written yet. Two bounds are known,
//! and the smaller one counts:
//!
//! - the last written record's timestamp: what is not written came after it;
//! - the last time that nothing was left to write: what is not written came after that, too. Without
//!   this bound a topic with one record a day would be a day behind for a moment each day.
//!
//! A pump that reports no more (it hangs in a write or a fetch) falls behind by the clock.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::offsets::Place;

/// A report that nothing is left to write is believed for so long. A pump reports at least twice a
/// second, as often as its fetch returns.
const FRESH: Duration = Duration::from_secs(2);

/// One partition, as it was reported last.
#[derive(Clone, Copy, Debug)]
struct Position {
    records: i64,
    /// Of the last written record, in milliseconds since the epoch.
    timestamp: Option<i64>,
    /// When nothing was left to write.
    even: Option<Instant>,
    /// When it was reported first.
    since: Instant,
    at: Instant,
}

/// One partition, seen from a moment.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Behind {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// Records that are not written yet.
    pub(crate) records: i64,
    /// How old the oldest of them can be.
    pub(crate) seconds: f64,
}

/// All partitions of this sink.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    places: Mutex<BTreeMap<Place, Position>>,
}

impl Positions {
    /// Takes note of where a partition stands.
    pub(crate) fn set(&self, place: &Place, records: i64, timestamp: Option<i64>, now: Instant) {
        let records = records.max(0);
        let mut places = self.lock();
        let before = places.get(place).copied();
        let position = Position {
            records,
            timestamp: timestamp.or(before.and_then(|before| before.timestamp)),
            even: if records == 0 { Some(now) } else { before.and_then(|before| before.even) },
            since: before.map_or(now, |before| before.since),
            at: now,
        };
        match places.get_mut(place) {
            Some(known) => *known = position,
            None => _ = places.insert(place.clone(), position),
        }
    }

    /// The partition is no longer this sink's.
    pub(crate) fn remove(&self, place: &Place) {
        self.lock().remove(place);
    }

    /// How many partitions have reported.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// All of them; of two topics of the same name (one of them made anew) the one heard of last.
    pub(crate) fn behind(&self, now: Instant, now_ms: i64) -> Vec<Behind> {
        let mut newest = BTreeMap::<(String, i32), Position>::new();
        for (place, position) in self.lock().iter() {
            let known = newest.entry((place.topic.clone(), place.partition)).or_insert(*position);
            if position.at > known.at {
                *known = *position;
            }
        }
        let behind = newest.into_iter().map(|((topic, partition), position)| Behind {
            topic,
            partition,
            records: position.records,
            seconds: seconds(&position, now, now_ms),
        });
        behind.collect()
    }

    /// Records that are not written yet, in all partitions.
    pub(crate) fn records(&self) -> i64 {
        self.lock().values().map(|position| position.records).sum()
    }

    /// A panic elsewhere while the lock was held leaves only numbers behind.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Position>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(position: &Position, now: Instant, now_ms: i64) -> f64 {
    let ago = |moment: Instant| now.saturating_duration_since(moment).as_secs_f64();
    if position.records == 0 {
        let silent = ago(position.at);
        return if silent <= FRESH.as_secs_f64() { 0.0 } else { silent };
    }
    // A producer's clock may be ahead of ours.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of an age")]
    let age = position.timestamp.map(|then| now_ms.saturating_sub(then).max(0) as f64 / 1000.0);
    let even = position.even.map(ago);
    match (age, even) {
        (Some(age), Some(even)) => age.min(even),
        (Some(one), None) | (None, Some(one)) => one,
        // Nothing written and nothing even yet: at least as long as we have been looking.
        (None, None) => ago(position.since),
    }
}

/// Shows the partitions as metrics, computed at each scrape.
pub(super) struct Lags(pub(super) std::sync::Arc<Positions>);

impl fmt::Debug for Lags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lags")
    }
}

impl Collector for Lags {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let behind = self.0.behind(Instant::now(), crate::micros::now_millis());
        if behind.is_empty() {
            return Ok(());
        }
        let records = encoder.encode_descriptor(
            "lag_records",
            "Records of a partition that are not written yet",
            None,
            MetricType::Gauge,
        )?;
        each(&behind, records, |behind| behind.records)?;
        let seconds = encoder.encode_descriptor(
            "lag",
            "How old the oldest record of a partition can be that is not written yet",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        each(&behind, seconds, |behind| behind.seconds)
    }
}

fn each<N>(
    behind: &[Behind],
    mut encoder: MetricEncoder<'_>,
    value: impl Fn(&Behind) -> N,
) -> fmt::Result
where
    ConstGauge<N>: EncodeMetric,
{
    for partition in behind {
        let labels =
            [("topic", partition.topic.clone()), ("partition", partition.partition.to_string())];
        ConstGauge::new(value(partition)).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn place(cluster: &str) -> Place {
        Place { cluster: cluster.into(), topic: "t".into(), partition: 3 }
    }

    fn behind(positions: &Positions, now: Instant) -> f64 {
        positions.behind(now, NOW).first().unwrap().seconds
    }

    #[test]
    fn seconds_behind_are_the_smaller_of_the_two_bounds() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        for (what, reports, now, expected) in [
            // (when, records, last written record's age at `now` in seconds)
            ("even", vec![(0, 0, None)], 1, 0.0),
            ("even, but not heard of", vec![(0, 0, Some(0))], 30, 30.0),
            ("an old backlog", vec![(0, 9, Some(500))], 0, 500.0),
            ("never written", vec![(0, 9, None), (5, 9, None)], 7, 7.0),
            ("a live topic", vec![(0, 0, None), (60, 9, Some(1))], 60, 1.0),
            ("one record a day", vec![(0, 0, Some(86_400)), (1, 1, None)], 1, 1.0),
            ("a clock ahead of ours", vec![(0, 1, Some(-100))], 0, 0.0),
            ("the timestamp stays known", vec![(0, 9, Some(20)), (1, 9, None)], 1, 20.0),
        ] {
            let positions = Positions::default();
            for (when, records, age) in reports {
                let timestamp = age.map(|age: i64| NOW - age * 1000);
                positions.set(&place("c"), records, timestamp, at(when));
            }
            let found = behind(&positions, at(now));
            assert!((found - expected).abs() < 1e-6, "{what}: {found}");
        }
    }

    #[test]
    fn a_topic_that_was_made_anew_shows_once_and_survives_the_old_ones_end() {
        let (positions, start) = (Positions::default(), Instant::now());
        positions.set(&place("old"), 7, None, start);
        positions.set(&place("new"), 2, None, start + Duration::from_secs(1));
        let seen = positions.behind(start, NOW);
        assert_eq!(seen.iter().map(|one| one.records).collect::<Vec<_>>(), [2]);
        positions.remove(&place("old"));
        assert_eq!((positions.len(), positions.records()), (1, 2));
        positions.remove(&place("new"));
        assert!(positions.behind(start, NOW).is_empty());
    }
}
