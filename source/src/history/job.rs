//! What is wanted of the vendor's history, by whom, and how far it is. Pure; a job is written down
//! after each page and goes on where it was when the process comes back.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use tickpanda_model::candle::Interval;
use tickpanda_model::control::History;
use tickpanda_model::key::PairKey;

use super::gap::{self, Plan};
use super::walk::{MOST, Walk};

/// The vendor's limit.
const AGGREGATE: u32 = 30;
/// The vendor's limit is 30 for symbols; exchanges are short names as well.
const SYMBOL: usize = 64;
/// Nothing is older: Bitcoin's first block.
const FIRST: i64 = 1_230_768_000;
/// Who may wait for one job.
const ASKERS: usize = 64;
/// What is said of one job.
const NOTES: usize = 8;

/// Who asked for candles, most urgent first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// The repair of a gap; the name is whoever's that keeps the gaps. Asking again under a name that
    /// waits already is no second wish.
    Gap(String),
    /// A command on the control topic; the ticket is whoever's that keeps the commands, and as above.
    Command(u64),
    /// The newest candles at the start.
    StartUp,
    /// Nobody: candles that were not closed when they were fetched are fetched once more.
    Closing,
    /// The `backfill` command.
    Backfill,
}

impl Asker {
    /// Whether there can be only one that says so.
    fn is_named(&self) -> bool {
        matches!(self, Asker::Gap(_) | Asker::Command(_))
    }

    /// What comes first, and which share a budget.
    pub fn class(&self) -> Class {
        match self {
            Asker::Gap(_) => Class::Gap,
            Asker::Command(_) => Class::Command,
            Asker::StartUp => Class::StartUp,
            Asker::Closing => Class::Closing,
            Asker::Backfill => Class::Backfill,
        }
    }
}

/// How urgent a job is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Repair of a gap.
    Gap,
    /// An operator waits.
    Command,
    /// At the start.
    StartUp,
    /// Once more, when closed.
    Closing,
    /// `backfill`.
    Backfill,
}

/// What candles are of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pair {
    /// Exchange in the vendor's casing, or `CCCAGG`.
    pub market: String,
    /// Base symbol.
    pub base: String,
    /// Quote symbol.
    pub quote: String,
}

impl Pair {
    /// The pair of these parts, each a plain symbol.
    ///
    /// # Errors
    /// In words, which part is none.
    pub fn new(market: &str, base: &str, quote: &str) -> Result<Self, String> {
        for (name, text) in [("market", market), ("base", base), ("quote", quote)] {
            let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '~' | '*');
            if text.is_empty() || text.len() > SYMBOL || text.contains(odd) {
                return Err(format!("the {name} is 1 to {SYMBOL} bytes without spaces, ~ and *"));
            }
        }
        Ok(Pair { market: market.into(), base: base.into(), quote: quote.into() })
    }
}

impl std::fmt::Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Pair { market, base, quote } = self;
        PairKey { market, base, quote }.fmt(f)
    }
}

/// Candles of one pair that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Given by the region that holds it.
    pub id: u64,
    /// Everybody who asked for just this; each is answered.
    pub askers: Vec<Asker>,
    /// Candles of what.
    pub pair: Pair,
    /// Lengths of the candles.
    pub intervals: Vec<Interval>,
    /// What is still to be fetched, in this order.
    pub walks: VecDeque<Walk>,
    /// For people: what is only had by hour or day, where the listing begins.
    pub notes: Vec<String>,
    /// Pages fetched by walks that are not there any more.
    pages: u64,
    /// Rows in them.
    rows: u64,
    /// Attempts at the present page that failed.
    pub attempts: u32,
    /// How often all attempts failed, and it was put off.
    pub rounds: u32,
    /// Until when, ms since the epoch.
    later: i64,
    /// Who goes first among equals: pairs take turns.
    pub turn: u64,
}

