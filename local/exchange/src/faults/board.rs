//! The orders that stand, and which of them strikes a given moment: plain values, with the time (since the
//! exchange started) as an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use super::fault::{Fault, Stage};
use super::order::{Order, OrderError};

/// Orders that can stand at once.
const MAX_STANDING: usize = 1000;

/// A moment at which a fault may strike.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Moment<'a> {
    /// A socket asks for its upgrade.
    Upgrade { socket: u64 },
    /// It is about to be welcomed.
    Admission { socket: u64 },
    /// It is open.
    End { socket: u64 },
    /// Between two frames; before a data frame of `sub`, or at any time (`None`). Only orders after number `after`.
    Extra { socket: u64, sub: Option<&'a str>, after: u64 },
    /// The client has sent something.
    Message { socket: u64 },
    /// It asks for a subscription.
    Add { socket: u64, sub: &'a str },
    /// It gives one up.
    Remove { socket: u64, sub: &'a str },
    /// It makes a REST call; `path` has the query, without the key.
    Call { path: &'a str },
    /// The call's rows are about to be written.
    Rows { path: &'a str },
}

impl Moment<'_> {
    fn stage(&self) -> Stage {
        match self {
            Moment::Upgrade { .. } => Stage::Upgrade,
            Moment::Admission { .. } => Stage::Admission,
            Moment::End { .. } => Stage::End,
            Moment::Extra { .. } => Stage::Extra,
            Moment::Message { .. } => Stage::Message,
            Moment::Add { .. } => Stage::Add,
            Moment::Remove { .. } => Stage::Remove,
            Moment::Call { .. } => Stage::Call,
            Moment::Rows { .. } => Stage::Rows,
        }
    }

    fn is_in(&self, id: u64, order: &Order) -> bool {
        match *self {
            Moment::Upgrade { socket }
            | Moment::Admission { socket }
            | Moment::End { socket }
            | Moment::Message { socket } => order.is_for_socket(socket),
            Moment::Extra { socket, sub, after } => {
                id > after && order.is_for_socket(socket) && order.is_for_sub(sub)
            }
            Moment::Add { socket, sub } | Moment::Remove { socket, sub } => {
                order.is_for_socket(socket) && order.is_for_sub(Some(sub))
            }
            Moment::Call { path } | Moment::Rows { path } => order.is_for_path(path),
        }
    }
}

/// What lies on one socket now.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Effects {
    pub(crate) silent: bool,
    /// The exchange does not read.
    pub(crate) deaf: bool,
    pub(crate) no_heartbeats: bool,
    /// Parts of a message.
    pub(crate) fragments: Option<usize>,
    /// Bytes of a write.
    pub(crate) chop: Option<usize>,
    pub(crate) max_subs: Option<usize>,
    /// What happens to data frames, by order.
    pub(crate) data: Vec<(u64, Fault, Vec<String>)>,
    /// Frames that nobody asked for may strike.
    pub(crate) extras: bool,
    /// The first of all times at which this changes by itself.
    pub(crate) until: Option<Duration>,
}

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

impl Entry {
    fn is_spent(&self) -> bool {
        self.left == Some(0) && self.holds.is_empty() && self.hangs == 0
    }
}

impl Effects {
    fn add(&mut self, id: u64, order: &Order) {
        match &order.fault {
            Fault::Silent => self.silent = true,
            Fault::NotReading => self.deaf = true,
            Fault::NoHeartbeats => self.no_heartbeats = true,
            Fault::Fragments { parts } => self.fragments = Some(*parts),
            Fault::ChoppedWrites { bytes } => self.chop = Some(*bytes),
            Fault::TooManySubscriptions { max } => self.max_subs = Some(*max),
            Fault::HeartbeatsOnly
            | Fault::OutOfOrder { .. }
            | Fault::DuplicateTrades { .. }
            | Fault::MissingTrades { .. } => {
                self.data.push((id, order.fault.clone(), order.subs.clone()));
            }
            _ => self.extras = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::rest::{RestError, RestFault};

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_order_strikes_what_it_is_for_as_often_as_it_says_and_no_longer_than_it_lasts() {
        let mut board = Board::default();
        let order = Order::new(Fault::DropAtOnce).on_sockets([2, 3, 4]).times(2);
        board.give(order.lasting(at(100)), at(1000)).unwrap();
        let mut upgrade = |socket, ms| board.strike(&Moment::Upgrade { socket }, at(ms)).is_some();
        let strikes: Vec<bool> =
            [(1, 1000), (2, 1001), (3, 1100), (3, 1050)].map(|(s, ms)| upgrade(s, ms)).into();
        // Not selected; selected; over by time, and gone with that.
        assert_eq!(strikes, [false, true, false, false]);
        assert_eq!(board.struck(), BTreeMap::from([("drop_at_once".to_owned(), 1)]));

        board.give(Order::new(Fault::DropAtOnce).times(2), at(2000)).unwrap();
        let strikes =
            [1, 2, 3].map(|socket| board.strike(&Moment::Upgrade { socket }, at(9999)).is_some());
        assert_eq!(strikes, [true, true, false]);
        assert!(board.standing(at(9999)).is_empty());
        assert_eq!(board.struck()["drop_at_once"], 3);
    }

    #[test]
    fn a_fault_of_a_moment_strikes_once_unless_it_is_told_otherwise() {
        let mut board = Board::default();
        let ends = |board: &mut Board, now| {
            (1..=4).filter(|&socket| board.strike(&Moment::End { socket }, now).is_some()).count()
        };
        board.give(Fault::Kick.into(), at(0)).unwrap();
        assert_eq!(ends(&mut board, at(0)), 1);
        board.give(Order::new(Fault::Cut).times(3), at(0)).unwrap();
        assert_eq!(ends(&mut board, at(0)), 3);
        board.give(Order::new(Fault::Cut).lasting(at(10)), at(0)).unwrap();
        assert_eq!((ends(&mut board, at(9)), ends(&mut board, at(10))), (4, 0));
    }

    #[test]
    fn each_moment_has_faults_of_its_own() {
        let path = "/data/v2/histominute?fsym=BTC&tsym=USD";
        let moments = [
            Moment::Upgrade { socket: 1 },
            Moment::Admission { socket: 1 },
            Moment::End { socket: 1 },
            Moment::Extra { socket: 1, sub: None, after: 0 },
            Moment::Message { socket: 1 },
            Moment::Add { socket: 1, sub: "0~A~B~C" },
            Moment::Remove { socket: 1, sub: "0~A~B~C" },
            Moment::Call { path },
            Moment::Rows { path },
        ];
        for (fault, expected) in [
            (Fault::HalfOpen, 0),
            (Fault::NoWelcome, 1),
            (Fault::Kick, 2),
            (Fault::EmptyFrame, 3),
            (Fault::InvalidJson, 4),
            (Fault::InvalidSub, 5),
            (Fault::Unrecognized, 6),
            (Fault::Rest(RestFault::Error(RestError::NoData)), 7),
            (Fault::Rest(RestFault::ZeroRows), 8),
        ] {
            for (at_moment, moment) in moments.iter().enumerate() {
                let mut board = Board::default();
                board.give(fault.clone().into(), at(0)).unwrap();
                let struck = board.strike(moment, at(0)).is_some();
                assert_eq!(struck, at_moment == expected, "{fault:?} at {moment:?}");
            }
        }
    }

    #[test]
    fn selectors_hold_for_subs_and_paths() {
        let mut board = Board::default();
        board.give(Order::new(Fault::InvalidSub).on_subs(["0~A~*"]), at(0)).unwrap();
        let order = Order::new(Fault::Rest(RestFault::NoAnswer)).on_paths(["histominute"]);
        board.give(order, at(0)).unwrap();
        for (moment, expected) in [
            (Moment::Add { socket: 1, sub: "0~A~B~C" }, true),
            (Moment::Add { socket: 1, sub: "2~A~B~C" }, false),
            (Moment::Call { path: "/data/v2/histominute?fsym=BTC" }, true),
            (Moment::Call { path: "/data/v2/histohour?fsym=BTC" }, false),
        ] {
            assert_eq!(board.strike(&moment, at(0)).is_some(), expected, "{moment:?}");
        }
    }

    #[test]
    fn what_lies_on_sockets_keeps_the_sockets_it_took_hold_of() {
        let mut board = Board::default();
        let id = board.give(Order::new(Fault::Silent).times(1).lasting(at(50)), at(0)).unwrap();
        board.give(Order::new(Fault::Fragments { parts: 3 }).on_sockets([2]), at(0)).unwrap();
        let first = board.effects(1, at(0));
        assert_eq!((first.silent, first.fragments, first.until), (true, None, Some(at(50))));
        let second = board.effects(2, at(0));
        assert_eq!((second.silent, second.fragments, second.until), (false, Some(3), None));
        assert!(board.effects(1, at(49)).silent);
        assert!(board.stands(id, at(49)) && !board.stands(id, at(50)));
        assert_eq!(board.effects(1, at(50)), Effects::default());
        // One whose socket is gone has struck.
        board.give(Order::new(Fault::Silent).times(1), at(60)).unwrap();
        assert!(board.effects(3, at(60)).silent);
        board.forget(3);
        assert!(!board.effects(4, at(60)).silent);
        assert_eq!(board.struck()["silent"], 2);
    }

    #[test]
    fn an_extra_frame_comes_once_at_once_and_then_with_the_data() {
        let mut board = Board::default();
        board.give(Order::new(Fault::EmptyFrame).times(3), at(0)).unwrap();
        let mut extra = |sub, after| {
            board.strike(&Moment::Extra { socket: 1, sub, after }, at(0)).map(|(id, _)| id)
        };
        assert_eq!(extra(None, 0), Some(1));
        assert_eq!(extra(None, 1), None);
        assert_eq!(extra(Some("0~A~B~C"), 0), Some(1));
        assert_eq!(extra(Some("0~A~B~C"), 0), Some(1));
        assert_eq!(extra(Some("0~A~B~C"), 0), None);
    }

    #[test]
    fn an_order_stands_while_a_request_waits_for_its_end() {
        let mut board = Board::default();
        let id = board.give(Order::new(Fault::HalfOpen).times(1), at(0)).unwrap();
        assert!(board.strike(&Moment::Upgrade { socket: 1 }, at(0)).is_some());
        assert!(board.strike(&Moment::Upgrade { socket: 2 }, at(1)).is_none());
        assert!(board.stands(id, at(1)));
        board.let_go(id);
        assert!(board.standing(at(1)).is_empty());
    }

    #[test]
    fn there_is_a_limit_and_clearing_makes_room() {
        let mut board = Board::default();
        for _ in 0..MAX_STANDING {
            board.give(Fault::Silent.into(), at(0)).unwrap();
        }
        assert!(matches!(board.give(Fault::Silent.into(), at(0)), Err(OrderError::TooMany(_))));
        assert!(board.clear(7) && !board.clear(7));
        assert!(board.give(Fault::Silent.into(), at(0)).is_ok());
        assert_eq!(board.clear_all(), MAX_STANDING);
        assert!(board.is_empty());
    }
}
