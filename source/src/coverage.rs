//! Which subs are covered, and since when each of the others is not: the gaps. Pure; times come in as
//! milliseconds since the epoch. It is kept in the state folder, so that a gap that a crash or a stop
//! began is known at the next start.
//!
//! A gap reaches from the last frame of any kind on the sub's socket to the first moment at which the sub is
//! served again: its first data, or the vendor's word that it is subscribed, whichever comes first; what
//! the vendor sent in between, this source can't have. A sub that fell silent on a live socket has a gap
//! from its own last data to its next: there the vendor's word proves nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tickpanda_model::gap::{GapEvent, GapState};

use crate::sub::{Kind, Sub};
use crate::watch::Missing;

/// The same moment, told by two readings of two clocks: they differ by so many milliseconds at most.
const ROUNDING: i64 = 2;

/// Why a sub is not covered, in the words of the table `gaps`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// There was no socket.
    NoConnection,
    /// The source was not running.
    NotRunning,
    /// The socket was open, and the sub's data did not come.
    Silent,
    /// The spool was full, its oldest segments went.
    SpoolFull,
    /// The vendor's numbers (CCSEQ) have a hole.
    MissingCcseq,
}

impl Reason {
    /// All of them, for metrics.
    pub const ALL: [Self; 5] =
        [Self::NoConnection, Self::NotRunning, Self::Silent, Self::SpoolFull, Self::MissingCcseq];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoConnection => "no_connection",
            Self::NotRunning => "not_running",
            Self::Silent => "silent",
            Self::SpoolFull => "spool_full",
            Self::MissingCcseq => "missing_ccseq",
        }
    }

    /// For people.
    fn in_words(self) -> &'static str {
        match self {
            Self::NoConnection => "no connection to the vendor",
            Self::NotRunning => "the source was not running",
            Self::Silent => "the socket was open, but no data came",
            Self::SpoolFull => "the broker was away for longer than the spool could hold",
            Self::MissingCcseq => "the vendor's numbers (CCSEQ) have a hole",
        }
    }
}

/// A gap that has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Open {
    from: i64,
    reason: Reason,
    /// Trades known to be missing within it, by CCSEQ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    missing: Option<u64>,
}

/// Candles that are to be fetched because of a gap.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Repair {
    /// Exchange, or `CCCAGG`.
    pub market: String,
    /// Base symbol.
    pub base: String,
    /// Quote symbol.
    pub quote: String,
    /// Milliseconds since the epoch.
    pub from: i64,
    /// Milliseconds since the epoch.
    pub to: i64,
}

/// What has to be told, and what has to be fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// For `gap-events`; with the reason, but for what is told again.
    pub events: Vec<(GapEvent, Option<Reason>)>,
    /// For the history.
    pub repairs: Vec<Repair>,
}

impl Told {
    /// Both, one after the other.
    #[must_use]
    pub fn and(mut self, more: Told) -> Told {
        self.events.extend(more.events);
        self.repairs.extend(more.repairs);
        self
    }
}

/// One sub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cover {
    /// It gives data; its last gap, which ended then.
    Covered(Option<(Open, i64)>),
    /// It does not.
    Gap(Open),
}

/// The subs that were ever covered, and the gaps of those that are not now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    subs: BTreeMap<String, Cover>,
    /// The last hole in each pair's numbers, by record key: since when, and how many are missing. A hole that
    /// is filled in its middle is given up in parts, which are one gap.
    #[serde(skip)]
    holes: BTreeMap<String, (i64, u64)>,
}

impl Coverage {
    /// A sub gives data from now on. Where it had a gap, that is over; but for one of silence, which only
    /// data that is `live` ends, not the vendor's word that the sub is on.
    pub fn covered(&mut self, sub: &Sub, now: i64, live: bool) -> Told {
        let cover = self.subs.entry(sub.as_str().to_owned()).or_insert(Cover::Covered(None));
        let Cover::Gap(open) = cover else { return Told::default() };
        if open.reason == Reason::Silent && !live {
            return Told::default();
        }
        let (open, to) = (open.clone(), now.max(open.from));
        let told = ended(sub, &open, to);
        *cover = Cover::Covered(Some((open, to)));
        told
    }

    /// Whether a sub is covered.
    pub fn is_covered(&self, sub: &Sub) -> bool {
        matches!(self.subs.get(sub.as_str()), Some(Cover::Covered(_)))
    }

