//! A scenario's steps in the order of their times, repeated ones again and again; without a clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use super::desk::Desk;
use super::order::Order;
use super::scenario::{Deed, Scenario};

/// Orders of one name that can be cleared together; of more, the oldest are forgotten.
const MAX_IDS: usize = 1000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Action {
    /// The order, and the step's name.
    Order(Option<String>, Order),
    Clear(String),
    ClearAll,
    KickAll,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Timeline {
    scenario: Scenario,
    /// When, which step, how often it has been done.
    next: BinaryHeap<Reverse<(Duration, usize, u64)>>,
}

impl Timeline {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let steps = scenario.steps.iter().enumerate();
        let next = steps.map(|(index, step)| Reverse((step.at, index, 0))).collect();
        Timeline { scenario, next }
    }

    /// When the next step is due.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.next.peek().map(|Reverse((at, ..))| *at)
    }

    /// The next step.
    pub(crate) fn pop(&mut self) -> Option<Action> {
        let Reverse((at, index, done)) = self.next.pop()?;
        let step = self.scenario.steps.get(index)?;
        if let Some((every, times)) = step.repeat
            && times.is_none_or(|times| done + 1 < times)
        {
            self.next.push(Reverse((at.saturating_add(every), index, done + 1)));
        }
        Some(match &step.deed {
            Deed::Order(order) => Action::Order(step.name.clone(), order.clone()),
            Deed::Clear(name) => Action::Clear(name.clone()),
            Deed::ClearAll => Action::ClearAll,
            Deed::KickAll => Action::KickAll,
        })
    }
}

/// Carries actions out, and remembers which orders have which name.
#[derive(Debug, Default)]
pub(crate) struct Player {
    named: HashMap<String, Vec<u64>>,
}

impl Player {
    pub(crate) fn act(&mut self, action: Action, desk: &Desk) {
        match action {
            Action::Order(name, order) => {
                tracing::info!(fault = order.fault.name(), "the scenario orders a fault");
                match (desk.give(order), name) {
                    (Ok(id), Some(name)) => {
                        let ids = self.named.entry(name).or_default();
                        if ids.len() == MAX_IDS {
                            ids.remove(0);
                        }
                        ids.push(id);
                    }
                    (Ok(_), None) => {}
                    (Err(error), _) => {
                        tracing::warn!(%error, "a step of the scenario is not carried out");
                    }
                }
            }
            Action::Clear(name) => {
                for id in self.named.remove(&name).unwrap_or_default() {
                    desk.clear(id);
                }
            }
            Action::ClearAll => {
                desk.clear_all();
            }
            Action::KickAll => desk.kick(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Fault;

    #[test]
    fn steps_come_in_the_order_of_their_times_and_repeat_as_often_as_they_say() {
        let scenario = Scenario::parse(
            "- {at: 3s, kick: all}\n- {at: 1s, name: a, fault: silent, repeat: 1s, times: 3}\n- {at: 3s, clear: a}\n- {at: 10s, clear: all, repeat: 5s}",
        )
        .unwrap();
        let mut timeline = Timeline::new(scenario);
        let mut seen = Vec::new();
        while let Some(due) = timeline.due().filter(|due| due.as_secs() <= 20) {
            let what = match timeline.pop().unwrap() {
                Action::Order(..) => "order",
                Action::Clear(_) => "clear",
                Action::ClearAll => "clear all",
                Action::KickAll => "kick",
            };
            seen.push((due.as_secs(), what));
        }
        assert_eq!(
            seen,
            [
                (1, "order"),
                (2, "order"),
                (3, "kick"),
                (3, "order"),
                (3, "clear"),
                (10, "clear all"),
                (15, "clear all"),
                (20, "clear all")
            ]
        );
    }

    #[tokio::test]
    async fn a_name_clears_what_its_steps_ordered_and_nothing_else() {
        let (desk, mut player) = (Desk::new(), Player::default());
        let order = |name: &str| Action::Order(Some(name.to_owned()), Fault::Silent.into());
        for name in ["a", "b", "a"] {
            player.act(order(name), &desk);
        }
        player.act(Action::Clear("a".to_owned()), &desk);
        let left: Vec<u64> = desk.standing().iter().map(|order| order.id).collect();
        assert_eq!(left, [2]);
        player.act(Action::ClearAll, &desk);
        assert!(desk.standing().is_empty());
    }
}
