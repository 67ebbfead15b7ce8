//! Where to read on in the control topic, whichever topic is found behind its name. Pure.
//!
//! | found | read on |
//! |---|---|
//! | a topic never seen | at its end: what is on it was not for this source |
//! | the known one | where reading ended |
//! | … with that place taken by retention | at what is left |
//! | … that ends before that place | at its end: what is on it may have been executed |
//! | … with a partition more | at that one's beginning: all of it is new |
//! | its successor (same cluster and name, another id) | at its beginning: all of it is new |
//!
//! A broker that gives topics no ids can't tell a successor, which then counts as the known one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Topics whose places are remembered: who moves between clusters and back finds the old place.
const REMEMBERED: usize = 8;

/// Which topic it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The cluster's id, where it has one.
    pub cluster: Option<String>,
    /// The topic's name.
    pub name: String,
    /// The topic's id, where the broker gives one.
    pub id: Option<String>,
}

/// A partition as it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The partition.
    pub partition: i32,
    /// The first offset that is there.
    pub earliest: i64,
    /// One after the last.
    pub latest: i64,
}

/// Next offsets, by topic, the one in use first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Places(Vec<Place>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    topic: Identity,
    next: BTreeMap<i32, i64>,
}

impl Places {
    /// The next offsets of the topic in use, by partition; nothing before one was found.
    pub fn current(&self) -> BTreeMap<i32, i64> {
        self.0.first().map(|place| place.next.clone()).unwrap_or_default()
    }

    /// A topic was found: decides where to read on. What an operator should know is returned in words.
    pub fn found(&mut self, topic: &Identity, bounds: &[Bounds]) -> Vec<String> {
        let mut notes = Vec::new();
        let known = self.0.iter().position(|place| place.topic == *topic);
        let mut place = match known {
            Some(at) => self.0.remove(at),
            None => Place { topic: topic.clone(), next: BTreeMap::new() },
        };
        let successor = self.0.iter().any(|place| succeeds(topic, &place.topic));
        let name = &topic.name;
        for &Bounds { partition, earliest, latest } in bounds {
            let next = match place.next.get(&partition) {
                Some(&next) if next > latest => {
                    notes.push(format!("{name}/{partition} ends at {latest}, before the place {next} where it was read: going on at its end"));
                    latest
                }
                Some(&next) if next < earliest => {
                    let lost = earliest - next;
                    notes.push(format!("{lost} records of {name}/{partition} were taken by retention before they were read"));
                    earliest
                }
                Some(&next) => next,
                None if known.is_some() || successor => earliest,
                None => latest,
            };
            place.next.insert(partition, next);
        }
        if known.is_none() {
            notes.push(match successor {
                true => format!("{name} was made anew: reading it from its beginning"),
                false => format!("{name} is new to this state folder: reading it from its end on"),
            });
        }
        self.0.insert(0, place);
        self.0.truncate(REMEMBERED);
        notes
    }

    /// This partition of the topic in use has been read up to here.
    pub fn advance(&mut self, partition: i32, next: i64) {
        if let Some(place) = self.0.first_mut() {
            let known = place.next.entry(partition).or_insert(next);
            *known = next.max(*known);
        }
    }
}

fn succeeds(new: &Identity, old: &Identity) -> bool {
    let both = new.id.is_some() && old.id.is_some() && new.cluster.is_some();
    both && new.id != old.id && new.cluster == old.cluster && new.name == old.name
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn topic(cluster: &str, name: &str, id: Option<&str>) -> Identity {
        let id = id.map(str::to_owned);
        Identity { cluster: Some(cluster.into()), name: name.into(), id }
    }

    fn bounds(partition: i32, earliest: i64, latest: i64) -> Bounds {
        Bounds { partition, earliest, latest }
    }

    #[test]
    fn each_topic_that_can_be_found_is_read_where_nothing_runs_twice() {
        let known = topic("c", "control", Some("1"));
        let mut places = Places::default();
        places.found(&known, &[bounds(0, 3, 10)]);
        assert_eq!(places.current(), [(0, 10)].into(), "old commands are not ours");
        places.advance(0, 12);

        for (what, found, there, next) in [
            ("the known one", known.clone(), vec![bounds(0, 3, 20)], vec![(0, 12)]),
            ("retention took the place", known.clone(), vec![bounds(0, 15, 20)], vec![(0, 15)]),
            ("it is shorter", known.clone(), vec![bounds(0, 0, 4)], vec![(0, 4)]),
            (
                "a partition more",
                known.clone(),
                vec![bounds(0, 0, 20), bounds(1, 0, 5)],
                vec![(0, 12), (1, 0)],
            ),
            ("made anew", topic("c", "control", Some("2")), vec![bounds(0, 0, 5)], vec![(0, 0)]),
            (
                "another cluster",
                topic("d", "control", Some("1")),
                vec![bounds(0, 0, 5)],
                vec![(0, 5)],
            ),
            ("another name", topic("c", "other", Some("2")), vec![bounds(0, 0, 5)], vec![(0, 5)]),
            ("no id", topic("c", "control", None), vec![bounds(0, 0, 5)], vec![(0, 5)]),
        ] {
            let mut places = places.clone();
            places.found(&found, &there);
            assert_eq!(places.current(), next.into_iter().collect(), "{what}");
        }
    }

    #[test]
    fn who_moves_to_another_cluster_and_back_finds_the_old_place() {
        let (one, other) = (topic("c", "t", Some("1")), topic("d", "t", Some("9")));
        let mut places = Places::default();
        places.found(&one, &[bounds(0, 0, 7)]);
        places.advance(0, 9);
        assert_eq!(places.found(&other, &[bounds(0, 0, 100)]).len(), 1);
        assert!(places.found(&one, &[bounds(0, 0, 12)]).is_empty(), "nothing to say");
        assert_eq!(places.current(), [(0, 9)].into());
        for n in 0..20 {
            places.found(&topic(&format!("c{n}"), "t", None), &[bounds(0, 0, 1)]);
        }
        assert_eq!(places.0.len(), REMEMBERED);
    }

    proptest! {
        #[test]
        fn a_place_is_always_inside_the_topic_and_never_goes_back(
            steps in prop::collection::vec((0..3i64, 0..5i64, 0..5i64), 1..30),
        ) {
            // A topic that only grows and is only cut at its beginning.
            let (mut earliest, mut latest, mut before) = (0, 0, 0);
            let mut places = Places::default();
            for (cut, grow, read) in steps {
                latest += grow;
                earliest = (earliest + cut).min(latest);
                places.found(&topic("c", "t", Some("1")), &[bounds(0, earliest, latest)]);
                let next = places.current()[&0];
                prop_assert!((earliest..=latest).contains(&next) && next >= before);
                places.advance(0, (next + read).min(latest));
                before = places.current()[&0];
            }
        }
    }
}
