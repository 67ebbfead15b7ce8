//! How many REST calls may be made: a bucket of tokens for each second, minute and hour. Pure; the
//! time is an argument.
//!
//! The vendor counts calls in windows whose borders nobody knows. A bucket that refills evenly lets
//! twice its size through in some window (a full bucket, and what comes back meanwhile), so here a
//! token comes back exactly one window after it was taken, rounded up to a slice of the window. In no
//! stretch of that length are more calls made than the bucket holds, wherever it begins.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Slices of a window: what is rounded up to, and the most that is remembered.
const SLICES: i64 = 20;
/// Calls a minute by default: half of what the vendor gives those without a subscription (20 a second,
/// 300 a minute, 3,000 an hour), because history and `backfill` have a budget each.
pub const PER_MINUTE: u32 = 150;

/// Buckets for a second, a minute and an hour; a call takes a token from each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    windows: Vec<Window>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Window {
    /// Its length, milliseconds.
    ms: i64,
    /// Tokens.
    most: u32,
    /// Tokens taken and not back yet: in which slice since the epoch, and how many.
    taken: VecDeque<(i64, u32)>,
}

impl Budget {
    /// So many calls a minute, a fifteenth of that a second, ten times that an hour: the proportions of
    /// the vendor's own limits.
    pub fn per_minute(calls: u32) -> Self {
        let window = |ms, most: u32| Window { ms, most: most.max(1), taken: VecDeque::new() };
        Budget {
            windows: vec![
                window(1000, calls / 15),
                window(60_000, calls),
                window(3_600_000, calls.saturating_mul(10)),
            ],
        }
    }

    /// The same tokens taken, and so many calls a minute from now on. For what an earlier process has
    /// written down: one that is started again and again must not have a full bucket each time.
    pub fn resized(self, calls: u32) -> Self {
        let mut new = Self::per_minute(calls);
        for window in &mut new.windows {
            if let Some(old) = self.windows.iter().find(|old| old.ms == window.ms) {
                window.taken = old.taken.clone();
            }
        }
        new
    }

    /// The first moment from `now` on at which a call may be made (both in ms since the epoch).
    pub fn next(&mut self, now: i64) -> i64 {
        self.windows.iter_mut().map(|window| window.next(now)).max().unwrap_or(now)
    }

    /// Makes a call, if it may be made now.
    pub fn take(&mut self, now: i64) -> bool {
        let may = self.next(now) <= now;
        if may {
            self.windows.iter_mut().for_each(|window| window.take(now));
        }
        may
    }

    /// How long so many more calls take at least, milliseconds.
    pub fn lasts(&self, now: i64, calls: u64) -> i64 {
        let lasts = |window: &Window| {
            let all = u64::from(window.used(now)).saturating_add(calls).saturating_sub(1);
            let full = i64::try_from(all / u64::from(window.most)).unwrap_or(i64::MAX);
            full.saturating_mul(window.ms)
        };
        if calls == 0 { 0 } else { self.windows.iter().map(lasts).max().unwrap_or(0) }
    }
}

impl Window {
    fn slice(&self, now: i64) -> i64 {
        now.div_euclid(self.ms / SLICES)
    }

    /// When the tokens of a slice are back.
    fn back(&self, slice: i64) -> i64 {
        (slice + 1 + SLICES) * (self.ms / SLICES)
    }

    /// Forgets tokens that are back. Ones from the future (the clock was set back) count as taken now,
    /// so that nobody waits for a year.
    fn settle(&mut self, now: i64) {
        let slice = self.slice(now);
        while self.taken.front().is_some_and(|(taken, _)| self.back(*taken) <= now) {
            self.taken.pop_front();
        }
        let mut calls = 0;
        while let Some((_, later)) = self.taken.pop_back_if(|(taken, _)| *taken >= slice) {
            calls += later;
        }
        if calls > 0 {
            self.taken.push_back((slice, calls));
        }
    }

    fn used(&self, now: i64) -> u32 {
        let out = self.taken.iter().filter(|(slice, _)| self.back(*slice) > now);
        out.map(|(_, calls)| calls).sum()
    }

