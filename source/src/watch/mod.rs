//! What a socket's subs give, frame by frame: whether the data of each is alive, and which trades
//! the vendor numbered and never sent. Pure; times come in as milliseconds since the epoch.
//!
//! ```text
//!  frame ──▶ Watch::frame ──▶ the sub's rhythm, its CCSEQ
//!  every second ──▶ Watch::check ──▶ alarms (ask again, reconnect), missing trades
//! ```
//!
//! That frames of *some* kind come proves nothing of a sub: heartbeats come without data, and one
//! pair can fall silent among many. So each has its own [`Rhythm`]; only its silence counts, and only
//! once the vendor has been asked for it. A sub that never gave anything is silent from the start: the
//! vendor sends the latest data at once with every subscription.

use std::collections::HashMap;

use crate::sub::Sub;

mod ccseq;
mod rhythm;

pub use ccseq::{Ccseq, Missing};
pub use rhythm::Rhythm;

/// How patient a [`Watch`] is, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// No silence shorter than this is suspicious.
    pub floor: i64,
    /// A sub has given nothing at all for so long after it was asked for.
    pub first_data: i64,
    /// A skipped CCSEQ may still come for so long.
    pub ccseq: i64,
    /// The most that repeated alarms of one sub are apart.
    pub ceiling: i64,
}

impl Default for Patience {
    fn default() -> Self {
        Patience { floor: 30_000, first_data: 60_000, ccseq: 10_000, ceiling: 6 * 3_600_000 }
    }
}

/// Pairs behind wildcards that are followed one by one; of more the data is published all the same.
const MOST: usize = 100_000;

/// Only their numbers are followed: a hole in an order book's is another matter.
const TRADES: u8 = 0;
/// Channels are 0 to 30; what comes on another one is published, and not watched.
const CHANNELS: usize = 31;

/// A socket's subs.
#[derive(Debug)]
pub struct Watch {
    subs: Vec<Watched>,
    /// For each channel by record key: what is expected, and what was seen.
    series: [HashMap<Box<[u8]>, Followed>; CHANNELS],
}

/// A sub.
#[derive(Debug)]
struct Watched {
    sub: Sub,
    /// When the vendor was last asked for it; `None` while it is not (no socket, or refused).
    asked: Option<i64>,
    /// When data of it came last, on any socket.
    last: Option<i64>,
    rhythm: Rhythm,
    /// Alarms since data came last.
    alarms: u32,
    /// When the latest of them was raised.
    alarmed: i64,
}

/// One pair's data on one channel.
#[derive(Debug)]
struct Followed {
    /// Which subs it belongs to: those of one pair are few (a candle's periods).
    subs: Vec<(usize, Option<u8>)>,
    ccseq: Ccseq,
}

/// A sub whose data does not come, though it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The sub.
    pub sub: Sub,
    /// When data of it came last, or when it was asked for where nothing ever came.
    pub silent_since: i64,
    /// Nothing has come since it was asked for.
    pub from_the_start: bool,
    /// How many alarms of this silence were raised before.
    pub before: u32,
}

/// What [`Watch::check`] finds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Subs to ask the vendor for again.
    pub alarms: Vec<Alarm>,
    /// Asking again has not helped any of the subs that should give data: the socket is of no use.
    pub useless: bool,
    /// Trades that never came, with the record key of their pair.
    pub missing: Vec<(String, Missing)>,
}

impl Default for Watch {
    fn default() -> Self {
        Watch { subs: Vec::new(), series: std::array::from_fn(|_| HashMap::new()) }
    }
}

