//! One connection's place in the synthetic market: which events it has had and which it wants.

use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;

use super::{Kind, Market};

/// Events looked at in one go; a channel that is not wanted costs nothing but the look.
const MAX_LOOKED_AT: u64 = 65_536;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Cursor {
    market: Arc<Market>,
    /// The first event not yet looked at.
    next: u64,
    /// By channel.
    wanted: Vec<bool>,
}

impl Cursor {
    /// Starts with the first event after `now_ns`.
    pub(crate) fn new(market: Arc<Market>, now_ns: u64) -> Self {
        let next = market.due(now_ns);
        let wanted = vec![false; market.channels.len()];
        Cursor { market, next, wanted }
    }

    /// The first event that has not been sent: a snapshot ends before it, so that nothing is missed.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// From now on only `subs` (and `{}`) are sent.
    pub(crate) fn want<'a>(&mut self, subs: impl Iterator<Item = &'a str>) {
        self.wanted.fill(false);
        for sub in subs {
            if let Some(&at) = self.market.by_sub.get(sub) {
                self.wanted[at] = true;
            }
        }
        let any = self.wanted.contains(&true);
        for (at, channel) in self.market.channels.iter().enumerate() {
            if channel.kind == Kind::Empty {
                self.wanted[at] = any;
            }
        }
    }

    /// Up to `max` wanted frames of events up to `now_ns`, as slices of one buffer, each with its channel.
    pub(crate) fn take(&mut self, now_ns: u64, max: usize) -> Vec<(usize, Utf8Bytes)> {
        let due = self.market.due(now_ns).min(self.next.saturating_add(MAX_LOOKED_AT));
        let (mut buffer, mut ends) = (Vec::new(), Vec::new());
        while self.next < due && ends.len() < max {
            let channel = self.market.schedule.channel(self.next);
            if self.wanted[channel] {
                self.market.write(self.next, &mut buffer);
                ends.push((channel, buffer.len()));
            }
            self.next += 1;
        }
        let buffer = Bytes::from(buffer);
        let starts = std::iter::once(0).chain(ends.iter().map(|&(_, end)| end));
        // The names in frames are ASCII (`Pair::fault`), so no frame is refused.
        starts
            .zip(&ends)
            .filter_map(|(start, &(channel, end))| {
                Some((channel, Utf8Bytes::try_from(buffer.slice(start..end)).ok()?))
            })
            .collect()
    }
}
