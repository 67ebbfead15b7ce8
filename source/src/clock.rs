//! The one place that reads the wall clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand::RngExt as _;
use tokio::time::Instant;

use crate::machine::Moment;

/// Milliseconds since the epoch; a clock before 1970 counts as 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The wall clock, but that it never goes back: where it is set back, time goes on as it passes. Where it
/// jumps ahead (it was set, or the machine slept) so does this one, because what has not been heard of
/// meanwhile is missing meanwhile.
#[derive(Clone, Debug)]
pub struct Clock {
    started: Instant,
    /// What it showed then, and all jumps ahead since.
    epoch: Arc<AtomicI64>,
}

impl Clock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Clock { started: Instant::now(), epoch: Arc::new(AtomicI64::new(now_ms())) }
    }

    /// Milliseconds since the epoch.
    pub fn ms(&self) -> i64 {
        self.show(now_ms())
    }

    fn show(&self, wall: i64) -> i64 {
        let passed = i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX);
        let jumped = wall.saturating_sub(passed);
        let epoch = self.epoch.fetch_max(jumped, Ordering::Relaxed).max(jumped);
        epoch.saturating_add(passed)
    }

    /// Now, with a random number.
    pub fn moment(&self) -> Moment {
        Moment { ms: self.ms(), roll: rand::rng().random_range(0.0..=1.0) }
    }

    /// When this clock will show `ms`, unless it jumps.
    pub fn at(&self, ms: i64) -> Instant {
        let wait = u64::try_from(ms.saturating_sub(self.ms())).unwrap_or(0);
        // A wait of more than a year is as good as none.
        Instant::now() + Duration::from_millis(wait.min(366 * 86_400_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_follows_a_jump_ahead_and_never_goes_back() {
        let clock = Clock { started: Instant::now(), epoch: Arc::new(AtomicI64::new(1_000)) };
        assert_eq!(clock.show(1_000), 1_000);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(clock.show(1_500), 1_500);
        // Set back by a minute: it goes on as time passes.
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(clock.show(-58_000), 2_000);
        // Asleep for an hour, which a monotonic clock does not notice.
        assert_eq!(clock.show(3_602_000), 3_602_000);
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(clock.show(2_500), 3_602_500);
    }
}
