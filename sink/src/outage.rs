//! Waiting for something that is away: how long, and one log line an outage instead of one a try.

use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use rand::Rng;
use tracing::{info, warn};

/// Longest pause between two tries, so that work goes on soon after the other side is back.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// First pause.
const MIN_PAUSE: Duration = Duration::from_millis(50);

/// The pause before try `attempt` (0 is the first repetition): doubled each time up to a limit, and
/// between half and all of that by chance, so that many waiters do not come at once.
pub(crate) fn pause(attempt: u32, random: &mut impl Rng) -> Duration {
    let full = MIN_PAUSE.saturating_mul(1 << attempt.min(16)).min(MAX_PAUSE);
    full.mul_f64(rand::RngExt::random_range(random, 0.5..=1.0))
}

/// Waits for [`pause`].
pub(crate) async fn wait(attempt: u32) {
    let pause = pause(attempt, &mut rand::rng());
    tokio::time::sleep(pause).await;
}

/// Whether something is away, shared by all who need it.
#[derive(Debug)]
pub(crate) struct Outage {
    what: String,
    failures: Counter,
    state: Mutex<State>,
}

/// What was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No try has ended yet.
    Unknown,
    /// It served, last at this moment.
    Serves(Instant),
    /// It has not served since this moment; why, in the words of the first failure.
    Away(Instant, String),
}

impl Outage {
    /// `what` names it for people, with its address.
    pub(crate) fn new(what: String) -> Self {
        Self::counted(what, Counter::default())
    }

    /// The same, with a counter for all tries that fail.
    pub(crate) fn counted(what: String, failures: Counter) -> Self {
        Outage { what, failures, state: Mutex::new(State::Unknown) }
    }

    /// A try failed. The first failure is logged, the next ones are the same outage.
    pub(crate) fn failed(&self, error: &dyn Display) {
        self.failures.inc();
        let mut state = self.lock();
        if !matches!(*state, State::Away(..)) {
            *state = State::Away(Instant::now(), error.to_string());
            warn!("{} does not serve, trying again until it does: {error}", self.what);
        }
    }

    /// How long it has been away, if it is.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        match *self.lock() {
            State::Away(since, _) => Some(since.elapsed()),
            State::Unknown | State::Serves(_) => None,
        }
    }

    /// A try succeeded.
    pub(crate) fn served(&self) {
        let before = std::mem::replace(&mut *self.lock(), State::Serves(Instant::now()));
        if let State::Away(since, _) = before {
            info!("{} serves again after {:.1} s", self.what, since.elapsed().as_secs_f64());
        }
    }

    /// What was seen last.
    pub(crate) fn state(&self) -> State {
        self.lock().clone()
    }

    /// What it is about, for people.
    pub(crate) fn what(&self) -> &str {
        &self.what
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    proptest! {
        #[test]
        fn pauses_grow_but_never_beyond_the_limit(attempt: u32, seed: u64) {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let pause = pause(attempt, &mut random);
            prop_assert!(pause >= MIN_PAUSE / 2 && pause <= MAX_PAUSE);
            if attempt >= 6 {
                prop_assert!(pause >= MAX_PAUSE / 2);
            }
        }
    }

    #[test]
    fn an_outage_begins_with_the_first_failure_keeps_its_reason_and_counts_all() {
        let failures = Counter::default();
        let outage = Outage::counted("it".into(), failures.clone());
        assert_eq!(outage.state(), State::Unknown);
        outage.failed(&"refused");
        let first = outage.state();
        outage.failed(&"timed out");
        assert_eq!(outage.state(), first);
        assert!(matches!(first, State::Away(_, why) if why == "refused"));
        assert_eq!(failures.get(), 2);
        outage.served();
        assert!(matches!(outage.state(), State::Serves(_)));
    }
}