    /// These subs give nothing any more since `last`. Those that were not covered are not lost.
    pub fn lost<'a>(
        &mut self,
        subs: impl IntoIterator<Item = &'a Sub>,
        last: i64,
        reason: Reason,
    ) -> Told {
        let mut told = Told::default();
        for sub in subs {
            if let Some(cover @ Cover::Covered(_)) = self.subs.get_mut(sub.as_str()) {
                let open = Open { from: last, reason, missing: None };
                told.events.push((event(sub, &open, None), Some(reason)));
                *cover = Cover::Gap(open);
            }
        }
        told
    }

    /// A new run begins: what the last one covered has a gap since that run's last frame.
    pub fn begin(&mut self, last: i64) -> Told {
        let subs: Vec<Sub> = self.subs.keys().filter_map(|sub| Sub::parse(sub).ok()).collect();
        self.lost(&subs, last, Reason::NotRunning)
    }

    /// Only these subs are wanted from now on: a gap of another one ends here, because what comes
    /// after it nobody asked for.
    pub fn wanted<'a>(&mut self, wanted: impl IntoIterator<Item = &'a Sub>, now: i64) -> Told {
        let wanted: std::collections::BTreeSet<&str> =
            wanted.into_iter().map(Sub::as_str).collect();
        let mut told = Told::default();
        self.subs.retain(|text, cover| {
            if wanted.contains(text.as_str()) {
                return true;
            }
            if let (Cover::Gap(open), Ok(sub)) = (cover, Sub::parse(text)) {
                told = std::mem::take(&mut told).and(ended(&sub, open, now.max(open.from)));
            }
            false
        });
        told
    }

    /// Trades of a pair that the vendor numbered and never sent. Within a gap of the pair they are that
    /// gap's; else they are one of their own.
    pub fn missing(&mut self, sub: &Sub, key: &str, missing: Missing) -> Told {
        let within = |from: i64| (missing.from - ROUNDING..=missing.to + ROUNDING).contains(&from);
        match self.subs.get_mut(sub.as_str()) {
            Some(Cover::Gap(open)) if within(open.from) => {
                open.missing = Some(open.missing.unwrap_or(0) + missing.count);
                return Told::default();
            }
            // It was over when the numbers were given up: told again, with their count.
            Some(Cover::Covered(Some((open, to)))) if within(open.from) => {
                open.missing = Some(open.missing.unwrap_or(0) + missing.count);
                let again = (event(sub, open, Some(*to)), None);
                return Told { events: vec![again], repairs: vec![] };
            }
            _ => {}
        }
        let mut parts = key.splitn(3, '~').map(String::from);
        let (Some(market), Some(base), Some(quote)) = (parts.next(), parts.next(), parts.next())
        else {
            return Told::default();
        };
        let (from, to) = (missing.from, missing.to);
        let hole = self.holes.entry(key.to_owned()).or_insert((from, 0));
        let first = hole.0 != from || hole.1 == 0;
        *hole = if hole.0 == from { (from, hole.1 + missing.count) } else { (from, missing.count) };
        let count = hole.1;
        let event = GapEvent {
            kind: Kind::Trade.as_str().to_owned(),
            market: Some(market.clone()),
            base: Some(base.clone()),
            quote: Some(quote.clone()),
            topic: None,
            partition: None,
            gap_from: from,
            gap_to: Some(to),
            first_offset: None,
            last_offset: None,
            missing: i64::try_from(count).ok(),
            state: GapState::Unrepairable,
            reason: format!(
                "{}: {count}, the last of them from {} on; its candles are fetched",
                Reason::MissingCcseq.in_words(),
                missing.first
            ),
        };
        let repair = Repair { market, base, quote, from, to };
        let repairs = if first { vec![repair] } else { vec![] };
        // Of a hole that is told in parts, the first counts.
        let reason = first.then_some(Reason::MissingCcseq);
        Told { events: vec![(event, reason)], repairs }
    }

    /// All gaps that are open, told again: the table takes it as the same.
    pub fn open_gaps(&self) -> Told {
        let gaps = self.subs.iter().filter_map(|(text, cover)| match cover {
            Cover::Gap(open) => Some((event(&Sub::parse(text).ok()?, open, None), None)),
            Cover::Covered(_) => None,
        });
        Told { events: gaps.collect(), repairs: vec![] }
    }

    /// How many gaps are open.
    pub fn open(&self) -> usize {
        self.subs.values().filter(|cover| matches!(cover, Cover::Gap(_))).count()
    }
}

