//! Which of the protocols that all members know a group uses: each votes for the one it likes best.

use std::collections::{BTreeMap, BTreeSet};

/// One member's protocols, the best first.
pub(super) type Ballot<'a> = Vec<&'a str>;

/// The protocols that are on every ballot.
pub(super) fn common<'a>(ballots: &[Ballot<'a>]) -> BTreeSet<&'a str> {
    let Some((first, others)) = ballots.split_first() else {
        return BTreeSet::new();
    };
    let on_all = |name: &&&str| others.iter().all(|ballot| ballot.contains(*name));
    first.iter().filter(on_all).copied().collect()
}

/// The protocol with the most votes; among equals the first by name. `None` if there is none in common.
pub(super) fn elect<'a>(ballots: &[Ballot<'a>]) -> Option<&'a str> {
    let common = common(ballots);
    let mut votes: BTreeMap<&str, usize> = common.iter().map(|name| (*name, 0)).collect();
    for ballot in ballots {
        let vote = ballot.iter().find(|name| common.contains(*name));
        if let Some(count) = vote.and_then(|name| votes.get_mut(name)) {
            *count += 1;
        }
    }
    let most = votes.values().max().copied()?;
    votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_know_and_most_prefer_is_used() {
        for (ballots, expected) in [
            (vec![], None),
            (vec![vec!["range"]], Some("range")),
            (vec![vec!["range", "sticky"], vec!["sticky", "range"]], Some("range")),
            (
                vec![
                    vec!["range", "sticky"],
                    vec!["sticky", "range"],
                    vec!["new", "sticky", "range"],
                ],
                Some("sticky"),
            ),
            (vec![vec!["range"], vec!["sticky"]], None),
            (vec![vec!["new", "range"], vec!["range"]], Some("range")),
        ] {
            assert_eq!(elect(&ballots), expected, "{ballots:?}");
        }
    }
}
