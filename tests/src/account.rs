//! What became of every trade of a synthetic exchange, told from the topics alone: the market is a
//! function of time, so what was due is known without having listened.
//!
//! ```text
//!  market_frames ──▶ Market ──┐
//!  raw topic ─────────────────┼─▶ Account: whole, in order, verbatim ──┐
//!  gap-events ────────────────┼─────────────────────────────────────────┴─▶ Missed: what is lost is in a gap
//! ```
//!
//! It takes subscriptions to trades (`0~…`), one socket a run. A record with `feed` = `rest`, and `{}`,
//! count among the numbers of their run and nowhere else.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use tickpanda_exchange::{ExchangeConfig, market_frames};
use tickpanda_kafka::{Record, murmur2_partition};
use tickpanda_model::gap::{GapEvent, GapState};
use tickpanda_model::header::Seq;

use crate::source::header;

/// Trades of a pair that the vendor sends again with each subscription.
const REPLAYED: usize = 20;

/// The trades that were due, each with its place among those of its sub.
pub struct Market {
    subs: Vec<String>,
    hasher: RandomState,
    places: HashMap<u64, (usize, usize)>,
    /// By sub: when each was due, milliseconds since the epoch.
    due: Vec<Vec<i64>>,
}

impl Market {
    /// Of these subs, from a while before `from` on, so that what was sent again is in it, up to `to`.
    pub fn of(config: &ExchangeConfig, subs: &[String], from: i64, to: i64) -> Self {
        let hasher = RandomState::new();
        let (mut places, mut due) = (HashMap::new(), vec![Vec::new(); subs.len()]);
        let number: HashMap<&str, usize> =
            subs.iter().enumerate().map(|(at, sub)| (sub.as_str(), at)).collect();
        let time = |ms: i64| u64::try_from(ms).expect("after 1970");
        let all = subs.iter().map(String::as_str);
        for frame in market_frames(config, all, time(from - 60_000), time(to)) {
            let Some(sub) = frame.sub else { continue };
            let sub = number[sub.as_str()];
            let before =
                places.insert(hasher.hash_one(frame.frame.as_bytes()), (sub, due[sub].len()));
            assert_eq!(before, None, "a trade is there once");
            due[sub].push(i64::try_from(frame.at_ns / 1_000_000).expect("a time"));
        }
        Market { subs: subs.to_vec(), hasher, places, due }
    }

    /// Checks that all trades are on a raw topic that were due after the first one of their pair there, and before the
    /// last one, whoever brought them; how many distinct ones there are.
    ///
    /// # Panics
    /// Where one is missing.
    pub fn whole(&self, topic: &[Vec<Record>]) -> usize {
        let mut there: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.subs.len()];
        for record in topic.iter().flatten() {
            if let Some((sub, place)) = record.value.as_deref().and_then(|value| self.place(value))
            {
                there[sub].insert(place);
            }
        }
        for (sub, places) in self.subs.iter().zip(&there) {
            let (first, last) = (places.first().expect("some"), places.last().expect("some"));
            assert_eq!(places.len(), last - first + 1, "trades of {sub} are missing");
        }
        there.iter().map(BTreeSet::len).sum()
    }

    fn place(&self, frame: &[u8]) -> Option<(usize, usize)> {
        self.places.get(&self.hasher.hash_one(frame)).copied()
    }
}

/// A run of the source.
#[derive(Debug)]
pub struct Run {
    /// As in `seq`.
    pub id: u64,
    /// How many numbers it drew.
    pub numbers: u64,
    /// When its last trade was received, if there is one.
    pub last_at: Option<i64>,
}

/// What one run received of one sub, without a hole.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    run: u64,
    /// Places in the market, both included.
    first: usize,
    last: usize,
    /// When the last one was received.
    last_at: i64,
}

impl Stretch {
    /// The place of the first trade that was not sent again but new.
    fn live(&self) -> usize {
        self.first + REPLAYED
    }
}

/// A raw topic, checked.
#[derive(Debug)]
pub struct Account {
    /// Records, each number once.
    pub records: usize,
    /// Records that are there again, because a request was sent twice.
    pub repeated: usize,
    /// Trades of the market among them, those that the vendor sent twice counted once.
    pub trades: usize,
    /// In the order in which they ran.
    pub runs: Vec<Run>,
    /// By sub.
    stretches: Vec<Vec<Stretch>>,
}

impl Account {
    /// Checks that every frame is verbatim one of the market's, with its key, on its partition; that each run's
    /// numbers are 0, 1, 2, … without a hole, and the trades of a pair those that were due, one after the
    /// other, without a hole and in their order, run after run.
    ///
    /// # Panics
    /// Where they are not.
    pub fn of(market: &Market, topic: &[Vec<Record>]) -> Self {
        Self::with_lost(market, topic, 0)
    }