/// Frames of one key that are lost for good, as the spool says.
pub fn lost_frames(key: &str, kind: Kind, count: u64, from: i64, to: i64) -> Told {
    let mut parts = key.splitn(3, '~').map(String::from);
    let (market, base, quote) = match (parts.next(), parts.next(), parts.next()) {
        (Some(market), Some(base), Some(quote)) => (Some(market), Some(base), Some(quote)),
        _ => (None, None, None),
    };
    let reason = Reason::SpoolFull;
    let event = GapEvent {
        kind: kind.as_str().to_owned(),
        market: market.clone(),
        base: base.clone(),
        quote: quote.clone(),
        topic: None,
        partition: None,
        gap_from: from,
        gap_to: Some(to),
        first_offset: None,
        last_offset: None,
        missing: i64::try_from(count).ok(),
        state: GapState::Unrepairable,
        reason: reason.in_words().to_owned(),
    };
    let repairs = match (market, base, quote) {
        (Some(market), Some(base), Some(quote)) => vec![Repair { market, base, quote, from, to }],
        _ => vec![],
    };
    Told { events: vec![(event, Some(reason))], repairs }
}

/// What is told of the candles of a gap: `open` when they are to be fetched, `repaired` when they are
/// there, `unrepairable` where they can't be had.
pub fn candles(repair: &Repair, state: GapState, detail: &str) -> GapEvent {
    GapEvent {
        kind: Kind::Candle.as_str().to_owned(),
        market: Some(repair.market.clone()),
        base: Some(repair.base.clone()),
        quote: Some(repair.quote.clone()),
        topic: None,
        partition: None,
        gap_from: repair.from,
        gap_to: Some(repair.to),
        first_offset: None,
        last_offset: None,
        missing: None,
        state,
        reason: detail.to_owned(),
    }
}

/// Key of a gap event's record.
pub fn key(event: &GapEvent) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
    format!("{}~{}~{}~{}", part(&event.market), part(&event.base), part(&event.quote), event.kind)
}

fn ended(sub: &Sub, open: &Open, to: i64) -> Told {
    let repairs = match (sub.pair(), sub.is_wildcard()) {
        (Some(pair), false) if sub.kind() != Kind::Other => vec![Repair {
            market: pair.market.to_owned(),
            base: pair.base.to_owned(),
            quote: pair.quote.to_owned(),
            from: open.from,
            to,
        }],
        _ => vec![],
    };
    Told { events: vec![(event(sub, open, Some(to)), Some(open.reason))], repairs }
}