impl Watch {
    /// Follows these subs from now on, and no others; what was learned of those that stay is kept.
    pub fn want<'a>(&mut self, subs: impl IntoIterator<Item = &'a Sub>) {
        let mut known: HashMap<Sub, Watched> =
            self.subs.drain(..).map(|watched| (watched.sub.clone(), watched)).collect();
        let fresh = |sub: &Sub| Watched {
            sub: sub.clone(),
            asked: None,
            last: None,
            rhythm: Rhythm::default(),
            alarms: 0,
            alarmed: 0,
        };
        self.subs =
            subs.into_iter().map(|sub| known.remove(sub).unwrap_or_else(|| fresh(sub))).collect();
        let old = std::mem::replace(&mut self.series, std::array::from_fn(|_| HashMap::new()));
        for (at, watched) in self.subs.iter().enumerate() {
            let Some(of_channel) =
                watched.sub.channel().and_then(|channel| self.series.get_mut(usize::from(channel)))
            else {
                continue;
            };
            if watched.sub.is_wildcard() && watched.sub.pair().is_none_or(wild) {
                continue;
            }
            let (key, unit) = key_of(&watched.sub);
            let followed = of_channel
                .entry(key.into_bytes().into_boxed_slice())
                .or_insert_with(|| Followed { subs: vec![], ccseq: Ccseq::default() });
            followed.subs.push((at, unit));
        }
        // The numbers go on, also of pairs behind wildcards.
        for (channel, of_channel) in (0u8..).zip(old) {
            for (key, followed) in of_channel {
                if self.series[usize::from(channel)].contains_key(&key)
                    || self.discover(channel, &key, None)
                {
                    let of_channel = &mut self.series[usize::from(channel)];
                    of_channel.entry(key).and_modify(|kept| kept.ccseq = followed.ccseq);
                }
            }
        }
    }

    /// The vendor was asked for this sub.
    pub fn asked(&mut self, sub: &Sub, now: i64) {
        if let Some(watched) = self.subs.iter_mut().find(|watched| watched.sub == *sub) {
            watched.asked = Some(now);
            watched.rhythm.pause();
        }
    }

    /// The vendor is no longer asked for any of them, or refused this one.
    pub fn unasked(&mut self, sub: Option<&Sub>) {
        for watched in &mut self.subs {
            if sub.is_none_or(|sub| watched.sub == *sub) {
                watched.asked = None;
                watched.rhythm.pause();
            }
        }
    }

    /// A data frame came. Returns the number of the sub that has come back to life with it, if one has
    /// ([`Watch::sub`] names it), and trades that are given up for lack of room.
    pub fn frame(
        &mut self,
        channel: Option<u8>,
        key: &[u8],
        unit: Option<u8>,
        ccseq: Option<u64>,
        now: i64,
    ) -> (Option<usize>, Option<Missing>) {
        // An order book's snapshot belongs to the channel of its updates.
        let channel = channel.map(|channel| if channel == 9 { 8 } else { channel });
        let Some(channel) = channel.filter(|channel| usize::from(*channel) < CHANNELS) else {
            return (None, None);
        };
        let number = ccseq.filter(|_| channel == TRADES);
        if let Some(followed) = self.series[usize::from(channel)].get_mut(key) {
            return followed.frame(&mut self.subs, unit, number, now);
        }
        if !self.discover(channel, key, unit) {
            return (None, None);
        }
        let followed = self.series[usize::from(channel)].get_mut(key);
        followed.map_or((None, None), |new| new.frame(&mut self.subs, unit, number, now))
    }

    /// The sub with this number.
    pub fn sub(&self, number: usize) -> Option<&Sub> {
        self.subs.get(number).map(|watched| &watched.sub)
    }

    /// A pair that no sub names: follows it where a wildcard gives it. Whether it is followed now.
    fn discover(&mut self, channel: u8, key: &[u8], unit: Option<u8>) -> bool {
        let Ok(text) = std::str::from_utf8(key) else { return false };
        let wild = self.subs.iter().enumerate().filter(|(_, watched)| watched.sub.is_wildcard());
        let subs: Vec<(usize, Option<u8>)> = wild
            .filter(|(_, watched)| watched.sub.gives(channel, text, unit))
            .map(|(at, _)| (at, None))
            .collect();
        let followed: usize = self.series.iter().map(HashMap::len).sum();
        if subs.is_empty() || followed >= MOST {
            return false;
        }
        let new = Followed { subs, ccseq: Ccseq::default() };
        self.series[usize::from(channel)].insert(key.into(), new);
        true
    }

    /// Looks for silence and for what is missing; to be called about once a second.
    pub fn check(&mut self, now: i64, patience: Patience) -> Findings {
        let mut findings = Findings::default();
        // Of the subs that should have given data by now: how many, and how many in vain twice.
        let (mut judged, mut hopeless) = (0, 0);
        for watched in &mut self.subs {
            let Some(asked) = watched.asked else { continue };
            let since = watched.last.unwrap_or(asked).max(asked);
            let from_the_start = watched.last.is_none_or(|last| last < asked);
            let limit = if watched.alarms > 0 {
                let longer = patience.first_data.saturating_mul(1 << watched.alarms.min(20));
                Some(longer.min(patience.ceiling))
            } else if from_the_start {
                Some(patience.first_data)
            } else {
                watched.rhythm.patience(patience.floor)
            };
            let Some(limit) = limit else { continue };
            judged += 1;
            let silent = now - since.max(watched.alarmed);
            if silent <= limit {
                hopeless += u32::from(watched.alarms > 1);
                continue;
            }
            findings.alarms.push(Alarm {
                sub: watched.sub.clone(),
                silent_since: watched.last.unwrap_or(asked),
                from_the_start,
                before: watched.alarms,
            });
            watched.alarms += 1;
            watched.alarmed = now;
            hopeless += u32::from(watched.alarms > 1);
        }
        // Only at the moment of an alarm, so that it is said once in each silence.
        let again = findings.alarms.iter().any(|alarm| alarm.before > 0);
        findings.useless = again && judged > 0 && judged == hopeless;
        for (key, followed) in &mut self.series[usize::from(TRADES)] {
            if followed.ccseq.waits() {
                let missing = followed.ccseq.overdue(now, patience.ccseq);
                let key = || String::from_utf8_lossy(key).into_owned();
                findings.missing.extend(missing.into_iter().map(|missing| (key(), missing)));
            }
        }
        findings
    }

    /// Whether an alarm of this sub was raised, and no data has come since.
    pub fn is_silent(&self, sub: &Sub) -> bool {
        self.subs.iter().any(|watched| watched.alarms > 0 && watched.sub == *sub)
    }

    /// For each sub when data came last, milliseconds since the epoch, and whether it is silent against
    /// its rhythm.
    pub fn ages(&self) -> impl Iterator<Item = (&Sub, Option<i64>, bool)> {
        self.subs.iter().map(|watched| (&watched.sub, watched.last, watched.alarms > 0))
    }
}

