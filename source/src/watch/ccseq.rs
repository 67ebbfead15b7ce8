//! Missing numbers in a pair's CCSEQ, the vendor's count of the trades that it discovered: "+1 per newly
//! discovered trade, not chronological" (its documentation of TYPE 0). A number that is skipped may
//! still come, so it counts as missing only after a while. Pure.

use std::collections::VecDeque;

/// Holes that are waited for at once, of one pair; the oldest counts as missing when there are more.
const MOST: usize = 64;
/// A number so far from what was expected is a new count, not a hole: the vendor began anew.
const ANEW: u64 = 1_000_000;

/// The numbers of one pair, as seen on one or several sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ccseq {
    /// The next number expected, and when the one before it came.
    next: Option<(u64, i64)>,
    holes: VecDeque<Hole>,
}

/// Numbers that were skipped, and not seen since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hole {
    first: u64,
    last: u64,
    /// When the number before them came.
    from: i64,
    /// When it was noticed.
    to: i64,
}

/// Trades that the vendor numbered and that never came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first one's number.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// When the trade before them came, milliseconds since the epoch.
    pub from: i64,
    /// When the trade after them came.
    pub to: i64,
}

impl From<Hole> for Missing {
    fn from(Hole { first, last, from, to }: Hole) -> Self {
        Missing { first, count: last - first + 1, from, to }
    }
}

impl Ccseq {
    /// A trade with this number came. Returns what is given up for lack of room.
    pub fn seen(&mut self, n: u64, now: i64) -> Option<Missing> {
        let Some((next, before)) = self.next else {
            self.next = Some((n.saturating_add(1), now));
            return None;
        };
        if n.abs_diff(next) > ANEW {
            self.next = Some((n.saturating_add(1), now));
            self.holes.clear();
            return None;
        }
        if n < next {
            self.fill(n);
            return None;
        }
        self.next = Some((n.saturating_add(1), now));
        if n > next {
            self.holes.push_back(Hole { first: next, last: n - 1, from: before, to: now });
        }
        if self.holes.len() > MOST { self.holes.pop_front().map(Missing::from) } else { None }
    }

    /// A number that was skipped has come after all.
    fn fill(&mut self, n: u64) {
        let Some(at) = self.holes.iter().position(|hole| (hole.first..=hole.last).contains(&n))
        else {
            return; // seen before: a replay
        };
        let hole = self.holes[at];
        let left = (hole.first < n).then(|| Hole { last: n - 1, ..hole });
        let right = (n < hole.last).then(|| Hole { first: n + 1, ..hole });
        match (left, right) {
            (Some(left), Some(right)) => {
                self.holes[at] = left;
                self.holes.insert(at + 1, right);
            }
            (Some(one), None) | (None, Some(one)) => self.holes[at] = one,
            (None, None) => _ = self.holes.remove(at),
        }
    }

    /// What has been waited for longer than `patience` milliseconds, and is given up.
    pub fn overdue(&mut self, now: i64, patience: i64) -> Vec<Missing> {
        // Not in order of age: filling a hole in its middle leaves two of the same age.
        let (gone, kept) = self.holes.iter().partition(|hole| now - hole.to > patience);
        let gone: VecDeque<Hole> = gone;
        self.holes = kept;
        gone.into_iter().map(Missing::from).collect()
    }

    /// Whether a hole is waited for.
    pub fn waits(&self) -> bool {
        !self.holes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_was_skipped_and_does_not_come_is_missing_with_its_interval() {
        let mut ccseq = Ccseq::default();
        for (n, now) in [(10, 1000), (11, 1100), (15, 1200), (13, 1300), (16, 1400)] {
            assert_eq!(ccseq.seen(n, now), None);
        }
        assert_eq!(ccseq.overdue(1400, 5000), []);
        let missing = |first, count| Missing { first, count, from: 1100, to: 1200 };
        assert_eq!(ccseq.overdue(7000, 5000), [missing(12, 1), missing(14, 1)]);
        assert_eq!(ccseq.overdue(9000, 5000), [], "said once");
    }

    #[test]
    fn replays_late_ones_and_a_count_that_begins_anew_are_no_holes() {
        let mut ccseq = Ccseq::default();
        for n in [100, 101, 100, 90, 102, 104, 103, 5_000_000, 5_000_001, 3, 4, u64::MAX, 7] {
            assert_eq!(ccseq.seen(n, 0), None);
        }
        assert_eq!(ccseq.overdue(i64::MAX / 2, 0), []);
    }

    proptest! {
        /// Some of a range of numbers, in any order within a window, some of them twice.
        #[test]
        fn exactly_the_numbers_that_never_came_are_missing(
            lost in proptest::collection::btree_set(1u64..299, 0..20),
            mut order in Just((0..=300u64).collect::<Vec<_>>()),
            swaps in proptest::collection::vec((0usize..300, 0usize..8), 0..12),
            again in proptest::collection::vec(0usize..250, 0..20),
        ) {
            order.retain(|n| !lost.contains(n));
            let last = order.len() - 1;
            for (at, by) in swaps {
                // The first and the last stay: outside of them nobody knows of a hole.
                let (a, b) = (at.clamp(1, last - 1), (at + by).clamp(1, last - 1));
                order.swap(a, b);
            }
            for at in again {
                let n = order[at.min(last)];
                order.push(n);
            }
            let (mut ccseq, mut missing) = (Ccseq::default(), BTreeSet::new());
            let mut take = |found: Missing| missing.extend(found.first..found.first + found.count);
            for (now, n) in order.into_iter().enumerate() {
                let now = i64::try_from(now).unwrap();
                ccseq.seen(n, now).into_iter().for_each(&mut take);
            }
            ccseq.overdue(i64::MAX / 2, 0).into_iter().for_each(&mut take);
            prop_assert_eq!(missing, lost);
        }
    }
}
