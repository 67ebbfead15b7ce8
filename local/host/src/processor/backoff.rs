//! How long a processor rests after a failure: by the broker's rule, which looks at start attempts.

use std::time::{Duration, Instant};

use super::Timing;

/// Failures in a row, and when it was last started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    started: Instant,
    in_a_row: u32,
}

impl Backoff {
    /// Started for the first time.
    pub(super) fn new(now: Instant) -> Self {
        Self { started: now, in_a_row: 0 }
    }

    /// There is another start attempt.
    pub(super) fn started(&mut self, now: Instant) {
        self.started = now;
    }

    /// The rest after one more failure.
    pub(super) fn failed(&mut self, timing: &Timing, now: Instant) -> Duration {
        if now.saturating_duration_since(self.started) > timing.backoff_reset {
            self.in_a_row = 0;
        }
        let doubled = timing.backoff.saturating_mul(2_u32.saturating_pow(self.in_a_row));
        self.in_a_row = self.in_a_row.saturating_add(1);
        doubled.min(timing.max_backoff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_thirty_seconds_and_starts_over_ten_seconds_after_a_start() {
        let timing = Timing::broker();
        let mut now = Instant::now();
        let mut backoff = Backoff::new(now);
        // (seconds from the start attempt to the failure, the rest that follows)
        for (lasted, rest) in [
            (3, 1),
            (3, 2),
            (10, 4),
            (4, 8),
            (9, 16),
            (3, 30),
            (3, 30),
            (3, 30),
            (11, 1),
            (3, 2),
            (600, 1),
        ] {
            now += Duration::from_secs(lasted);
            let rests = backoff.failed(&timing, now);
            assert_eq!(rests, Duration::from_secs(rest), "after {lasted} s");
            now += rests;
            backoff.started(now);
        }
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let now = Instant::now();
        let mut backoff = Backoff { started: now, in_a_row: u32::MAX };
        assert_eq!(backoff.failed(&Timing::broker(), now), Duration::from_secs(30));
    }
}