    /// The same for a spool that was full: so many records are missing, whole pieces of them.
    ///
    /// # Panics
    /// As [`Account::of`], and where another number is missing.
    pub fn with_lost(market: &Market, topic: &[Vec<Record>], lost: u64) -> Self {
        let mut numbers: HashMap<u64, HashSet<u64>> = HashMap::new();
        let mut began: BTreeMap<i64, u64> = BTreeMap::new();
        let mut last_at: HashMap<u64, i64> = HashMap::new();
        let mut stretches: Vec<Vec<Stretch>> = vec![Vec::new(); market.subs.len()];
        let mut repeated = 0;
        let mut trades = HashSet::new();
        let partitions = i32::try_from(topic.len()).expect("some partitions");
        for (partition, records) in (0..).zip(topic) {
            let mut order: Vec<u64> = Vec::new();
            for record in records {
                let seq: Seq = header(record, "seq").expect("a number").parse().expect("a number");
                if !numbers.entry(seq.run).or_default().insert(seq.n) {
                    repeated += 1;
                    continue;
                }
                if order.last() != Some(&seq.run) {
                    assert!(!order.contains(&seq.run), "runs are mixed on partition {partition}");
                    order.push(seq.run);
                }
                began.entry(record.timestamp_ms).or_insert(seq.run);
                let value = record.value.as_deref().expect("a value");
                if header(record, "feed").is_some() || value == b"{}" {
                    continue;
                }
                let text = String::from_utf8_lossy(value);
                let Some((sub, place)) = market.place(value) else { panic!("not sent: {text}") };
                trades.insert((sub, place));
                let key = record.key.as_deref().expect("a key");
                assert_eq!(key, &market.subs[sub].as_bytes()["0~".len()..], "{text}");
                assert_eq!(murmur2_partition(key, partitions), partition, "{text}");
                let at = record.timestamp_ms;
                let newest = last_at.entry(seq.run).or_insert(at);
                *newest = at.max(*newest);
                let of_sub = &mut stretches[sub];
                match of_sub.last_mut() {
                    Some(stretch) if stretch.run == seq.run && stretch.last + 1 == place => {
                        stretch.last = place;
                        stretch.last_at = at;
                    }
                    Some(stretch) if stretch.run == seq.run => {
                        let due = stretch.last + 1;
                        assert!(lost > 0 && place > due, "{place} after {}: {text}", stretch.last);
                        of_sub.push(Stretch {
                            run: seq.run,
                            first: place,
                            last: place,
                            last_at: at,
                        });
                    }
                    _ => of_sub.push(Stretch {
                        run: seq.run,
                        first: place,
                        last: place,
                        last_at: at,
                    }),
                }
            }
        }
        let mut order: Vec<u64> = Vec::new();
        for run in began.into_values() {
            if !order.contains(&run) {
                order.push(run);
            }
        }
        let mut missing = 0;
        let runs = order.iter().map(|id| {
            let numbers = &numbers[id];
            let next = numbers.iter().max().map_or(0, |greatest| greatest + 1);
            missing += next - numbers.len() as u64;
            Run { id: *id, numbers: next, last_at: last_at.get(id).copied() }
        });
        let runs: Vec<Run> = runs.collect();
        assert_eq!(missing, lost, "numbers are missing: {runs:?}");
        for stretches in &stretches {
            let place = |run: u64| order.iter().position(|id| *id == run);
            let in_order = stretches.windows(2).all(|two| place(two[0].run) <= place(two[1].run));
            assert!(in_order, "runs are out of order: {stretches:?}");
        }
        let records = numbers.values().map(HashSet::len).sum();
        Account { records, repeated, trades: trades.len(), runs, stretches }
    }

