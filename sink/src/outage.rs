//! Waiting for something that is away: how long, and one log line an outage instead of one a try.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Whether something is away, as all see it who use it. Each user has a handle of its own (a clone), so
/// that one who is served does not end the outage of another who is not: a disk that is full fails the
/// writers and serves everybody else.
#[derive(Debug)]
pub(crate) struct Outage {
    shared: Arc<Shared>,
    me: u64,
}

#[derive(Debug)]
struct Shared {
    what: String,
    failures: Counter,
    users: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    state: State,
    /// Users whose last try failed, each since when.
    failing: BTreeMap<u64, Instant>,
    /// Whether it was said in this outage that we are not let in.
    refused: bool,
}

/// What was seen last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No try has ended yet.
    Unknown,
    /// It served, last at this moment.
    Serves(Instant),
    /// Somebody has not been served since this moment; why, in the words of the first failure, or of the
    /// first refusal.
    Away(Instant, String),
}

impl Outage {
    /// `what` names it for people, with its address.
    pub(crate) fn new(what: String) -> Self {
        Self::counted(what, Counter::default())
    }

    /// The same, with a counter for all tries that fail.
    pub(crate) fn counted(what: String, failures: Counter) -> Self {
        let seen =
            Mutex::new(Seen { state: State::Unknown, failing: BTreeMap::new(), refused: false });
        let shared = Shared { what, failures, users: AtomicU64::new(1), seen };
        Outage { shared: Arc::new(shared), me: 0 }
    }

    /// A try failed. The first failure is logged, the next ones are the same outage.
    pub(crate) fn failed(&self, error: &dyn Display) {
        self.shared.failures.inc();
        let now = Instant::now();
        let mut seen = self.shared.lock();
        seen.failing.entry(self.me).or_insert(now);
        if !matches!(seen.state, State::Away(..)) {
            seen.state = State::Away(now, error.to_string());
            warn!("{} does not serve, trying again until it does: {error}", self.shared.what);
        }
    }

    /// It answered a try, and does not let us in: a certificate, a name or a password. That is logged once
    /// in an outage, and is its reason from then on, also where the outage began as another: only a change
    /// of settings ends it.
    pub(crate) fn refused(&self, error: &dyn Display) {
        self.shared.failures.inc();
        let now = Instant::now();
        let mut seen = self.shared.lock();
        seen.failing.entry(self.me).or_insert(now);
        if !std::mem::replace(&mut seen.refused, true) {
            let since = if let State::Away(since, _) = seen.state { since } else { now };
            seen.state = State::Away(since, error.to_string());
            warn!("{} does not let us in, trying again until it does: {error}", self.shared.what);
        }
    }

    /// How long this user's tries have been failing, if they are.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        self.shared.lock().failing.get(&self.me).map(Instant::elapsed)
    }

    /// A try succeeded. The outage ends when nobody's tries fail any more.
    pub(crate) fn served(&self) {
        let mut seen = self.shared.lock();
        seen.failing.remove(&self.me);
        if !seen.failing.is_empty() {
            return;
        }
        seen.refused = false;
        let before = std::mem::replace(&mut seen.state, State::Serves(Instant::now()));
        if let State::Away(since, _) = before {
            let lasted = since.elapsed().as_secs_f64();
            info!("{} serves again after {lasted:.1} s", self.shared.what);
        }
    }

    /// What was seen last.
    pub(crate) fn state(&self) -> State {
        self.shared.lock().state.clone()
    }

    /// What it is about, for people.
    pub(crate) fn what(&self) -> &str {
        &self.shared.what
    }
}

impl Clone for Outage {
    /// Another user's handle.
    fn clone(&self) -> Self {
        let me = self.shared.users.fetch_add(1, Ordering::Relaxed);
        Outage { shared: Arc::clone(&self.shared), me }
    }
}

impl Drop for Outage {
    /// Who has gone fails no more; whether it would be served nobody knows.
    fn drop(&mut self) {
        let mut seen = self.shared.lock();
        let failed = seen.failing.remove(&self.me).is_some();
        if failed && seen.failing.is_empty() {
            (seen.state, seen.refused) = (State::Unknown, false);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    #[test]
    fn an_outage_ends_when_all_are_served_again() {
        let one = Outage::new("it".to_owned());
        let other = one.clone();
        assert_eq!(one.state(), State::Unknown);
        one.failed(&"no");
        other.served();
        assert!(matches!(other.state(), State::Away(_, why) if why == "no"), "one is not served");
        assert!(one.lasts().is_some() && other.lasts().is_none());
        other.failed(&"no");
        one.served();
        assert!(matches!(one.state(), State::Away(..)));
        other.served();
        assert!(matches!(one.state(), State::Serves(_)));
        other.failed(&"no");
        drop(other);
        assert_eq!(one.state(), State::Unknown, "nobody is left who knows");
    }

    #[test]
    fn a_refusal_becomes_the_reason_of_an_outage_that_had_begun_without_one() {
        let outage = Outage::new("it".to_owned());
        outage.failed(&"gone");
        let State::Away(since, _) = outage.state() else { panic!("{:?}", outage.state()) };
        outage.refused(&"wrong password");
        let refused = State::Away(since, "wrong password".to_owned());
        assert_eq!(outage.state(), refused);
        outage.failed(&"gone again");
        outage.refused(&"wrong name");
        assert_eq!(outage.state(), refused);
        outage.served();
        outage.failed(&"gone");
        outage.refused(&"wrong name");
        assert!(matches!(outage.state(), State::Away(_, why) if why == "wrong name"));
    }

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
