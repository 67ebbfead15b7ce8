//! How long to wait before the next attempt: exponential, capped, jittered. Pure; the caller brings
//! the random numbers and does the waiting.
//!
//! The jitter is added on top of the exponential step, never taken off it, because the vendor's
//! rule of at least 5 s between connections is a floor for every single attempt.

use std::time::Duration;

use rand::{Rng, RngExt};

/// Bounds of a [`Backoff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// First step, and the least wait ever.
    pub floor: Duration,
    /// Largest step; with jitter the longest wait is 1.5 times that.
    pub ceiling: Duration,
}

/// A run of failures, and how long to wait after each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure: `step + 0..step/2`, where `step` doubles from the floor up
    /// to the ceiling.
    pub fn next<R: Rng + ?Sized>(&mut self, bounds: Bounds, rng: &mut R) -> Duration {
        self.after(bounds, rng.random_range(0.0..=1.0))
    }

    /// As [`next`](Self::next), with the random number itself (0 to 1, others are cut to that).
    pub fn after(&mut self, bounds: Bounds, roll: f64) -> Duration {
        let roll = if roll.is_nan() { 0.0 } else { roll.clamp(0.0, 1.0) };
        let doubled = bounds.floor.saturating_mul(2u32.saturating_pow(self.failures));
        let step = doubled.min(bounds.ceiling.max(bounds.floor));
        self.failures = self.failures.saturating_add(1);
        step + step.div_f64(2.0).mul_f64(roll)
    }

    /// Forgets the failures. For a stream that means real data has come, not that a socket opened:
    /// a server that accepts and drops at once must not be called every 5 s for ever.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    const VENDOR: Bounds =
        Bounds { floor: Duration::from_secs(5), ceiling: Duration::from_secs(60) };

    proptest! {
        #[test]
        fn never_below_the_floor_never_above_the_cap(seed: u64, failures in 0u32..200) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut backoff = Backoff::default();
            for _ in 0..=failures {
                let wait = backoff.next(VENDOR, &mut rng);
                prop_assert!(wait >= VENDOR.floor, "{wait:?}");
                prop_assert!(wait <= VENDOR.ceiling.mul_f64(1.5), "{wait:?}");
            }
        }

        #[test]
        fn the_random_numbers_decide_the_jitter(seed: u64) {
            let waits = |seed| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut backoff = Backoff::default();
                (0..8).map(|_| backoff.next(VENDOR, &mut rng)).collect::<Vec<_>>()
            };
            prop_assert_eq!(waits(seed), waits(seed));
            prop_assert_ne!(waits(seed), waits(seed.wrapping_add(1)));
        }
    }

    #[test]
    fn a_roll_decides_as_a_generator_does() {
        for (roll, seconds) in [(0.0, 5.0), (0.5, 6.25), (1.0, 7.5), (-3.0, 5.0), (f64::NAN, 5.0)] {
            let wait = Backoff::default().after(VENDOR, roll).as_secs_f64();
            assert!((wait - seconds).abs() < 1e-6, "{roll}: {wait}");
        }
    }

    #[test]
    fn doubles_until_the_ceiling_and_starts_over_after_a_reset() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut backoff = Backoff::default();
        for step in [5, 10, 20, 40, 60, 60, 60] {
            let wait = backoff.next(VENDOR, &mut rng).as_secs_f64();
            assert!((f64::from(step)..=f64::from(step) * 1.5).contains(&wait), "{wait} for {step}");
        }
        backoff.reset();
        assert!(backoff.next(VENDOR, &mut rng) <= Duration::from_millis(7500));
    }
}