impl Followed {
    /// See [`Watch::frame`].
    fn frame(
        &mut self,
        subs: &mut [Watched],
        unit: Option<u8>,
        ccseq: Option<u64>,
        now: i64,
    ) -> (Option<usize>, Option<Missing>) {
        let mut revived = None;
        for (at, period) in &self.subs {
            let watched = &mut subs[*at];
            if watched.asked.is_none() || period.is_some() && *period != unit {
                continue;
            }
            watched.rhythm.beat(now);
            if watched.alarms > 0 || watched.last < watched.asked {
                watched.alarms = 0;
                revived = Some(*at);
            }
            watched.last = Some(now);
        }
        (revived, ccseq.and_then(|n| self.ccseq.seen(n, now)))
    }
}

fn wild(pair: tickpanda_model::key::PairKey<'_>) -> bool {
    [pair.market, pair.base, pair.quote].contains(&"*")
}

/// The record key of a sub's frames, and the unit of its candles where it names one.
fn key_of(sub: &Sub) -> (String, Option<u8>) {
    let mut parts = sub.as_str().split('~');
    let channel = parts.next().unwrap_or_default();
    if matches!(channel, "11" | "21") {
        return (sub.as_str().to_owned(), None);
    }
    let key = parts.by_ref().take(3).collect::<Vec<_>>().join("~");
    let unit = parts.next().filter(|unit| unit.len() == 1 && *unit != "*");
    (key, unit.map(|unit| unit.as_bytes()[0]))
}

#[cfg(test)]
mod tests;