    /// Checks the gaps of restarts: each trade that was due after the first one on the topic and before the
    /// last one, and is not there, is in a gap of its pair; each gap begins when the last frame of a run
    /// was received, to the millisecond, and no gap is larger than the time without a socket by more than
    /// [`Missed::excess_ms`].
    ///
    /// # Panics
    /// Where that does not hold.
    pub fn missed(&self, market: &Market, gaps: &[GapEvent]) -> Missed {
        let mut missed = Missed::default();
        let last_of_all = self.runs.last().and_then(|run| run.last_at).unwrap_or(i64::MAX);
        for ((sub, stretches), due) in market.subs.iter().zip(&self.stretches).zip(&market.due) {
            let mut of_sub: BTreeMap<i64, &GapEvent> = BTreeMap::new();
            for gap in gaps.iter().filter(|gap| is_of(gap, sub)) {
                of_sub.insert(gap.gap_from, gap); // what was said last is true
            }
            // The one that the last stop has begun is no part of this. (A clock that ticks between two looks at it
            // is a millisecond.)
            let is_last = |gap: &&GapEvent| gap.gap_to.is_none() && gap.gap_from >= last_of_all - 2;
            let mut covered: Vec<(i64, i64)> = Vec::new();
            for gap in of_sub.into_values().filter(|gap| !is_last(gap)) {
                let to = gap.gap_to.unwrap_or_else(|| panic!("it never ended: {gap:?}"));
                assert_eq!(gap.state, GapState::Unrepairable, "{gap:?}");
                let late = self.runs.iter().filter_map(|run| Some(gap.gap_from - run.last_at?));
                let late = late.filter(|late| *late >= 0).min();
                let late = late.unwrap_or_else(|| panic!("begins before any frame: {gap:?}"));
                missed.late_ms = missed.late_ms.max(late);
                for stretch in stretches.iter().filter(|it| it.last >= it.live()) {
                    let (live, last_at) = (due[stretch.live()], stretch.last_at);
                    if last_at > gap.gap_from && live < to {
                        let inside = last_at.min(to) - live.max(gap.gap_from);
                        missed.excess_ms = missed.excess_ms.max(inside);
                    }
                }
                missed.gaps += 1;
                covered.push((gap.gap_from, to));
            }
            for two in stretches.windows(2) {
                for &at in due.iter().take(two[1].first).skip(two[0].last + 1) {
                    missed.trades += 1;
                    let before = covered.iter().filter(|(_, to)| at <= *to);
                    let transit = before.map(|(from, _)| (from - at).max(0)).min();
                    let transit = transit
                        .unwrap_or_else(|| panic!("{sub}: lost at {at}, not in {covered:?}"));
                    missed.in_transit += usize::from(transit > 0);
                    missed.transit_ms = missed.transit_ms.max(transit);
                }
            }
        }
        missed
    }

    /// Checks the gaps of a full spool, in which no run ended: each trade that is missing between two others of
    /// its pair is in one.
    ///
    /// # Panics
    /// Where that does not hold.
    pub fn lost_in_spool(&self, market: &Market, gaps: &[GapEvent]) -> LostInSpool {
        let of_spool = |gap: &&GapEvent| gap.reason.contains("than the spool could hold");
        let mut distinct: BTreeMap<_, &GapEvent> = BTreeMap::new();
        for gap in gaps.iter().filter(of_spool) {
            let name = (&gap.kind, &gap.market, &gap.base, &gap.quote, gap.gap_from);
            distinct.insert(name, gap); // what was said last is true
        }
        let counts = distinct.values().map(|gap| gap.missing.expect("it is known"));
        let counted = counts.map(|count| u64::try_from(count).expect("a count")).sum();
        let mut lost = LostInSpool { counted, gaps: distinct.len(), ..LostInSpool::default() };
        for ((sub, stretches), due) in market.subs.iter().zip(&self.stretches).zip(&market.due) {
            let of_sub = distinct.values().filter(|gap| is_of(gap, sub));
            let ends: Vec<_> =
                of_sub.map(|gap| (gap.gap_from, gap.gap_to.expect("an end"))).collect();
            for two in stretches.windows(2) {
                for at in &due[two[0].last + 1..two[1].first] {
                    let within = ends.iter().filter(|(_, to)| at <= to);
                    let transit = within.map(|(from, _)| (from - at).max(0)).min();
                    let transit =
                        transit.unwrap_or_else(|| panic!("{sub}: lost at {at}, not in {ends:?}"));
                    lost.between += 1;
                    lost.transit_ms = lost.transit_ms.max(transit);
                }
            }
        }
        lost
    }
}

/// What a full spool let go, and how exactly the gaps say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct LostInSpool {
    /// Records, as the gaps count them.
    pub counted: u64,
    /// Gaps.
    pub gaps: usize,
    /// Trades that are missing between two others of their pair.
    pub between: usize,
    /// The longest that one of these had been due before its gap begins, which is when the first one was received.
    pub transit_ms: i64,
}

/// What was not received, and how exactly the gaps say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Missed {
    /// Gaps, those of each pair counted.
    pub gaps: usize,
    /// Trades that were due and are not on the topic.
    pub trades: usize,
    /// Of these, trades that were on their way when the process died: due before the last frame was
    /// received.
    pub in_transit: usize,
    /// The longest that one of these had been due.
    pub transit_ms: i64,
    /// The longest from a run's last frame to where a gap begins.
    pub late_ms: i64,
    /// The longest that a gap holds trades that were received live: from the first one that was due to where
    /// the gap ends, when the vendor's confirmation came.
    pub excess_ms: i64,
}

fn is_of(gap: &GapEvent, sub: &str) -> bool {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    let (market, base, quote) = (part(&gap.market), part(&gap.base), part(&gap.quote));
    gap.kind == "trade" && format!("0~{market}~{base}~{quote}") == sub
}

/// The events on a topic of gaps, in their order.
///
/// # Panics
/// Where one is none.
pub fn gap_events(topic: &[Vec<Record>]) -> Vec<GapEvent> {
    let event = |record: &Record| {
        let value = record.value.as_deref().expect("a value");
        serde_json::from_slice(value).unwrap_or_else(|error| panic!("{error}: {value:?}"))
    };
    topic.iter().flatten().map(event).collect()
}
