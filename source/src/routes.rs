//! Which topics a frame is published to: the raw topic, unless the subs that gave it name others.
//!
//! ```text
//!  0~Coinbase~BTC~USD            ─▶ cryptocompare-raw
//!  0~Coinbase~ETH~USD (topic: x) ─▶ x
//!  both of one sub               ─▶ cryptocompare-raw and x
//!  nobody's (an unknown TYPE)    ─▶ cryptocompare-raw
//! ```

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::classify::Data;
use crate::sub::Sub;

/// Series whose topics are remembered; of more they are looked up each time.
const MOST: usize = 10_000;

/// The topics of all subs, by numbers that the caller gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes<T> {
    raw: T,
    /// All subs, as soon as one of them goes elsewhere: a frame goes to the topics of every sub that gives
    /// it, and a wildcard may give what another sub gives too.
    subs: Vec<(Sub, Vec<T>)>,
}

/// What was looked up, of one socket.
#[derive(Debug)]
pub struct Known<T>(HashMap<(Data, Box<[u8]>), Vec<T>>);

impl<T: Copy + Ord> Routes<T> {
    /// `subs` names the topics of each sub; those that have the raw topic alone may be left out.
    pub fn new(raw: T, subs: &BTreeMap<Sub, BTreeSet<T>>) -> Self {
        let only_raw = BTreeSet::from([raw]);
        let is_special = |topics: &BTreeSet<T>| *topics != only_raw && !topics.is_empty();
        let all = subs.iter().filter(|_| subs.values().any(is_special));
        let all = all.map(|(sub, topics)| (sub.clone(), topics.iter().copied().collect()));
        Routes { raw, subs: all.collect() }
    }

    /// The raw topic.
    pub fn raw(&self) -> T {
        self.raw
    }

    /// Whether every frame goes to the raw topic alone.
    pub fn is_plain(&self) -> bool {
        self.subs.is_empty()
    }

    /// The topics of a data frame with this record key.
    pub fn topics<'k>(&self, data: Data, key: &[u8], known: &'k mut Known<T>) -> &'k [T] {
        // The number differs from frame to frame, and has no say here.
        let name = (Data { ccseq: None, ..data }, Box::from(key));
        if known.0.len() >= MOST && !known.0.contains_key(&name) {
            known.0.clear();
        }
        known.0.entry(name).or_insert_with(|| self.look_up(data, key))
    }

    fn look_up(&self, data: Data, key: &[u8]) -> Vec<T> {
        let (Some(channel), Ok(key)) = (data.channel, std::str::from_utf8(key)) else {
            return vec![self.raw];
        };
        let given = self.subs.iter().filter(|(sub, _)| sub.gives(channel, key, data.unit));
        let topics: BTreeSet<T> = given.flat_map(|(_, topics)| topics.iter().copied()).collect();
        if topics.is_empty() { vec![self.raw] } else { topics.into_iter().collect() }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known(HashMap::new())
    }
}

impl<T> Known<T> {
    /// The routes are others now.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_where_its_subs_say_and_else_to_the_raw_topic() {
        let sub = |text| Sub::parse(text).unwrap();
        let subs = BTreeMap::from([
            (sub("0~A~B~C"), BTreeSet::from([0])),
            (sub("0~A~X~C"), BTreeSet::from([1])),
            (sub("2~A~X~C"), BTreeSet::from([0, 2])),
            (sub("24~A~X~C~H"), BTreeSet::from([1])),
            (sub("0~A~W~C"), BTreeSet::from([0])),
            (sub("0~*~W~C"), BTreeSet::from([1])),
        ]);
        let routes = Routes::new(0, &subs);
        let mut known = Known::default();
        for (channel, key, unit, topics) in [
            (Some(0), "A~B~C", None, vec![0]),
            (Some(0), "A~X~C", None, vec![1]),
            (Some(2), "A~X~C", None, vec![0, 2]),
            (Some(24), "A~X~C", Some(b'H'), vec![1]),
            (Some(24), "A~X~C", Some(b'm'), vec![0]),
            (Some(99), "A~X~C", None, vec![0]),
            (None, "?", None, vec![0]),
            // By its own sub and by a wildcard.
            (Some(0), "A~W~C", None, vec![0, 1]),
            (Some(0), "B~W~C", None, vec![1]),
        ] {
            for ccseq in [None, Some(1), Some(2)] {
                let data = Data { channel, unit, ccseq };
                assert_eq!(routes.topics(data, key.as_bytes(), &mut known), topics, "{key}");
            }
        }
        assert_eq!(known.0.len(), 9);
        assert!(!routes.is_plain());
        assert!(
            Routes::new(0, &BTreeMap::from([(sub("0~A~B~C"), BTreeSet::from([0]))])).is_plain()
        );
    }
}
