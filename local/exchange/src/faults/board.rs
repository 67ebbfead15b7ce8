//! The orders that stand, and which of them strikes a given moment: plain values, with the time (since the
//! exchange started) as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::effects::Effects;
use super::fault::{Fault, Stage};
use super::moment::Moment;
use super::order::{Order, OrderError};

/// Orders that can stand at once.
const MAX_STANDING: usize = 1000;

/// An order that stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Standing {
    /// What [`Exchange::clear`](crate::Exchange::clear) takes.
    pub id: u64,
    /// What was ordered.
    #[serde(flatten)]
    pub order: Order,
    /// How often it has struck.
    pub struck: u64,
    /// Milliseconds until it is over, where it has a `for`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

#[derive(Debug)]
struct Entry {
    id: u64,
    order: Order,
    until: Option<Duration>,
    /// Strikes left.
    left: Option<u64>,
    struck: u64,
    /// Sockets that a fault that lies on sockets has taken hold of.
    holds: BTreeSet<u64>,
    /// Requests that it keeps waiting.
    hangs: u64,
}

impl Entry {
    fn is_over(&self, now: Duration) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// It strikes no more, and nobody waits for its end.
    fn is_spent(&self) -> bool {
        self.left == Some(0) && self.holds.is_empty() && self.hangs == 0
    }

    /// Takes one strike, if there is one left.
    fn spend(&mut self) -> bool {
        if self.left == Some(0) {
            return false;
        }
        self.left = self.left.map(|left| left - 1);
        self.struck += 1;
        true
    }
}

/// See the module's head.
#[derive(Debug, Default)]
pub(crate) struct Board {
    last_id: u64,
    entries: Vec<Entry>,
    /// Strikes of orders that no longer stand, by fault.
    past: BTreeMap<String, u64>,
}

impl Board {
    /// Takes an order; its number.
    pub(crate) fn give(&mut self, order: Order, now: Duration) -> Result<u64, OrderError> {
        order.check()?;
        self.sweep(now);
        if self.entries.len() >= MAX_STANDING {
            return Err(OrderError::TooMany("at most 1000 faults can stand at once"));
        }
        self.last_id += 1;
        self.entries.push(Entry {
            id: self.last_id,
            until: order.lasting.map(|lasting| now.saturating_add(lasting)),
            left: order.strikes(),
            struck: 0,
            holds: BTreeSet::new(),
            hangs: 0,
            order,
        });
        Ok(self.last_id)
    }

    /// Takes an order back. Whether it stood.
    pub(crate) fn clear(&mut self, id: u64) -> bool {
        let before = self.entries.len();
        self.remove(|entry| entry.id == id);
        self.entries.len() < before
    }

    /// Takes every order back; how many stood.
    pub(crate) fn clear_all(&mut self) -> usize {
        let before = self.entries.len();
        self.remove(|_| true);
        before
    }

    /// Whether nothing is ordered, not even something that is over.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether an order with this number stands.
    pub(crate) fn stands(&self, id: u64, now: Duration) -> bool {
        self.entries.iter().any(|entry| entry.id == id && !entry.is_over(now))
    }

    /// What strikes at `moment`, if anything: the oldest order that is for it. It has struck then.
    pub(crate) fn strike(&mut self, moment: &Moment<'_>, now: Duration) -> Option<(u64, Fault)> {
        self.sweep(now);
        let stage = moment.stage();
        let mut entries = self.entries.iter_mut().filter(|entry| {
            entry.order.fault.stage() == stage && moment.is_in(entry.id, &entry.order)
        });
        let entry = entries.find_map(|entry| entry.spend().then_some(entry))?;
        if entry.order.fault.keeps_waiting() {
            entry.hangs += 1;
        }
        Some((entry.id, entry.order.fault.clone()))
    }

    /// Everything that strikes at `moment`, for faults that go together.
    pub(crate) fn strike_all(&mut self, moment: &Moment<'_>, now: Duration) -> Vec<Fault> {
        self.sweep(now);
        let stage = moment.stage();
        let entries = self.entries.iter_mut().filter(|entry| entry.order.fault.stage() == stage);
        let mut faults = Vec::new();
        for entry in entries {
            if moment.is_in(entry.id, &entry.order) && entry.spend() {
                faults.push(entry.order.fault.clone());
            }
        }
        faults
    }

    /// One trade is struck by order `id`, unless it is over or has struck often enough.
    pub(crate) fn spend(&mut self, id: u64, now: Duration) -> bool {
        self.sweep(now);
        self.entries.iter_mut().find(|entry| entry.id == id).is_some_and(Entry::spend)
    }

    /// What lies on `socket` now. An order that counts sockets takes hold of this one, if it still can.
    pub(crate) fn effects(&mut self, socket: u64, now: Duration) -> Effects {
        self.sweep(now);
        let mut effects = Effects::default();
        for entry in &mut self.entries {
            let stage = entry.order.fault.stage();
            if !matches!(stage, Stage::Trait | Stage::Trade | Stage::Extra)
                || !entry.order.is_for_socket(socket)
            {
                continue;
            }
            let holds = match stage {
                Stage::Trait => {
                    entry.holds.contains(&socket) || (entry.spend() && entry.holds.insert(socket))
                }
                _ => entry.left != Some(0),
            };
            if holds {
                effects.add(entry.id, &entry.order);
                effects.until = effects.until.into_iter().chain(entry.until).min();
            }
        }
        effects
    }

    /// A request that order `id` kept waiting is gone.
    pub(crate) fn let_go(&mut self, id: u64) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
            entry.hangs = entry.hangs.saturating_sub(1);
        }
    }

    /// `socket` is gone: nothing lies on it any more.
    pub(crate) fn forget(&mut self, socket: u64) {
        for entry in &mut self.entries {
            entry.holds.remove(&socket);
        }
    }

    /// The orders that stand, oldest first.
    pub(crate) fn standing(&mut self, now: Duration) -> Vec<Standing> {
        self.sweep(now);
        let ms = |until: Duration| {
            u64::try_from(until.saturating_sub(now).as_millis()).unwrap_or(u64::MAX)
        };
        self.entries
            .iter()
            .filter(|entry| !entry.is_spent())
            .map(|entry| Standing {
                id: entry.id,
                order: entry.order.clone(),
                struck: entry.struck,
                left_ms: entry.until.map(ms),
            })
            .collect()
    }

    /// How often each fault has struck since the start.
    pub(crate) fn struck(&self) -> BTreeMap<String, u64> {
        let mut struck = self.past.clone();
        for entry in self.entries.iter().filter(|entry| entry.struck > 0) {
            *struck.entry(entry.order.fault.name()).or_default() += entry.struck;
        }
        struck
    }

    /// Removes what is over: by time, or because it has struck often enough and holds nothing.
    fn sweep(&mut self, now: Duration) {
        if self.entries.iter().any(|entry| entry.is_over(now) || entry.is_spent()) {
            self.remove(|entry| entry.is_over(now) || entry.is_spent());
        }
    }

    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        let past = &mut self.past;
        self.entries.retain(|entry| {
            let goes = which(entry);
            if goes && entry.struck > 0 {
                *past.entry(entry.order.fault.name()).or_default() += entry.struck;
            }
            !goes
        });
    }
}

#[cfg(test)]
mod tests;
