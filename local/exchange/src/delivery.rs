//! Data frames on their way to one socket: mangled by faults, written into the journal, counted by subscription. While there
//! is neither fault nor journal, none of this is in their way ([`Delivery::is_plain`]).

use axum::extract::ws::Utf8Bytes;

use crate::faults::{Effects, Extra, Item, Mangler, Moment, extra};
use crate::journal::JournalEvent;
use crate::outlet::Outlet;
use crate::shared::Shared;
use crate::stats::add;

/// See the module's head.
pub(crate) struct Delivery<'a> {
    pub(crate) outlet: Outlet,
    shared: &'a Shared,
    /// Its number.
    pub(crate) socket: u64,
    mangler: Mangler<'a>,
    /// Frames may come that nobody asked for.
    extras: bool,
    /// The last order whose extra frame came at once.
    greeted: u64,
}

/// What goes out.
enum Out<'a> {
    Data(Item<'a>),
    Extra(Extra),
}

impl<'a> Delivery<'a> {
    pub(crate) fn new(outlet: Outlet, shared: &'a Shared, socket: u64) -> Self {
        Delivery { outlet, shared, socket, mangler: Mangler::default(), extras: false, greeted: 0 }
    }

    /// Frames can be handed to the outlet as they are, whole.
    pub(crate) fn is_plain(&self) -> bool {
        !self.extras
            && self.mangler.is_idle()
            && self.outlet.fragments.is_none()
            && self.shared.journal.is_none()
    }

    /// These faults are in force from now on.
    pub(crate) async fn obey(&mut self, effects: &Effects) -> Result<(), axum::Error> {
        self.outlet.fragments = effects.fragments;
        self.outlet.line().chop(effects.chop);
        self.extras = effects.extras;
        let freed = self.mangler.update(&effects.data);
        let sent = self.send(freed.into_iter().map(Out::Data).collect()).await?;
        self.outlet.flush().await?;
        add(&self.shared.counters.frames, sent);
        Ok(())
    }

    /// The extra frames that come at once, one of each order that is new.
    pub(crate) async fn greet(&mut self) -> Result<(), axum::Error> {
        while self.extras {
            let moment = Moment::Extra { socket: self.socket, sub: None, after: self.greeted };
            let Some((id, fault)) = self.shared.desk.strike_by(moment) else { break };
            self.greeted = id;
            self.send(extra(&fault, None).into_iter().map(Out::Extra).collect()).await?;
        }
        self.outlet.flush().await
    }

    /// Hands data frames over, as faults leave them; how many it were in the end. They leave with the next flush.
    pub(crate) async fn hand(&mut self, items: Vec<Item<'a>>) -> Result<u64, axum::Error> {
        let mut outs = Vec::with_capacity(items.len());
        for item in items {
            let mut spend = |id| self.shared.desk.spend(id);
            for item in self.mangler.pass(item, &mut spend) {
                if self.extras {
                    let moment = Moment::Extra { socket: self.socket, sub: item.sub, after: 0 };
                    let struck = self.shared.desk.strike(moment);
                    outs.extend(struck.and_then(|fault| extra(&fault, item.sub)).map(Out::Extra));
                }
                outs.push(Out::Data(item));
            }
        }
        add(&self.shared.counters.withheld_frames, self.mangler.take_withheld());
        self.send(outs).await
    }

    /// What the subscription `sub` brings at once.
    pub(crate) async fn hand_snapshot(
        &mut self,
        sub: &str,
        frames: Vec<String>,
    ) -> Result<u64, axum::Error> {
        // The bare spelling of a candle's sub is none of the list: its frames are counted under the full one.
        let sub = self.shared.tally.find(self.shared.market.full_name(sub).unwrap_or(sub));
        let item = |frame: String| Item { sub, frame: Utf8Bytes::from(frame), snapshot: true };
        self.hand(frames.into_iter().map(item).collect()).await
    }

    /// Writes the journal, then sends.
    async fn send(&mut self, outs: Vec<Out<'a>>) -> Result<u64, axum::Error> {
        if let Some(journal) = &self.shared.journal
            && !outs.is_empty()
        {
            let at = self.shared.config.clock.millis();
            for out in &outs {
                let (event, sub, bytes) = match out {
                    Out::Data(item) if item.snapshot => {
                        (JournalEvent::Snapshot, item.sub, item.frame.as_bytes())
                    }
                    Out::Data(item) => (JournalEvent::Frame, item.sub, item.frame.as_bytes()),
                    Out::Extra(extra) => (JournalEvent::Extra, None, extra.bytes()),
                };
                journal.frame(at, self.socket, event, sub, bytes);
            }
            journal.flush();
        }
        let mut sent = 0;
        for out in outs {
            match out {
                Out::Data(item) => {
                    self.shared.tally.add(item.sub);
                    self.outlet.text(item.frame).await?;
                    sent += 1;
                }
                Out::Extra(extra) => {
                    add(&self.shared.counters.extra_frames, 1);
                    self.outlet.extra(extra).await?;
                }
            }
        }
        Ok(sent)
    }

    /// The socket has ended: what was held back is lost, and counted.
    pub(crate) fn end(self) -> Outlet {
        add(&self.shared.counters.withheld_frames, self.mangler.held());
        self.outlet
    }
}
