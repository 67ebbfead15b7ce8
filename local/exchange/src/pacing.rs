//! How many frames may leave by now. Frames go in small bursts, a few milliseconds apart, because
//! a timer per frame would cost more than the frame.

use std::num::NonZeroU32;
use std::time::Duration;

/// Between two bursts.
pub(crate) const TICK: Duration = Duration::from_millis(2);
/// After a stall no more than this much is made up for; the rest of the time is forgotten.
const MAX_CATCH_UP: Duration = Duration::from_millis(250);

/// Frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// So many.
    PerSecond(NonZeroU32),
    /// As many as the client takes.
    Unlimited,
}

/// Counts what may go.
#[derive(Debug)]
pub(crate) struct Pacer {
    rate: Rate,
    /// When the count began.
    since: Duration,
    sent: u64,
}

impl Pacer {
    /// Starts at `now`, a reading of any clock that only grows.
    pub(crate) fn new(rate: Rate, now: Duration) -> Self {
        Pacer { rate, since: now, sent: 0 }
    }

    /// How many frames may go at `now`, at most `max`.
    pub(crate) fn allowed(&mut self, now: Duration, max: u64) -> u64 {
        let Rate::PerSecond(rate) = self.rate else { return max };
        let rate = u64::from(rate.get());
        let due = |elapsed: Duration| {
            // One at once: at one frame a second nobody wants to wait for the first.
            1 + elapsed.as_secs() * rate + u64::from(elapsed.subsec_nanos()) * rate / 1_000_000_000
        };
        let elapsed = now.saturating_sub(self.since);
        let behind = due(elapsed).saturating_sub(self.sent);
        let at_most = due(MAX_CATCH_UP);
        if behind > at_most {
            self.since = now - MAX_CATCH_UP.min(now);
            self.sent = 0;
        }
        behind.min(at_most).min(max)
    }

    /// `n` frames have gone.
    pub(crate) fn went(&mut self, n: u64) {
        self.sent += n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn per_second(n: u32) -> Rate {
        Rate::PerSecond(NonZeroU32::new(n).unwrap())
    }

    /// Frames that leave in `seconds`, looked at every tick.
    fn run(rate: Rate, seconds: u64) -> u64 {
        let mut pacer = Pacer::new(rate, Duration::ZERO);
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while now <= Duration::from_secs(seconds) {
            let n = pacer.allowed(now, 1000);
            pacer.went(n);
            sent += n;
            now += TICK;
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_to_the_frame() {
        for rate in [1, 7, 333, 10_000, 150_000] {
            assert_eq!(run(per_second(rate), 10), 10 * u64::from(rate) + 1, "{rate}");
        }
    }

    #[test]
    fn after_a_stall_only_a_little_is_made_up_for() {
        let mut pacer = Pacer::new(per_second(1000), Duration::ZERO);
        assert_eq!(pacer.allowed(Duration::from_secs(3600), u64::MAX), 251);
        pacer.went(251);
        assert_eq!(pacer.allowed(Duration::from_secs(3600), u64::MAX), 0);
        assert_eq!(pacer.allowed(Duration::from_secs(3600) + TICK, u64::MAX), 2);
    }

    #[test]
    fn without_a_rate_only_the_batch_limits() {
        assert_eq!(Pacer::new(Rate::Unlimited, Duration::ZERO).allowed(Duration::ZERO, 77), 77);
    }
}
