//! The frames of an interval, without a socket: what a client that was subscribed all the time would have got live.

use std::sync::Arc;

use super::{Kind, Market};

const NS_PER_MS: u64 = 1_000_000;

/// A frame that is due at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MarketFrame {
    /// When, in nanoseconds since the epoch. A trade's `TS` and `TSNS` are the same in whole milliseconds.
    pub at_ns: u64,
    /// The subscription that brings it; none for `{}`, which everybody gets who has one.
    pub sub: Option<String>,
    /// As it is sent.
    pub frame: String,
}

/// The frames of `subs` that are due after `from_ms` and not after `to_ms` (since the epoch), in order. Snapshots are
/// not among them.
pub(crate) fn frames_between<'a>(
    market: Arc<Market>,
    subs: impl IntoIterator<Item = &'a str>,
    from_ms: u64,
    to_ms: u64,
) -> Box<dyn Iterator<Item = MarketFrame> + Send> {
    let mut wanted = vec![false; market.channels.len()];
    for sub in subs {
        if let Some(&at) = market.by_sub.get(sub) {
            wanted[at] = true;
        }
    }
    let any = wanted.contains(&true);
    for (wanted, channel) in wanted.iter_mut().zip(&market.channels) {
        *wanted |= any && channel.kind == Kind::Empty;
    }
    let due = |ms: u64| market.due(ms.saturating_mul(NS_PER_MS));
    let events = if any { due(from_ms)..due(to_ms) } else { 0..0 };
    Box::new(events.filter_map(move |n| {
        let channel = market.schedule.channel(n);
        wanted[channel].then(|| {
            let mut frame = Vec::new();
            market.write(n, &mut frame);
            MarketFrame {
                at_ns: market.time_of(n),
                sub: market.subs.get(channel).cloned(),
                frame: String::from_utf8_lossy(&frame).into_owned(),
            }
        })
    }))
}
