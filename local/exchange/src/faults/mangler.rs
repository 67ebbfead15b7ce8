//! What faults do to the data frames of one socket: some are left out, some come again, some change places. A plain
//! state machine: frames in, frames out; whether an order may strike once more is asked of a function.

use std::collections::VecDeque;

use axum::extract::ws::Utf8Bytes;

use super::fault::Fault;
use super::order::selects;
use crate::hash::{mix, unit};

/// A data frame on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// The subscription that brings it; `None` for `{}` and what nobody knows.
    pub(crate) sub: Option<&'a str>,
    pub(crate) frame: Utf8Bytes,
    /// What a subscription brings at once.
    pub(crate) snapshot: bool,
}

impl Item<'_> {
    fn is_trade(&self) -> bool {
        self.sub.is_some_and(|sub| sub.starts_with("0~"))
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Mangler<'a> {
    stages: Vec<Stage<'a>>,
    /// Frames that were left out.
    withheld: u64,
}

#[derive(Debug)]
struct Stage<'a> {
    id: u64,
    fault: Fault,
    subs: Vec<String>,
    /// Trades seen.
    trades: u64,
    /// Held back, or remembered.
    kept: VecDeque<Item<'a>>,
}

impl<'a> Mangler<'a> {
    /// These orders are in force from now on. What ended ones held back comes out.
    pub(crate) fn update(&mut self, data: &[(u64, Fault, Vec<String>)]) -> Vec<Item<'a>> {
        let mut freed = Vec::new();
        for stage in &mut self.stages {
            let stands = data.iter().any(|(id, ..)| *id == stage.id);
            if !stands && matches!(stage.fault, Fault::OutOfOrder { .. }) {
                stage.release(&mut freed);
            }
        }
        self.stages.retain(|stage| data.iter().any(|(id, ..)| *id == stage.id));
        for (id, fault, subs) in data {
            if !self.stages.iter().any(|stage| stage.id == *id) {
                self.stages.push(Stage {
                    id: *id,
                    fault: fault.clone(),
                    subs: subs.clone(),
                    trades: 0,
                    kept: VecDeque::new(),
                });
            }
        }
        freed
    }

    /// Whether frames pass as they are.
    pub(crate) fn is_idle(&self) -> bool {
        self.stages.is_empty()
    }

    /// What is sent in place of `item`. `spend` tells whether an order may strike one more trade.
    pub(crate) fn pass(
        &mut self,
        item: Item<'a>,
        spend: &mut dyn FnMut(u64) -> bool,
    ) -> Vec<Item<'a>> {
        let mut items = vec![item];
        for stage in &mut self.stages {
            let mut out = Vec::with_capacity(items.len());
            for item in items {
                if !stage.pass(item, spend, &mut out) {
                    self.withheld += 1;
                }
            }
            items = out;
        }
        items
    }

    /// Frames left out since this was last asked.
    pub(crate) fn take_withheld(&mut self) -> u64 {
        std::mem::take(&mut self.withheld)
    }

    /// Frames that are held back: lost, if the socket ends now.
    pub(crate) fn held(&self) -> u64 {
        let held = |stage: &Stage<'_>| match stage.fault {
            Fault::OutOfOrder { .. } => stage.kept.len() as u64,
            _ => 0,
        };
        self.stages.iter().map(held).sum()
    }
}

impl<'a> Stage<'a> {
    /// Whether the frame is (or will be) sent.
    fn pass(
        &mut self,
        item: Item<'a>,
        spend: &mut dyn FnMut(u64) -> bool,
        out: &mut Vec<Item<'a>>,
    ) -> bool {
        let is_trade = item.is_trade();
        if !selects(&self.subs, item.sub) || !(is_trade || self.fault == Fault::HeartbeatsOnly) {
            out.push(item);
            return true;
        }
        self.trades += 1;
        match self.fault {
            Fault::HeartbeatsOnly => return false,
            Fault::MissingTrades { every } => {
                if self.trades.is_multiple_of(every) && spend(self.id) {
                    return false;
                }
                out.push(item);
            }
            Fault::DuplicateTrades { probability, window, seed } => {
                self.kept.push_back(item.clone());
                if self.kept.len() > window {
                    self.kept.pop_front();
                }
                out.push(item);
                if unit(&[seed, self.trades]) < probability && spend(self.id) {
                    let at = draw(&[!seed, self.trades], self.kept.len());
                    out.extend(self.kept.get(at).cloned());
                }
            }
            Fault::OutOfOrder { window, .. } => {
                self.kept.push_back(item);
                if self.kept.len() >= window {
                    self.release(out);
                }
            }
            _ => out.push(item),
        }
        true
    }

    /// Lets go of what is held back, shuffled (Fisher-Yates).
    fn release(&mut self, out: &mut Vec<Item<'a>>) {
        let Fault::OutOfOrder { seed, .. } = self.fault else { return };
        for at in (1..self.kept.len()).rev() {
            let other = draw(&[seed, self.trades, at as u64], at + 1);
            self.kept.swap(at, other);
        }
        out.extend(self.kept.drain(..));
    }
}

