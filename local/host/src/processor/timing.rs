//! How long the broker waits for what.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The waits around a transform. Semantics are the same under both timings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From a start attempt until offsets are read and the transform runs: in the broker one commit
    /// interval, so that what ran before has committed.
    pub start_delay: Duration,
    /// From the first offset to be kept until it is.
    pub commit_interval: Duration,
    /// How long input that was found drained is not looked at again; up to half of it is added by
    /// chance. `None`: it is looked at whenever there is more.
    pub idle_poll: Option<Duration>,
    /// The rest after a first failure; doubled by each further one.
    pub backoff: Duration,
    /// The longest rest.
    pub max_backoff: Duration,
    /// A failure so long after the last start attempt counts as a first one.
    pub backoff_reset: Duration,
    /// The rest after a module could not be compiled or linked.
    pub create_retry: Duration,
    /// Whether offsets that could not be kept are tried again at the next interval. The broker lets them go:
    /// the next batch commits anyway, and until then a crash only repeats more.
    pub repeat_failed_commits: bool,
}

impl Timing {
    /// The broker's own waits (v24.2 and v24.3): 3 s before a start and between commits, and input is
    /// looked at every 1.0 to 1.5 s.
    pub const fn broker() -> Self {
        Self {
            start_delay: Duration::from_secs(3),
            commit_interval: Duration::from_secs(3),
            idle_poll: Some(Duration::from_secs(1)),
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(30),
            backoff_reset: Duration::from_secs(10),
            create_retry: Duration::from_secs(30),
            repeat_failed_commits: false,
        }
    }

    /// No wait before a start, input is transformed as soon as it is there, commits every second.
    pub const fn prompt() -> Self {
        Self {
            start_delay: Duration::ZERO,
            commit_interval: Duration::from_secs(1),
            idle_poll: None,
            repeat_failed_commits: true,
            ..Self::broker()
        }
    }
}

impl Default for Timing {
    /// [`Timing::prompt`].
    fn default() -> Self {
        Self::prompt()
    }
}

/// A number from 0 to 1 by chance: for hosts, whose waits must not all end at once.
pub fn chance() -> f64 {
    // The standard library draws its hashers' keys at random, which is all that is needed here.
    (RandomState::new().hash_one(()) >> 32) as f64 / f64::from(u32::MAX)
}