impl Job {
    fn of(asker: Asker, pair: Pair, walks: VecDeque<Walk>) -> Self {
        let mut job = Job {
            id: 0,
            askers: vec![asker],
            pair,
            intervals: vec![],
            walks,
            notes: vec![],
            pages: 0,
            rows: 0,
            attempts: 0,
            rounds: 0,
            later: 0,
            turn: 0,
        };
        job.name_intervals();
        job
    }

    fn name_intervals(&mut self) {
        for walk in &self.walks {
            if !self.intervals.contains(&walk.interval) {
                self.intervals.push(walk.interval);
            }
        }
    }

    /// These candles. Without `from` and `limit`: as many as one answer holds. With a `limit`: at most
    /// so many, the newest. `now` in ms.
    ///
    /// # Errors
    /// In words, what the vendor does not have.
    pub fn new(asker: Asker, wanted: &History, now: i64) -> Result<Self, String> {
        let pair = Pair::new(&wanted.e, &wanted.fsym, &wanted.tsym)?;
        let count = wanted.interval.count().checked_mul(wanted.aggregate.unwrap_or(1));
        let interval = count
            .filter(|count| *count <= AGGREGATE)
            .and_then(|count| Interval::new(count, wanted.interval.unit()))
            .ok_or_else(|| {
                format!("interval × aggregate is 1 to {AGGREGATE} minutes, hours or days")
            })?;
        let now = now.div_euclid(1000);
        for (name, time) in [("from", wanted.from), ("to", wanted.to)] {
            if time.is_some_and(|time| time < FIRST) {
                return Err(format!("{name} is before 2009; it is in seconds since the epoch"));
            }
        }
        let last = wanted.to.unwrap_or(now).min(now);
        if wanted.from.is_some_and(|from| from > last) {
            return Err(
                "from is after to, or in the future; both are seconds since the epoch".into()
            );
        }
        let mut limit = wanted.limit.map(u64::from);
        match (limit, wanted.from) {
            (Some(0), _) => return Err("limit is at least 1".into()),
            // As many as one answer holds.
            (None, None) => limit = Some(u64::from(MOST / interval.count()) + 1),
            _ => {}
        }
        let walk = Walk::new(interval, wanted.from, wanted.to, limit, now);
        Ok(Self::of(asker, pair, VecDeque::from([walk])))
    }

