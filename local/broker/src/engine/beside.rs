//! What a deploy must not do beside the transforms that are there: the rules of Redpanda's
//! `plugin_frontend.cc` that need to know them.

use std::collections::BTreeSet;

/// The topics of a transform.
#[derive(Debug, Clone, Copy)]
pub(super) struct Route<'a> {
    pub(super) input: &'a str,
    pub(super) outputs: &'a [String],
}

/// Whether records would come back to the topic that they came from: whether a way leads from what
/// `new` writes through transforms of `deployed` to what it reads.
pub(super) fn closes_a_circle(new: Route<'_>, deployed: &[Route<'_>]) -> bool {
    let mut reached = BTreeSet::new();
    let mut ahead: Vec<&str> = new.outputs.iter().map(String::as_str).collect();
    while let Some(topic) = ahead.pop() {
        if topic == new.input {
            return true;
        }
        if reached.insert(topic) {
            let from_here = deployed.iter().filter(|route| route.input == topic);
            ahead.extend(from_here.flat_map(|route| route.outputs).map(String::as_str));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_back_is_found_however_long_and_no_way_is_gone_twice() {
        let topics = |names: &str| names.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let routes =
            [("a", topics("b c")), ("b", topics("c d")), ("c", topics("d")), ("x", topics("a"))];
        let deployed: Vec<Route<'_>> =
            routes.iter().map(|(input, outputs)| Route { input, outputs }).collect();
        for (input, outputs, circle) in [
            ("a", "a", true),
            ("d", "e", false),
            ("d", "e a", true),
            ("d", "x", true),
            ("b", "a", true),
            ("a", "d", false),
            ("a", "b", false),
            ("e", "a", false),
        ] {
            let outputs = topics(outputs);
            let new = Route { input, outputs: &outputs };
            assert_eq!(closes_a_circle(new, &deployed), circle, "{new:?}");
        }
    }
}
