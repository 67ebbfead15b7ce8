//! Faults in the rows of an answer.

use super::query::{MINUTES_KEPT_S, Request};
use crate::digits::Fixed;
use crate::faults::RestFault;
use crate::market::Candle;

/// How long minutes are kept.
pub(super) fn minutes_kept(twists: &[RestFault]) -> u64 {
    twists
        .iter()
        .find_map(|twist| match twist {
            RestFault::MinutesKept { seconds } => Some(*seconds),
            _ => None,
        })
        .unwrap_or(MINUTES_KEPT_S)
}

/// Changes `rows`, which answer `request` at `now`, as each of `twists` says.
pub(super) fn apply(twists: &[RestFault], request: &Request<'_>, now: u64, rows: &mut Vec<Candle>) {
    let length = request.interval.length() * request.aggregate;
    let candle = |start| request.instrument.candle(start, length, now as f64);
    for twist in twists {
        match twist {
            RestFault::NoRows => rows.clear(),
            RestFault::ZeroRows => erase(rows, |_| true),
            RestFault::HistoryBegins { at } => erase(rows, |row| row.time < *at),
            RestFault::BoundaryRow => {
                let next = rows.last().map(|row| candle(row.time + length));
                rows.extend(next);
            }
            RestFault::RepeatedRow => {
                if let Some(first) = rows.first().copied() {
                    rows.insert(0, first);
                }
            }
            RestFault::MoreRows { rows: more } => {
                let first = rows.first().map_or(0, |row| row.time);
                let older =
                    (1..=*more).rev().map(|back| candle(first.saturating_sub(back * length)));
                rows.splice(0..0, older.collect::<Vec<_>>());
            }
            _ => {}
        }
    }
}

fn erase(rows: &mut [Candle], which: impl Fn(&Candle) -> bool) {
    for row in rows.iter_mut().filter(|row| which(row)) {
        *row = Candle::flat(row.time, Fixed::ZERO);
    }
}
