//! Counters with labels, and times: written where something happens, read as plain values.
//!
//! Labels are text of the program's own, never of a vendor or an operator, so there is a bounded number
//! of them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Counts by `N` labels. For what happens rarely: it takes a lock.
#[derive(Debug, Default)]
pub struct Tally<const N: usize>(Mutex<BTreeMap<[&'static str; N], u64>>);

/// A [`Tally`] at one moment.
pub type Tallied<const N: usize> = BTreeMap<[&'static str; N], u64>;

impl<const N: usize> Tally<N> {
    /// One more of these.
    pub fn add(&self, labels: [&'static str; N]) {
        self.add_many(labels, 1);
    }

    /// So many more of these; with 0 they are shown from now on.
    pub fn add_many(&self, labels: [&'static str; N], count: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = counts.entry(labels).or_insert(0);
        *known = known.saturating_add(count);
    }

    /// The counts now.
    pub fn get(&self) -> Tallied<N> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How long things took, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Latencies {
    /// Upper ends in seconds, and how many took up to that and longer than the one before; the last one is
    /// of all that took longer.
    pub counts: Vec<(f64, u64)>,
    /// All times together, in seconds.
    pub sum: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_by_their_labels() {
        let tally = Tally::default();
        tally.add(["a", "x"]);
        tally.add(["a", "x"]);
        tally.add(["a", "y"]);
        tally.add_many(["b", "x"], 0);
        let expected = [(["a", "x"], 2), (["a", "y"], 1), (["b", "x"], 0)];
        assert_eq!(tally.get(), expected.into());
    }
}
