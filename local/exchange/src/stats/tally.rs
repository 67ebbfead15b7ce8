//! Data frames by subscription.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts frames of known subscriptions by their place in a list, without a lock.
#[derive(Debug)]
pub(crate) struct Tally {
    names: Vec<String>,
    places: HashMap<String, usize>,
    counts: Vec<AtomicU64>,
    /// `{}`, and TYPEs that nobody knows.
    others: AtomicU64,
}

impl Tally {
    pub(crate) fn new(names: &[String]) -> Self {
        Tally {
            names: names.to_vec(),
            places: names.iter().enumerate().map(|(at, name)| (name.clone(), at)).collect(),
            counts: names.iter().map(|_| AtomicU64::new(0)).collect(),
            others: AtomicU64::new(0),
        }
    }

    /// The name at `place`; none beyond the list.
    pub(crate) fn name(&self, place: usize) -> Option<&str> {
        self.names.get(place).map(String::as_str)
    }

    /// The list's own copy of `name`, which lives as long as the list.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.places.get(name).and_then(|&place| self.name(place))
    }

    pub(crate) fn add(&self, name: Option<&str>) {
        let place = name.and_then(|name| self.places.get(name));
        let count = place.map_or(&self.others, |&place| &self.counts[place]);
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The same for a place in the list.
    pub(crate) fn add_at(&self, place: usize) {
        self.counts.get(place).unwrap_or(&self.others).fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted; what belongs to no subscription under `?`.
    pub(crate) fn read(&self) -> BTreeMap<String, u64> {
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let named = self.names.iter().cloned().zip(counts);
        let others = [("?".to_owned(), self.others.load(Ordering::Relaxed))];
        named.chain(others).filter(|(_, count)| *count > 0).collect()
    }
}