    /// The newest candles at the start: `wanted.limit` finished ones, and the one under way.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn start_up(wanted: &History, now: i64) -> Result<Self, String> {
        let limit = wanted.limit.map(|limit| limit.saturating_add(1));
        Self::new(Asker::StartUp, &History { limit, ..wanted.clone() }, now)
    }

    /// The candles of a gap from `from` to `to`, as far as they are had; all in ms.
    pub fn gap(name: String, pair: Pair, from: i64, to: i64, now: i64) -> Self {
        let plan = gap::ranges(from, to, now);
        let mut job = Self::of(Asker::Gap(name), pair, VecDeque::new());
        job.follow(plan, now.div_euclid(1000));
        job
    }

    /// Adds the ranges of a plan in front of what else is to be fetched. `now` in seconds.
    pub(crate) fn follow(&mut self, plan: Plan, now: i64) {
        for range in plan.ranges.iter().rev() {
            let (from, to) = (Some(range.from), Some(range.to));
            self.walks.push_front(Walk::new(range.interval, from, to, None, now));
        }
        self.name_intervals();
        plan.coarser.into_iter().for_each(|words| self.note(words));
    }

    /// Candles once more, when they are closed.
    pub(crate) fn closing(pair: Pair, walk: Walk) -> Self {
        Self::of(Asker::Closing, pair, VecDeque::from([walk]))
    }

    /// Adds what is to be said of it.
    pub(crate) fn note(&mut self, words: String) {
        if self.notes.len() < NOTES && !self.notes.contains(&words) {
            self.notes.push(words);
        }
    }

    /// How urgent it is: as its most urgent asker.
    pub fn class(&self) -> Class {
        self.askers.iter().map(Asker::class).min().unwrap_or(Class::Backfill)
    }

    /// When it may go on, ms since the epoch; `None` if there is nothing left to do.
    pub fn not_before(&self) -> Option<i64> {
        self.walks.iter().map(|walk| walk.not_before.max(self.later)).min()
    }

    /// The first of its walks that may go on at `now` (ms).
    pub(crate) fn ready(&self, now: i64) -> Option<usize> {
        self.walks.iter().position(|walk| walk.not_before.max(self.later) <= now)
    }

    /// Begins its attempts anew, for an operator who asks again.
    pub(crate) fn begin_anew(&mut self) {
        (self.attempts, self.rounds, self.later) = (0, 0, 0);
    }

    /// Nothing more of it until then, ms since the epoch; 0 takes that back.
    pub(crate) fn put_off(&mut self, until: i64) {
        self.later = until;
    }

    /// Leaves out who waits already, by name, for one of these, or is one of `known`. Whether somebody is
    /// left.
    pub(crate) fn leave_out(&mut self, waiting: &[Job], known: &[Asker]) -> bool {
        let waits = |asker: &Asker| {
            let waits = |job: &Job| job.askers.contains(asker);
            asker.is_named() && (known.contains(asker) || waiting.iter().any(waits))
        };
        self.askers.retain(|asker| !waits(asker));
        !self.askers.is_empty()
    }

    /// Takes over who asked for the same. Whether it was the same, and there was room.
    pub(crate) fn absorb(&mut self, other: &Job) -> bool {
        let same = self.pair == other.pair
            && self.class() == other.class()
            && self.pages == 0
            && self.walks.len() == other.walks.len()
            && self.walks.iter().zip(&other.walks).all(|(a, b)| a.is_same_wish(b));
        let all = same && self.askers.len() + other.askers.len() <= ASKERS;
        if all {
            self.askers.extend(other.askers.iter().cloned());
        }
        all
    }

    /// Takes walks away that are finished, and adds up what they fetched.
    pub(crate) fn settle(&mut self) {
        let (finished, left): (Vec<Walk>, Vec<Walk>) =
            self.walks.drain(..).partition(Walk::is_finished);
        finished.iter().for_each(|walk| self.add(walk));
        self.walks = left.into();
    }

    /// Takes one walk away, finished or not. `None` if it has not so many.
    pub(crate) fn remove(&mut self, walk: usize) -> Option<Walk> {
        let walk = self.walks.remove(walk)?;
        self.add(&walk);
        Some(walk)
    }

    fn add(&mut self, walk: &Walk) {
        self.pages += walk.pages;
        self.rows += walk.rows;
    }

    /// Pages fetched so far.
    pub fn pages_done(&self) -> u64 {
        self.pages + self.walks.iter().map(|walk| walk.pages).sum::<u64>()
    }

    /// Rows fetched so far.
    pub fn rows_done(&self) -> u64 {
        self.rows + self.walks.iter().map(|walk| walk.rows).sum::<u64>()
    }

    /// Pages still to come, at most.
    pub fn pages_left(&self) -> u64 {
        self.walks.iter().map(Walk::pages_left).sum()
    }

    /// What it is about, in words: `Coinbase~BTC~USD 1m,1h`.
    pub fn about(&self) -> String {
        let intervals: Vec<String> = self.intervals.iter().map(Interval::to_string).collect();
        format!("{} {}", self.pair, intervals.join(",")).trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_773_144_030_000;

    fn wanted() -> History {
        History {
            fsym: "BTC".into(),
            tsym: "USD".into(),
            e: "Coinbase".into(),
            interval: "1h".parse().unwrap(),
            aggregate: None,
            from: None,
            to: None,
            limit: None,
        }
    }

    fn pages(wanted: &History) -> Result<u64, String> {
        Job::new(Asker::StartUp, wanted, NOW).map(|job| job.pages_left())
    }

    #[test]
    fn what_the_vendor_has_is_taken_and_the_rest_refused_with_what_would_be_right() {
        let now = NOW / 1000;
        assert_eq!(pages(&wanted()), Ok(1));
        assert_eq!(pages(&History { limit: Some(2001), ..wanted() }), Ok(1));
        assert_eq!(pages(&History { limit: Some(2002), ..wanted() }), Ok(2));
        assert_eq!(pages(&History { aggregate: Some(30), limit: Some(68), ..wanted() }), Ok(2));
        let year = History { from: Some(now - 365 * 86_400), ..wanted() };
        assert_eq!(pages(&year), Ok(5));
        assert_eq!(pages(&History { limit: Some(5), ..year }), Ok(1));
        for (bad, problem) in [
            (History { e: String::new(), ..wanted() }, "market"),
            (History { fsym: "*".into(), ..wanted() }, "base"),
            (History { tsym: "A~B".into(), ..wanted() }, "quote"),
            (History { tsym: "A B".into(), ..wanted() }, "quote"),
            (History { tsym: "A".repeat(65), ..wanted() }, "quote"),
            (History { aggregate: Some(31), ..wanted() }, "aggregate"),
            (History { aggregate: Some(0), ..wanted() }, "aggregate"),
            (
                History { aggregate: Some(u32::MAX), interval: "2m".parse().unwrap(), ..wanted() },
                "aggregate",
            ),
            (History { limit: Some(0), ..wanted() }, "limit"),
            (History { from: Some(now), to: Some(now - 1), ..wanted() }, "from is after to"),
            (History { from: Some(now + 60), ..wanted() }, "future"),
            (History { from: Some(7), ..wanted() }, "2009"),
            (History { to: Some(-7), ..wanted() }, "2009"),
            // Milliseconds, by mistake.
            (History { from: Some(NOW - 1), ..wanted() }, "seconds"),
        ] {
            let refusal = Job::new(Asker::StartUp, &bad, NOW).unwrap_err();
            assert!(refusal.contains(problem), "{bad:?}: {refusal}");
        }
    }

    #[test]
    fn who_asks_for_the_same_waits_for_the_same() {
        let command =
            |ticket: u64, wanted: &History| Job::new(Asker::Command(ticket), wanted, NOW).unwrap();
        let mut job = command(1, &wanted());
        // Later by a minute: still up to now.
        let later = Job::new(Asker::Command(2), &wanted(), NOW + 60_000).unwrap();
        assert!(job.absorb(&later));
        assert_eq!(job.askers, [Asker::Command(1), Asker::Command(2)]);
        for other in [
            command(3, &History { limit: Some(7), ..wanted() }),
            command(3, &History { tsym: "EUR".into(), ..wanted() }),
            command(3, &History { interval: "1d".parse().unwrap(), ..wanted() }),
            command(3, &History { to: Some(NOW / 1000), ..wanted() }),
            Job::new(Asker::StartUp, &wanted(), NOW).unwrap(),
        ] {
            assert!(!job.absorb(&other), "{other:?}");
        }
        // What has begun can't be joined: its first rows are older.
        let page = job.walks[0].page(NOW / 1000).unwrap();
        job.walks[0].took(page, super::super::walk::Got { oldest: None, rows: 0, empty: true });
        assert!(!job.absorb(&later));
    }

    #[test]
    fn a_gap_is_fetched_from_the_newest_part_to_the_oldest_and_says_what_is_coarser() {
        let pair = Pair::new("Coinbase", "BTC", "USD").unwrap();
        let job = Job::gap("g".into(), pair, NOW - 8 * 86_400_000, NOW, NOW);
        assert_eq!(job.about(), "Coinbase~BTC~USD 1m,1h");
        assert_eq!(job.notes.len(), 1);
        assert_eq!(job.pages_left(), 7);
    }

    #[test]
    fn a_job_reads_back_what_was_written_down() {
        let pair = Pair::new("Coinbase", "BTC", "USD").unwrap();
        let mut job = Job::gap("g".into(), pair, NOW - 8 * 86_400_000, NOW, NOW);
        job.absorb(&job.clone());
        let json = serde_json::to_string(&job).unwrap();
        assert_eq!(serde_json::from_str::<Job>(&json).unwrap(), job);
    }
}