    fn next(&mut self, now: i64) -> i64 {
        self.settle(now);
        let mut used = self.used(now);
        let mut at = now;
        for (slice, calls) in &self.taken {
            if used < self.most {
                break;
            }
            used = used.saturating_sub(*calls);
            at = at.max(self.back(*slice));
        }
        at
    }

    fn take(&mut self, now: i64) {
        self.settle(now);
        let slice = self.slice(now);
        match self.taken.back_mut() {
            Some((taken, calls)) if *taken == slice => *calls += 1,
            _ => self.taken.push_back((slice, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Calls as fast as the budget lets somebody who asks at these distances.
    fn calls(budget: &mut Budget, start: i64, steps: &[i64]) -> Vec<i64> {
        let mut now = start;
        let mut made = Vec::new();
        for step in steps {
            now = budget.next(now + step);
            assert!(budget.take(now));
            made.push(now);
        }
        made
    }

    proptest! {
        #[test]
        fn in_no_stretch_of_time_more_calls_are_made_than_the_window_has(
            per_minute in 1u32..400, start in 0i64..10_000_000, steps in prop::collection::vec(0i64..400, 1..700)
        ) {
            let mut budget = Budget::per_minute(per_minute);
            let made = calls(&mut budget, start, &steps);
            for (ms, most) in [(1000, per_minute / 15), (60_000, per_minute), (3_600_000, per_minute * 10)] {
                let most = most.max(1) as usize;
                for calls in made.windows(most + 1) {
                    prop_assert!(calls[most] - calls[0] >= ms, "{most} in {ms} ms: {calls:?}");
                }
            }
            for window in &budget.windows {
                prop_assert!(i64::try_from(window.taken.len()).unwrap() <= SLICES + 1, "nothing unbounded");
            }
        }

        #[test]
        fn who_waits_until_next_may_call_and_who_does_not_may_not(
            per_minute in 1u32..100, steps in prop::collection::vec(0i64..900, 1..200), early in 1i64..5000
        ) {
            let mut budget = Budget::per_minute(per_minute);
            let now = *calls(&mut budget, 1_000_000, &steps).last().unwrap();
            let next = budget.next(now);
            if next - early > now {
                prop_assert!(!budget.take(next - early));
            }
            prop_assert_eq!(budget.next(next), next);
            prop_assert!(budget.take(next));
        }
    }

    #[test]
    fn two_budgets_stay_within_what_the_vendor_gives_and_use_most_of_it() {
        let mut budget = Budget::per_minute(PER_MINUTE);
        let made = calls(&mut budget, 0, &[0; 3000]);
        // 3,000 of them: two hours' worth, 10 a second at most.
        assert_eq!(made.iter().filter(|at| **at < 1000).count(), 10);
        assert_eq!(made.iter().filter(|at| **at < 60_000).count(), 150);
        assert_eq!(made.iter().filter(|at| **at < 3_600_000).count(), 1500);
        assert!(*made.last().unwrap() < 2 * 3_600_000, "{:?}", made.last());
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody_for_longer_than_a_window() {
        let mut budget = Budget::per_minute(15);
        let year = 365 * 86_400_000;
        calls(&mut budget, year, &[0; 150]);
        let next = budget.next(1000);
        assert!((1001..=1000 + 3_600_000 + 180_000).contains(&next), "{next}");
        assert!(budget.take(next));
    }

    #[test]
    fn another_process_goes_on_with_what_the_last_one_took() {
        let mut budget = Budget::per_minute(30);
        calls(&mut budget, 0, &[0; 30]);
        let kept = serde_json::to_string(&budget).unwrap();
        let again: Budget = serde_json::from_str(&kept).unwrap();
        assert_eq!(again, budget);
        assert!(again.clone().resized(30).next(20_000) >= 60_000);
        assert_eq!(again.resized(60).next(20_000), 20_000);
    }

    #[test]
    fn how_long_calls_take_is_told_beforehand() {
        let budget = Budget::per_minute(PER_MINUTE);
        for (calls, seconds) in
            [(0, 0), (1, 0), (10, 0), (11, 1), (150, 14), (151, 60), (1501, 3600)]
        {
            assert_eq!(budget.lasts(0, calls), seconds * 1000, "{calls}");
        }
    }
}
