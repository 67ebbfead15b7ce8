//! Whether the sink lives, and whether it does what it is there for: pure questions about what its
//! parts have seen, and one to the database where nobody has heard of it lately.

use std::sync::Arc;
use std::time::Duration;

use tickpanda_program::http::Beat;

use crate::database::Database;
use crate::outage::{Outage, State};
use crate::stats::{Behind, Stats};

/// What was heard of the database counts for so long.
const HEARD: Duration = Duration::from_secs(2);
/// How many late partitions an answer names.
const NAMED: usize = 10;

/// What `/live`, `/ready` and `/metrics` ask.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) database: Database,
    pub(crate) broker: Arc<Outage>,
    pub(crate) stats: Arc<Stats>,
    /// Behind by more than this is not ready.
    pub(crate) ready_lag: Duration,
    beat: Beat,
    /// One at a time: whoever asks too often must not take the writers' connections.
    probing: tokio::sync::Mutex<()>,
}

/// Why the sink is not ready, in words; empty where it is.
pub(crate) type Reasons = Vec<String>;

impl Health {
    pub(crate) fn new(
        database: Database,
        broker: Arc<Outage>,
        stats: Arc<Stats>,
        ready_lag: Duration,
    ) -> Self {
        let (beat, probing) = (Beat::default(), tokio::sync::Mutex::default());
        Health { database, broker, stats, ready_lag, beat, probing }
    }

    /// Shows, for ever, that the task that polls this runs.
    pub(crate) async fn beat(&self) {
        self.beat.beat().await;
    }

    /// Whether the process does anything at all. A task that fails ends the process, so there is
    /// nothing else to ask.
    pub(crate) fn live(&self) -> Result<(), String> {
        self.beat.alive()
    }

    /// Why the sink does not write what comes within `ready_lag`.
    pub(crate) async fn ready(&self) -> Reasons {
        let heard = matches!(self.database.state(), State::Serves(at) if at.elapsed() < HEARD);
        if !heard && let Ok(_alone) = self.probing.try_lock() {
            self.database.probe().await;
        }
        let (claimed, reported) = self.stats.partitions();
        let mut reasons = self.away();
        reasons.extend(late(&self.stats.behind(), self.ready_lag));
        match usize::try_from(claimed).unwrap_or(0).saturating_sub(reported) {
            0 => {}
            unread => reasons
                .push(format!("{unread} of {claimed} partitions of this sink were not read yet")),
        }
        reasons
    }

    /// The metrics.
    pub(crate) fn metrics(&self) -> String {
        let serves = |state| matches!(state, State::Serves(_));
        self.stats.text(serves(self.database.state()), serves(self.broker.state()))
    }

    fn away(&self) -> Reasons {
        let parts = [
            (self.database.what(), self.database.state()),
            (self.broker.what(), self.broker.state()),
        ];
        parts.into_iter().filter_map(|(what, state)| absent(what, &state)).collect()
    }
}

/// What is away, in words.
fn absent(what: &str, state: &State) -> Option<String> {
    match state {
        State::Serves(_) => None,
        State::Unknown => Some(format!("{what} has not answered yet")),
        State::Away(since, why) => {
            Some(format!("{what} has not served for {:.1} s: {why}", since.elapsed().as_secs_f64()))
        }
    }
}

/// Which partitions are late; the first ones by name.
fn late(behind: &[Behind], allowed: Duration) -> Reasons {
    let late = behind.iter().filter(|one| one.seconds > allowed.as_secs_f64());
    let mut reasons: Reasons = late
        .clone()
        .take(NAMED)
        .map(|one| {
            let Behind { topic, partition, records, seconds } = one;
            format!("{topic}/{partition} is {records} records and {seconds:.1} s behind")
        })
        .collect();
    match late.count().saturating_sub(NAMED) {
        0 => {}
        more => reasons.push(format!("and {more} more partitions are late")),
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn only_late_partitions_are_named_and_not_all_of_very_many() {
        let one = |partition, seconds| Behind { topic: "t".into(), partition, records: 5, seconds };
        let allowed = Duration::from_secs(10);
        assert_eq!(late(&[one(0, 0.0), one(1, 10.0)], allowed), Vec::<String>::new());
        assert_eq!(
            late(&[one(0, 0.0), one(1, 10.5)], allowed),
            ["t/1 is 5 records and 10.5 s behind"]
        );
        let many: Vec<_> = (0..200).map(|n| one(n, 99.0)).collect();
        let reasons = late(&many, allowed);
        assert_eq!(reasons.len(), NAMED + 1);
        assert_eq!(reasons[NAMED], "and 190 more partitions are late");
    }

    #[test]
    fn nobody_is_there_before_the_first_answer() {
        assert_eq!(absent("it", &State::Unknown).unwrap(), "it has not answered yet");
        assert_eq!(absent("it", &State::Serves(Instant::now())), None);
        let away = absent("it", &State::Away(Instant::now(), "refused".into())).unwrap();
        assert!(
            away.starts_with("it has not served for 0.") && away.ends_with("refused"),
            "{away}"
        );
    }
}
