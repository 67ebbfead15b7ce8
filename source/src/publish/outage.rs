//! What keeps records from being published, over all lanes: when a broker goes, all of its partitions
//! fail, and that is one line in the log, not one for each; and one when it serves again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::now_ms;

/// What keeps records from being published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The broker does not answer.
    Away,
    /// It answers, and does not let us in: a certificate, a name or a password.
    Denied,
    /// It does not have the topic, or not that partition.
    Missing(Arc<str>),
    /// It refuses the topic's records for another reason.
    Refused(Arc<str>),
}

impl Trouble {
    /// Whether it is the broker's, whatever the topic.
    fn is_of_all(&self) -> bool {
        matches!(self, Trouble::Away | Trouble::Denied)
    }
}

/// Lanes in trouble.
#[derive(Debug, Default)]
pub struct Outages {
    troubles: Mutex<BTreeMap<Trouble, Since>>,
    lanes: AtomicUsize,
    /// A lane was in trouble and is not any more: it may be worth a try for the others.
    pub(super) back: Notify,
}

#[derive(Debug)]
struct Since {
    began: Instant,
    /// The first lane's words.
    why: String,
    lanes: BTreeSet<Lane>,
}

pub(super) type Lane = (Arc<str>, i32);

impl Outages {
    /// Whether the broker answers, as far as anybody has tried.
    pub fn broker_answers(&self) -> bool {
        !self.troubles().keys().any(Trouble::is_of_all)
    }

    /// Since when no broker answers us (milliseconds since the epoch), and why; `None` where one does. That
    /// we are not let in says more than that another lane has not come as far.
    pub fn away(&self) -> Option<(i64, String)> {
        let troubles = self.troubles();
        let since = troubles.get(&Trouble::Denied).or_else(|| troubles.get(&Trouble::Away))?;
        let lasts = i64::try_from(since.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        Some((now_ms().saturating_sub(lasts), since.why.clone()))
    }

    /// Everything that keeps records from being published now.
    pub fn list(&self) -> Vec<Trouble> {
        self.troubles().keys().cloned().collect()
    }

    /// So many lanes share the memory for requests.
    pub(super) fn share(&self, lanes: usize) {
        self.lanes.store(lanes, Ordering::Relaxed);
    }

    /// How many lanes there are.
    pub(super) fn lanes(&self) -> usize {
        self.lanes.load(Ordering::Relaxed)
    }

    /// A lane's attempt failed.
    pub(super) fn failed(&self, lane: &Lane, trouble: &Trouble, words: &str) {
        let mut troubles = self.troubles();
        leave(&mut troubles, lane, Some(trouble));
        let since = troubles.entry(trouble.clone()).or_insert_with(|| {
            let (topic, partition) = lane;
            match trouble {
                Trouble::Away => warn!(
                    %topic, partition, error = words,
                    "no broker takes records: they wait in the spool until one does"
                ),
                Trouble::Denied => warn!(
                    %topic, partition, error = words,
                    "no broker lets us in: records wait in the spool until one does"
                ),
                Trouble::Missing(_) => warn!(
                    %topic, partition, error = words,
                    "the topic or a partition of it is gone: its records wait in the spool until it is there"
                ),
                Trouble::Refused(_) => warn!(
                    %topic, partition, error = words,
                    "the broker refuses records: they wait in the spool, and are sent again until it takes them"
                ),
            }
            Since { began: Instant::now(), why: words.to_owned(), lanes: BTreeSet::new() }
        });
        since.lanes.insert(lane.clone());
    }

    /// A lane that had been in trouble is not any more.
    pub(super) fn served(&self, lane: &Lane) {
        leave(&mut self.troubles(), lane, None);
        self.back.notify_waiters();
    }

    fn troubles(&self) -> MutexGuard<'_, BTreeMap<Trouble, Since>> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a lane out of every trouble but one. What that ends is told.
fn leave(troubles: &mut BTreeMap<Trouble, Since>, lane: &Lane, but: Option<&Trouble>) {
    troubles.retain(|trouble, since| {
        if Some(trouble) == but || !since.lanes.remove(lane) || !since.lanes.is_empty() {
            return true;
        }
        let away_s = since.began.elapsed().as_secs_f32();
        match trouble {
            // One has come of the other.
            Trouble::Away | Trouble::Denied if but.is_some_and(Trouble::is_of_all) => {}
            Trouble::Away | Trouble::Denied => info!(away_s, "the broker takes records again"),
            Trouble::Missing(topic) => info!(%topic, away_s, "the topic is there again"),
            Trouble::Refused(topic) => info!(%topic, away_s, "the broker takes records again"),
        }
        false
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(topic: &str, partition: i32) -> Lane {
        (topic.into(), partition)
    }

    #[test]
    fn an_outage_lasts_from_the_first_lane_in_it_to_the_last() {
        let outages = Outages::default();
        assert!(outages.broker_answers());
        let missing = Trouble::Missing("raw".into());
        outages.failed(&lane("raw", 0), &Trouble::Away, "refused");
        outages.failed(&lane("raw", 1), &Trouble::Away, "refused");
        assert!(!outages.broker_answers());
        outages.served(&lane("raw", 0));
        assert!(!outages.broker_answers(), "another lane still waits");
        // It answers, that there is no such topic.
        outages.failed(&lane("raw", 1), &missing, "unknown");
        assert_eq!(outages.list(), [missing]);
        assert!(outages.broker_answers());
        outages.served(&lane("raw", 1));
        assert_eq!(outages.list(), []);
        outages.served(&lane("raw", 1));
    }

    #[test]
    fn a_broker_that_is_back_and_does_not_let_us_in_is_told_as_such() {
        let outages = Outages::default();
        for partition in 0..2 {
            outages.failed(&lane("raw", partition), &Trouble::Away, "refused");
        }
        outages.failed(&lane("raw", 1), &Trouble::Denied, "wrong password");
        assert_eq!(outages.list(), [Trouble::Away, Trouble::Denied]);
        assert!(outages.away().is_some_and(|(_, why)| why == "wrong password"));
        outages.failed(&lane("raw", 0), &Trouble::Denied, "wrong password");
        assert_eq!(outages.list(), [Trouble::Denied]);
        assert!(!outages.broker_answers());
        (0..2).for_each(|partition| outages.served(&lane("raw", partition)));
        assert_eq!(outages.away(), None);
    }
}
