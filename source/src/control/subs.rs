//! Which subs there are, and to which topics each is published: the settings' subs, plus what operators
//! added, minus what they removed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Each sub with the raw topics that get its frames: at least one.
pub type Routes = BTreeMap<String, BTreeSet<String>>;

/// A sub on its way to a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The vendor's sub string.
    pub sub: String,
    /// The raw topic; absent means the source's own, whatever its name is by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
}

/// What operators changed, relative to the settings: who later adds a sub to the settings or takes one
/// out finds just that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SubChanges {
    /// Beside those of the settings.
    pub added: BTreeSet<Route>,
    /// Of the settings, and not wanted.
    pub removed: BTreeSet<String>,
}

impl SubChanges {
    /// What is in effect.
    pub fn routes(&self, settings: &[String], raw_topic: &str) -> Routes {
        let kept = settings.iter().filter(|sub| !self.removed.contains(*sub));
        let kept = kept.map(|sub| (sub, raw_topic));
        let added = self.added.iter();
        let added = added.map(|route| (&route.sub, route.topic.as_deref().unwrap_or(raw_topic)));
        let mut routes = Routes::new();
        for (sub, topic) in kept.chain(added) {
            routes.entry(sub.clone()).or_default().insert(topic.to_owned());
        }
        routes
    }

    /// From now on the topic gets this sub.
    pub fn add(&mut self, settings: &[String], route: Route) {
        if route.topic.is_none() && settings.contains(&route.sub) {
            self.removed.remove(&route.sub);
        } else {
            self.added.insert(route);
        }
    }

    /// From now on it does not. Whether it did.
    pub fn remove(&mut self, settings: &[String], route: &Route) -> bool {
        let was_added = self.added.remove(route);
        let of_settings = route.topic.is_none() && settings.contains(&route.sub);
        let was_kept = of_settings && self.removed.insert(route.sub.clone());
        was_added || was_kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn route(sub: &str, topic: Option<&str>) -> Route {
        Route { sub: sub.into(), topic: topic.map(str::to_owned) }
    }

    fn shown(changes: &SubChanges, settings: &[&str]) -> String {
        let settings: Vec<_> = settings.iter().map(|&sub| sub.to_owned()).collect();
        let routes = changes.routes(&settings, "raw");
        let one = |(sub, topics): (&String, &BTreeSet<String>)| {
            format!("{sub}>{}", topics.iter().map(String::as_str).collect::<Vec<_>>().join("+"))
        };
        routes.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn changes_are_relative_to_the_settings_of_today() {
        let settings = ["a".to_owned(), "b".to_owned()];
        let mut changes = SubChanges::default();
        changes.add(&settings, route("c", None));
        changes.add(&settings, route("a", Some("raw-2")));
        assert!(changes.remove(&settings, &route("b", None)));
        assert_eq!(shown(&changes, &["a", "b"]), "a>raw+raw-2 c>raw");
        assert_eq!(shown(&changes, &["b", "d"]), "a>raw-2 c>raw d>raw");
        assert!(!changes.remove(&settings, &route("b", None)), "it is gone already");
        changes.add(&settings, route("b", None));
        assert!(changes.removed.is_empty());
    }

    proptest! {
        #[test]
        fn the_last_word_on_a_route_decides(
            words in prop::collection::vec((any::<bool>(), 0..4usize, 0..3usize), 0..40),
        ) {
            let settings = ["s0".to_owned(), "s1".to_owned()];
            let topics = [None, Some("raw-2"), Some("raw-3")];
            let mut changes = SubChanges::default();
            let mut expected: BTreeSet<(usize, usize)> = [(0, 0), (1, 0)].into();
            for (add, sub, topic) in words {
                let one = route(&format!("s{sub}"), topics[topic]);
                if add {
                    changes.add(&settings, one);
                    expected.insert((sub, topic));
                } else {
                    let was = changes.remove(&settings, &one);
                    prop_assert_eq!(was, expected.remove(&(sub, topic)));
                }
            }
            let routes = changes.routes(&settings, "raw");
            let found: BTreeSet<_> = routes.iter().flat_map(|(sub, all)| {
                let number = sub[1..].parse::<usize>().unwrap();
                all.iter().map(move |topic| {
                    let topic = topics.iter().position(|t| t.unwrap_or("raw") == topic);
                    (number, topic.unwrap())
                })
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