/// A gap as it is told of: open while `to` is not known, then as good as it can get. Candles that come
/// by REST too are still to be fetched then; whoever fetches them says so under the same name.
fn event(sub: &Sub, open: &Open, to: Option<i64>) -> GapEvent {
    let pair = sub.pair();
    let kind = sub.kind();
    let state = match (to, kind) {
        (None, _) | (_, Kind::Candle) => GapState::Open,
        (Some(_), _) => GapState::Unrepairable,
    };
    let more = match (to, kind) {
        (Some(_), Kind::Trade | Kind::Ticker | Kind::Index) if !sub.is_wildcard() => {
            "; the vendor sells no history of it, its candles are fetched"
        }
        _ => "",
    };
    GapEvent {
        kind: kind.as_str().to_owned(),
        market: pair.map(|pair| pair.market.to_owned()),
        // Volumes are of a symbol.
        base: pair.map(|pair| pair.base).or(sub.symbol()).map(str::to_owned),
        quote: pair.map(|pair| pair.quote.to_owned()),
        topic: None,
        partition: None,
        gap_from: open.from,
        gap_to: to,
        first_offset: None,
        last_offset: None,
        missing: open.missing.and_then(|missing| i64::try_from(missing).ok()),
        state,
        reason: format!("{}{more}", open.reason.in_words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(text: &str) -> Sub {
        Sub::parse(text).unwrap()
    }

    fn spans(told: &Told) -> Vec<(String, i64, Option<i64>, GapState)> {
        let span = |(event, _): &(GapEvent, Option<Reason>)| {
            (key(event), event.gap_from, event.gap_to, event.state)
        };
        told.events.iter().map(span).collect()
    }

    #[test]
    fn a_gap_is_told_when_it_begins_and_when_it_ends_and_its_candles_are_fetched() {
        let (mut coverage, sub) = (Coverage::default(), sub("0~Coinbase~BTC~USD"));
        assert_eq!(
            coverage.covered(&sub, 1000, true),
            Told::default(),
            "nothing was missed before"
        );
        let told = coverage.lost([&sub], 2000, Reason::NoConnection);
        let key = "Coinbase~BTC~USD~trade".to_owned();
        assert_eq!(spans(&told), [(key.clone(), 2000, None, GapState::Open)]);
        assert_eq!(coverage.lost([&sub], 2500, Reason::NoConnection), Told::default(), "once");
        let told = coverage.covered(&sub, 9000, false);
        assert_eq!(spans(&told), [(key, 2000, Some(9000), GapState::Unrepairable)]);
        assert_eq!((told.repairs[0].from, told.repairs[0].to), (2000, 9000));
        assert_eq!(coverage.covered(&sub, 9500, true), Told::default());
    }

    #[test]
    fn a_crash_is_a_gap_from_the_last_frame_on() {
        let (mut coverage, one) = (Coverage::default(), sub("0~Coinbase~BTC~USD"));
        coverage.covered(&one, 1000, true);
        let kept = serde_json::to_string(&coverage).unwrap();
        let mut after: Coverage = serde_json::from_str(&kept).unwrap();
        assert_eq!(spans(&after.begin(3000))[0].1, 3000);
        // And one that a stop had begun goes on.
        let kept = serde_json::to_string(&after).unwrap();
        let mut after: Coverage = serde_json::from_str(&kept).unwrap();
        assert_eq!(after.begin(5000), Told::default());
        assert_eq!(spans(&after.covered(&one, 7000, true))[0].1, 3000);
    }

    #[test]
    fn only_data_ends_a_gap_of_silence() {
        let (mut coverage, sub) = (Coverage::default(), sub("0~Coinbase~BTC~USD"));
        coverage.covered(&sub, 1_000, true);
        coverage.lost([&sub], 2_000, Reason::Silent);
        // It is asked for again, and the vendor says that it is on; and sends what it has in store.
        assert_eq!(coverage.covered(&sub, 70_000, false), Told::default());
        assert_eq!(coverage.lost([&sub], 70_000, Reason::Silent), Told::default());
        let told = coverage.covered(&sub, 90_000, true);
        assert_eq!((spans(&told)[0].1, spans(&told)[0].2), (2_000, Some(90_000)));
    }

    #[test]
    fn who_is_no_longer_wanted_has_no_gap_any_more() {
        let mut coverage = Coverage::default();
        let (one, two) = (sub("0~A~B~C"), sub("5~CCCAGG~B~C"));
        coverage.covered(&one, 1, true);
        coverage.covered(&two, 1, true);
        coverage.lost([&one, &two], 10, Reason::NoConnection);
        let told = coverage.wanted([&two], 20);
        assert_eq!(spans(&told).len(), 1);
        assert_eq!(coverage.open(), 1);
        assert_eq!(coverage.wanted([], 30).events.len(), 1);
        assert_eq!(coverage, Coverage::default());
    }

    #[test]
    fn a_candle_gap_stays_open_until_its_candles_are_there() {
        let (mut coverage, sub) = (Coverage::default(), sub("24~CCCAGG~BTC~USD~m"));
        coverage.covered(&sub, 1, true);
        coverage.lost([&sub], 10, Reason::Silent);
        let told = coverage.covered(&sub, 20, true);
        assert_eq!(told.events[0].0.state, GapState::Open);
        let done = candles(&told.repairs[0], GapState::Repaired, "");
        let name = |event: &GapEvent| (key(event), event.gap_from);
        assert_eq!(name(&done), name(&told.events[0].0), "one row in the table");
    }

    #[test]
    fn missing_trades_within_a_gap_are_counted_there_and_others_are_a_gap_of_their_own() {
        let (mut coverage, sub) = (Coverage::default(), sub("0~A~B~C"));
        coverage.covered(&sub, 1, true);
        let missing = Missing { first: 5, count: 3, from: 100, to: 200 };
        let told = coverage.missing(&sub, "A~B~C", missing);
        assert_eq!(told.events[0].0.missing, Some(3));
        assert_eq!(spans(&told)[0].1, 100);
        coverage.lost([&sub], 300, Reason::NoConnection);
        // The last trade before the gap was its last frame, by a clock that was read a moment later.
        let across = |count| Missing { first: 9, count, from: 301, to: 400 };
        assert_eq!(coverage.missing(&sub, "A~B~C", across(4)), Told::default());
        assert_eq!(coverage.covered(&sub, 400, true).events[0].0.missing, Some(4));
        // Numbers are waited for, so mostly they are given up when the gap is over.
        let told = coverage.missing(&sub, "A~B~C", across(2));
        assert_eq!(told.events[0].0.missing, Some(6));
        assert_eq!(told.events[0].1, None, "it was counted when it ended");
        assert_eq!(
            spans(&told),
            [("A~B~C~trade".to_owned(), 300, Some(400), GapState::Unrepairable)]
        );
        assert_eq!(told.repairs, [], "they are on their way");
        let later = |first| Missing { first, count: 1, from: 500, to: 600 };
        let told = coverage.missing(&sub, "A~B~C", later(50));
        assert_eq!((spans(&told)[0].1, told.repairs.len()), (500, 1));
        // A hole that was filled in its middle: in two parts, one row.
        let told = coverage.missing(&sub, "A~B~C", later(52));
        assert_eq!((spans(&told)[0].1, told.events[0].0.missing), (500, Some(2)));
        assert_eq!(told.repairs, []);
    }
}
