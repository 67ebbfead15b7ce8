//! Candles by REST: what is wanted of which pair, page by page and within the vendor's limits, beside
//! the stream. Answers are published verbatim; an unreachable vendor delays this and nothing else.
//!
//! ```text
//!  start-up ─┐                                  Fetch
//!  gaps ─────┤        ┌────────────────────────┐ ──▶ client ──▶ https://…/data/v2/histo…
//!  commands ─┼─ jobs ▶│ machine::history (pure)│ ◀── answer
//!  backfill ─┘        │ jobs, budgets, waits   │ ──▶ spool          Publish
//!                     └────────────────────────┘ ──▶ state file     Save
//!                                                ──▶ who asked      Done
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`job`] | what is wanted, by whom, how far it is (pure) |
//! | [`walk`] | candles of one interval, page by page backwards (pure) |
//! | [`gap`] | which candles fill a gap (pure) |
//! | [`budget`] | how many calls may be made (pure) |
//! | [`answer`] | what an answer comes to (pure) |
//! | [`client`] | one request |
//! | [`driver`] | does what the region says |
//! | [`settings`] | the budgets as flags |
//!
//! **What a crash does.** A page's body goes into the spool first, then the progress is written down,
//! then the next page is asked for. A crash before the second step forgets one page, the one in flight:
//! it is fetched again, and its candles, which are in the raw topic twice then, collapse to one row each
//! in the database. A page whose progress is written down is never asked for again. (The other order
//! would lose the page.)

use tickpanda_model::candle::{Interval, Unit};
use tickpanda_model::control::History;
use tickpanda_model::time::Bucket;

pub mod answer;
pub mod budget;
pub mod client;
pub mod driver;
pub mod gap;
pub mod job;
pub mod settings;
pub mod walk;

/// A time for people: `2024-01-01T00:00:00Z`.
pub(crate) fn utc(seconds: i64) -> String {
    Bucket::new(seconds)
        .map_or_else(|| format!("{seconds} s"), |bucket| bucket.to_string().replace(".000Z", "Z"))
}

/// The newest `limit` candles of each interval for every pair that is subscribed to as trades,
/// ticker, index or candles; each pair once, in the order of the subs. Wildcards have no history.
pub fn jobs(subs: &[String], units: &[Unit], limit: u32) -> Vec<History> {
    let mut pairs: Vec<(&str, &str, &str)> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for sub in subs {
        let mut parts = sub.split('~');
        let (Some("0" | "2" | "5" | "24"), Some(market), Some(base), Some(quote)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let pair = (market, base, quote);
        if [market, base, quote].iter().all(|s| !s.is_empty() && *s != "*") && seen.insert(pair) {
            pairs.push(pair);
        }
    }
    let intervals = units.iter().filter_map(|unit| Interval::new(1, *unit));
    intervals
        .flat_map(|interval| {
            pairs.iter().map(move |(market, base, quote)| History {
                fsym: (*base).to_owned(),
                tsym: (*quote).to_owned(),
                e: (*market).to_owned(),
                interval,
                aggregate: None,
                from: None,
                to: None,
                limit: Some(limit),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests;