/// One of `n` places.
fn draw(parts: &[u64], n: usize) -> usize {
    usize::try_from(mix(parts) % n.max(1) as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRADES: &str = "0~A~B~C";
    const OTHERS: &str = "2~A~B~C";

    fn item(sub: &'static str, n: usize) -> Item<'static> {
        Item { sub: Some(sub), frame: n.to_string().into(), snapshot: false }
    }

    fn numbers(items: &[Item<'_>]) -> Vec<usize> {
        items.iter().map(|item| item.frame.parse().unwrap()).collect()
    }

    /// A mangler with one order, and what it makes of 100 trades with a ticker between each two.
    fn mangle(fault: Fault, strikes: usize) -> (Mangler<'static>, Vec<Item<'static>>) {
        let mut mangler = Mangler::default();
        assert!(mangler.update(&[(1, fault, Vec::new())]).is_empty());
        let mut left = strikes;
        let mut spend = |id| {
            assert_eq!(id, 1);
            let may = left > 0;
            left = left.saturating_sub(1);
            may
        };
        let mut out = Vec::new();
        for n in 0..100 {
            out.extend(mangler.pass(item(TRADES, n), &mut spend));
            out.extend(mangler.pass(item(OTHERS, 1000 + n), &mut spend));
        }
        (mangler, out)
    }

    fn trades(items: &[Item<'static>]) -> Vec<usize> {
        let trades: Vec<_> = items.iter().filter(|it| it.sub == Some(TRADES)).cloned().collect();
        assert_eq!(items.len() - trades.len(), 100, "other frames are let alone");
        numbers(&trades)
    }

    #[test]
    fn every_nth_trade_is_missing_and_counted() {
        let (mut mangler, out) = mangle(Fault::MissingTrades { every: 10 }, usize::MAX);
        let missing: Vec<usize> = (0..100).filter(|n| !trades(&out).contains(n)).collect();
        assert_eq!(missing, [9, 19, 29, 39, 49, 59, 69, 79, 89, 99]);
        assert_eq!((mangler.take_withheld(), mangler.take_withheld()), (10, 0));
        let (mut mangler, out) = mangle(Fault::MissingTrades { every: 10 }, 3);
        assert_eq!((trades(&out).len(), mangler.take_withheld()), (97, 3));
    }

    #[test]
    fn trades_come_again_at_most_a_window_later_by_seed() {
        let fault = |seed| Fault::DuplicateTrades { probability: 0.3, window: 5, seed };
        let (mangler, out) = mangle(fault(1), usize::MAX);
        let sent = trades(&out);
        assert!((15..50).contains(&(sent.len() - 100)), "{} duplicates", sent.len() - 100);
        let mut first = [None; 100];
        let mut newest = 0;
        for &n in &sent {
            match first[n] {
                None => first[n] = Some(()),
                Some(()) => assert!(newest - n < 5, "{n} again after {newest}"),
            }
            newest = newest.max(n);
        }
        assert!(first.iter().all(Option::is_some), "none is lost");
        assert_eq!(mangler.held(), 0);
        assert_eq!(trades(&mangle(fault(1), usize::MAX).1), sent);
        assert_ne!(trades(&mangle(fault(2), usize::MAX).1), sent);
        assert_eq!(trades(&mangle(fault(1), 4).1).len(), 104);
    }

    #[test]
    fn trades_change_places_within_their_group_and_none_is_lost() {
        let fault = |seed| Fault::OutOfOrder { window: 8, seed };
        let (mut mangler, mut out) = mangle(fault(1), 0);
        assert_eq!(mangler.held(), 4);
        out.extend(mangler.update(&[]));
        assert!(mangler.is_idle());
        let mut sent = trades(&out);
        assert!(sent.windows(2).filter(|pair| pair[0] > pair[1]).count() > 20, "{sent:?}");
        for (at, group) in sent.chunks(8).enumerate() {
            assert!(group.iter().all(|n| n / 8 == at), "{group:?}");
        }
        assert_ne!(trades(&mangle(fault(2), 0).1)[..], sent[..96]);
        sent.sort_unstable();
        assert_eq!(sent, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_hushed_subscription_is_left_out_and_others_flow() {
        let mut mangler = Mangler::default();
        mangler.update(&[(1, Fault::HeartbeatsOnly, vec![OTHERS.to_owned()])]);
        let mut pass = |sub, n| numbers(&mangler.pass(item(sub, n), &mut |_| true));
        assert_eq!(pass(OTHERS, 1), [0; 0]);
        assert_eq!(pass(TRADES, 2), [2]);
        assert_eq!(mangler.take_withheld(), 1);
        // All of them, and `{}` too.
        mangler.update(&[(2, Fault::HeartbeatsOnly, Vec::new())]);
        let empty = Item { sub: None, frame: "{}".into(), snapshot: false };
        assert!(mangler.pass(empty, &mut |_| true).is_empty());
    }

    #[test]
    fn several_orders_act_one_after_the_other() {
        let mut mangler = Mangler::default();
        mangler.update(&[
            (1, Fault::MissingTrades { every: 2 }, Vec::new()),
            (2, Fault::DuplicateTrades { probability: 1.0, window: 1, seed: 0 }, Vec::new()),
        ]);
        let mut out = Vec::new();
        for n in 0..4 {
            out.extend(mangler.pass(item(TRADES, n), &mut |_| true));
        }
        assert_eq!(numbers(&out), [0, 0, 2, 2]);
    }
}
