//! One log line when the cluster goes away and one when it is back, however many lanes notice how often.

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tracing::{debug, info, warn};

/// Who calls the cluster. Each may be without a leader while the others have theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Caller {
    /// The search for topics and places, before there are lanes.
    Start,
    /// The commits.
    Commits,
    /// A lane, by input partition.
    Lane(i32),
}

/// Whether the cluster is away, or a part of it.
#[derive(Debug)]
pub(super) struct Outage {
    brokers: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Whose last call failed.
    failing: HashSet<Caller>,
    since: Option<Instant>,
    /// Whether it was said in this outage that we are not let in.
    refused: bool,
}

impl Outage {
    pub(super) fn new(brokers: String) -> Self {
        Self { brokers, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call failed that may succeed later; whether that is news.
    pub(super) fn failed(&self, caller: Caller, error: &dyn Display) -> bool {
        let mut state = self.state();
        state.failing.insert(caller);
        let news = state.since.is_none();
        if news {
            state.since = Some(Instant::now());
            warn!("{} does not serve, trying again until it does: {error}", self.brokers);
        } else {
            debug!("{}: {error}", self.brokers);
        }
        news
    }

    /// The cluster does not let us in: a certificate, a name or a password. Said once in an outage, also in one that
    /// had begun otherwise; whether that is news.
    pub(super) fn refused(&self, caller: Caller, error: &dyn Display) -> bool {
        let mut state = self.state();
        state.failing.insert(caller);
        state.since.get_or_insert_with(Instant::now);
        let news = !std::mem::replace(&mut state.refused, true);
        if news {
            warn!("{} does not let us in, trying again until it does: {error}", self.brokers);
        }
        news
    }

    /// A call succeeded; whether it was the last that was waited for.
    pub(super) fn served(&self, caller: Caller) -> bool {
        let mut state = self.state();
        state.failing.remove(&caller);
        if !state.failing.is_empty() {
            return false;
        }
        state.refused = false;
        let Some(since) = state.since.take() else { return false };
        info!("{} serves again after {:.1} s", self.brokers, since.elapsed().as_secs_f64());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Caller::{Commits, Lane};

    #[test]
    fn one_leader_that_is_away_is_one_outage_until_it_is_back_whatever_the_others_do() {
        let outage = Outage::new("cluster".into());
        assert!(!outage.served(Lane(1)), "nothing was away");
        assert!(outage.failed(Lane(0), &"gone"));
        for _ in 0..3 {
            assert!(!outage.served(Lane(1)) && !outage.failed(Lane(0), &"gone"));
        }
        assert!(!outage.failed(Commits, &"gone") && !outage.served(Lane(0)));
        assert!(outage.served(Commits), "the last of them");
        assert!(!outage.served(Lane(0)) && outage.failed(Lane(0), &"gone again"));
    }

    #[test]
    fn a_refusal_is_said_once_also_in_an_outage_that_began_otherwise() {
        let outage = Outage::new("cluster".into());
        assert!(outage.failed(Lane(0), &"gone") && outage.refused(Lane(0), &"wrong password"));
        assert!(!outage.refused(Commits, &"wrong password") && !outage.failed(Lane(1), &"gone"));
        for caller in [Lane(0), Lane(1)] {
            assert!(!outage.served(caller));
        }
        assert!(outage.served(Commits));
        assert!(outage.refused(Lane(0), &"wrong password"), "another outage");
        assert!(!outage.failed(Lane(0), &"gone"), "the same");
    }
}
