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
        let oldest =
            self.holes.front().map(|hole| hole.from).filter(|_| self.holes.len() > MOST)?;
        self.give_up(|hole| hole.from == oldest).pop()
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
        let waits: Vec<i64> = (self.holes.iter())
            .filter(|hole| now - hole.to <= patience)
            .map(|hole| hole.from)
            .collect();
        self.give_up(|hole| !waits.contains(&hole.from))
    }

    /// Gives holes up. Those that begin with the same moment are one: by it a gap is told apart from
    /// others, and trades that arrive together, or a hole that was filled in its middle, leave several.
    fn give_up(&mut self, which: impl Fn(&Hole) -> bool) -> Vec<Missing> {
        let (gone, kept) = self.holes.iter().partition(|hole| which(hole));
        self.holes = kept;
        let gone: VecDeque<Hole> = gone;
        let mut missing: Vec<Missing> = Vec::new();
        for hole in gone.into_iter().map(Missing::from) {
            match missing.iter_mut().find(|other| other.from == hole.from) {
                Some(other) => {
                    other.count += hole.count;
                    other.to = other.to.max(hole.to);
                }
                None => missing.push(hole),
            }
        }
        missing
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
        assert_eq!(ccseq.overdue(7000, 5000), [missing(12, 2)]);
        assert_eq!(ccseq.overdue(9000, 5000), [], "said once");
    }

    #[test]
    fn holes_among_trades_that_arrive_together_are_one_when_the_last_of_them_is_overdue() {
        let mut ccseq = Ccseq::default();
        for (n, now) in [(1, 100), (3, 100), (5, 100), (7, 190), (9, 200)] {
            assert_eq!(ccseq.seen(n, now), None);
        }
        assert_eq!(
            ccseq.overdue(1150, 1000),
            [],
            "7 came after 5, and so did what is between them"
        );
        let missing = |first, count, from, to| Missing { first, count, from, to };
        assert_eq!(ccseq.overdue(1191, 1000), [missing(2, 3, 100, 190)]);
        assert_eq!(ccseq.overdue(1201, 1000), [missing(8, 1, 190, 200)]);
    }

    #[test]
    fn more_holes_than_are_waited_for_are_given_up_oldest_first() {
        let mut ccseq = Ccseq::default();
        let found: Vec<_> =
            (0..=66i64).filter_map(|at| ccseq.seen(2 * at.unsigned_abs(), at)).collect();
        let missing = |first, from| Missing { first, count: 1, from, to: from + 1 };
        assert_eq!(found, [missing(1, 0), missing(3, 1)]);
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
            let mut ccseq = Ccseq::default();
            for (now, n) in order.into_iter().enumerate() {
                // Four arrive together.
                prop_assert_eq!(ccseq.seen(n, i64::try_from(now / 4).unwrap()), None);
            }
            let missing: BTreeSet<u64> =
                ccseq.holes.iter().flat_map(|hole| hole.first..=hole.last).collect();
            prop_assert_eq!(&missing, &lost);
            let told = ccseq.overdue(i64::MAX / 2, 0);
            prop_assert_eq!(told.iter().map(|told| told.count).sum::<u64>(), lost.len() as u64);
            let moments: BTreeSet<i64> = told.iter().map(|told| told.from).collect();
            prop_assert_eq!(moments.len(), told.len(), "each is a gap of its own");
        }
    }
}
