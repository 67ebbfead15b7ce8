//! The one place that reads the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use tokio::time::Instant;

use crate::machine::Moment;

/// Milliseconds since the epoch; a clock before 1970 counts as 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A clock for waits: it begins at the wall clock's time and then never goes back or jumps, whatever
/// becomes of that.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    epoch: i64,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Clock { started: Instant::now(), epoch: now_ms() }
    }

    /// Milliseconds since the epoch.
    pub fn ms(&self) -> i64 {
        let since = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.epoch.saturating_add(since)
    }

    /// Now, with a random number.
    pub fn moment(&self) -> Moment {
        Moment { ms: self.ms(), roll: rand::rng().random_range(0.0..=1.0) }
    }

    /// When this clock will show `ms`.
    pub fn at(&self, ms: i64) -> Instant {
        let since = u64::try_from(ms.saturating_sub(self.epoch)).unwrap_or(0);
        // A wait of more than a year is as good as none.
        self.started + std::time::Duration::from_millis(since.min(366 * 86_400_000))
    }
}
