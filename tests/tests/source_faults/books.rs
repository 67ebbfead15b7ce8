//! What became of every frame: what the exchange handed over (its journal) against what is on the raw topic,
//! and what it did not hand over (the market is a function of time) against what is told on `gap-events`.
//!
//! ```text
//!  journal ─────── each frame, in its order ──────▶ raw topic      or: it was not read when the socket broke
//!  market ──minus── raw topic ──= missed ──▶ in a gap of its sub   or: LOST
//! ```

use std::collections::{BTreeMap, HashMap, VecDeque};

use tickpanda_exchange::{JournalEvent, JournalLine, MarketFrame};
use tickpanda_kafka::{Record, murmur2_partition};
use tickpanda_model::gap::GapEvent;
use tickpanda_model::header::Seq;
use tickpanda_tests::source::header;
use xxhash_rust::xxh3::xxh3_128;

/// A frame is due, sent with the exchange's next tick, and received a moment later: by so much at most is
/// what a source has missed older than the last frame that it has.
const MOST_LAG_MS: i64 = 300;
/// On a busy machine the last one, a heartbeat, may overtake a tick that is late by more than any before.
const LATE_TICK_MS: i64 = 100;

/// The source reads two clocks, each in whole milliseconds.
const ROUNDING_MS: i64 = 2;

/// Among pairs, the frames that belong to none.
const EXTRAS: &str = "";

/// Everything that was written down.
pub(crate) struct Books {
    pub journal: Vec<JournalLine>,
    pub raw: Vec<Vec<Record>>,
    pub gaps: Vec<Vec<Record>>,
    pub subs: Vec<String>,
    pub partitions: i32,
}

/// What comes out.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Data frames that the exchange handed to sockets.
    pub handed: usize,
    /// Of these, on the raw topic, verbatim and in order.
    pub arrived: usize,
    /// Of these, not read before the socket broke or the source left it.
    pub unread: usize,
    /// These, by socket.
    unread_of: BTreeMap<u64, usize>,
    /// Of `missed`, due before the gap that the stop began, by sub.
    missed_before_the_stop: BTreeMap<String, usize>,
    /// By sub, the longest from one frame that was received to the next.
    longest_pauses: BTreeMap<String, i64>,
    /// Frames that no subscription brings (garbage and the like), handed over and arrived.
    pub extras: (usize, usize),
    /// Records that give only size and hash of a frame.
    pub too_large: usize,
    /// Frames of the market that were due while a sub was wanted, and never arrived.
    pub missed: usize,
    /// Of these, in a gap that is told of.
    pub in_gaps: usize,
    /// Of these, in none.
    pub lost: Vec<String>,
    /// Frames that were received in the middle of a gap.
    pub received_in_gaps: Vec<String>,
    /// Gaps as they were told of last, but for the one that the stop began.
    pub gaps: Vec<GapEvent>,
    /// Those.
    pub gaps_of_the_stop: Vec<GapEvent>,
    /// REST bodies on the raw topic.
    pub bodies: Vec<Record>,
    /// The longest from when a frame was due to when it was received live.
    pub lag_ms: i64,
}

fn hash(frame: &[u8]) -> String {
    format!("{:032x}", xxh3_128(frame))
}

/// The record key of a sub's frames.
fn pair_of(sub: &str) -> String {
    sub.split('~').skip(1).take(3).collect::<Vec<_>>().join("~")
}

/// A frame's hash: of what is too large it is in a header.
fn hash_of(record: &Record) -> String {
    match header(record, "xxh128") {
        Some(hash) => hash.to_owned(),
        None => hash(record.value.as_deref().unwrap_or_default()),
    }
}

impl Books {
    /// Compares them. `market` gives the frames of a sub that are due after a moment.
    pub(crate) fn close(self, market: impl Fn(&str, u64) -> Vec<MarketFrame>) -> Account {
        let mut account = Account::default();
        let received = self.received(&mut account);
        let (arrived, since) = self.verbatim(&received, &mut account);
        self.gaps(&mut account);
        let mut deliveries: HashMap<&str, Vec<(i64, bool)>> = HashMap::new();
        for (line, record) in &arrived {
            let live = line.event == JournalEvent::Frame;
            let hash = line.xxh128.as_deref().unwrap_or_default();
            deliveries.entry(hash).or_default().push((record.timestamp_ms, live));
        }
        let mut missed: Vec<(&str, i64, String)> = Vec::new();
        for sub in &self.subs {
            // It counts from the first data on; what came before, nobody was promised.
            let Some(since) = since.get(sub.as_str()) else { continue };
            // The journal's times are rounded down.
            let since = since + 1;
            let mut due: BTreeMap<String, Vec<(i64, String)>> = BTreeMap::new();
            for frame in market(sub, since).into_iter().filter(|frame| frame.sub.is_some()) {
                let at = i64::try_from(frame.at_ns / 1_000_000).unwrap();
                due.entry(hash(frame.frame.as_bytes())).or_default().push((at, frame.frame));
            }
            for (hash, due) in due {
                let delivered = deliveries.get(hash.as_str()).map_or(&[][..], Vec::as_slice);
                let live = delivered.iter().filter(|(_, live)| *live).map(|(at, _)| *at);
                let lags = live.zip(&due).map(|(received, (at, _))| received - at);
                account.lag_ms = account.lag_ms.max(lags.max().unwrap_or(0));
                // Frames that are the same to the byte: it does not matter which of them is missing.
                let missing = due.into_iter().skip(delivered.len());
                missed.extend(missing.map(|(at, frame)| (sub.as_str(), at, frame)));
            }
        }
        let lag = account.lag_ms.min(MOST_LAG_MS) + LATE_TICK_MS;
        let gaps: Vec<&GapEvent> = account.gaps.iter().chain(&account.gaps_of_the_stop).collect();
        account.missed = missed.len();
        for (sub, at, frame) in missed {
            let within =
                |gap: &&&GapEvent| gap.gap_from - lag <= at && gap.gap_to.is_none_or(|to| at <= to);
            let of_sub = || gaps.iter().filter(|gap| is_of(gap, sub));
            let mut stops = of_sub().filter(|gap| gap.gap_to.is_none());
            if !stops.any(|gap| within(&gap)) {
                *account.missed_before_the_stop.entry(sub.to_owned()).or_default() += 1;
            }
            if of_sub().any(|gap| within(&gap)) {
                account.in_gaps += 1;
            } else {
                account.lost.push(format!("{sub} at {at}: {frame}"));
            }
        }
        let mut newest: HashMap<&str, i64> = HashMap::new();
        for (line, record) in &arrived {
            let Some(sub) = line.sub.as_deref().filter(|_| line.event == JournalEvent::Frame)
            else {
                continue;
            };
            let at = record.timestamp_ms;
            if let Some(before) = newest.insert(sub, at) {
                let longest = account.longest_pauses.entry(sub.to_owned()).or_default();
                *longest = (at - before).max(*longest);
            }
            let within = |gap: &&GapEvent| {
                gap.gap_from + ROUNDING_MS < at && gap.gap_to.is_none_or(|to| at + ROUNDING_MS < to)
            };
            if let Some(gap) = gaps.iter().filter(|gap| is_of(gap, sub)).find(|gap| within(gap)) {
                account.received_in_gaps.push(format!("{sub} at {at} in {gap:?}"));
            }
        }
        account
    }

    /// Frames in the order in which they were received, over all runs; bodies of REST apart.
    fn received(&self, account: &mut Account) -> Vec<&Record> {
        let mut runs: BTreeMap<u64, BTreeMap<u64, &Record>> = BTreeMap::new();
        for (partition, records) in (0..).zip(&self.raw) {
            let mut newest: HashMap<u64, u64> = HashMap::new();
            for record in records {
                let seq: Seq = header(record, "seq").expect("a number").parse().unwrap();
                let before = newest.insert(seq.run, seq.n);
                assert!(
                    before < Some(seq.n),
                    "{} after {before:?} on partition {partition}",
                    seq.n
                );
                let key = record.key.as_deref().expect("a key");
                assert_eq!(murmur2_partition(key, self.partitions), partition);
                runs.entry(seq.run).or_default().insert(seq.n, record);
            }
        }
        let mut runs: Vec<_> = runs.into_values().collect();
        runs.sort_by_key(|run| run.values().map(|record| record.timestamp_ms).min());
        let mut received = Vec::new();
        for record in runs.into_iter().flat_map(BTreeMap::into_values) {
            if header(record, "feed") == Some("rest") {
                account.bodies.push(record.clone());
            } else {
                account.too_large += usize::from(header(record, "too_large").is_some());
                received.push(record);
            }
        }
        received
    }

    /// Each record is the journal's next line of its pair on its socket. Of each socket there is a beginning; the rest
    /// was not read. Also says since when there is data of each sub.
    fn verbatim<'a>(
        &'a self,
        received: &[&'a Record],
        account: &mut Account,
    ) -> (Vec<(&'a JournalLine, &'a Record)>, HashMap<&'a str, u64>) {
        let empty = hash(b"{}");
        // `{}` is on every socket at any time, so where it stands tells nothing: these are counted.
        let (mut empties, mut opened) = (0usize, BTreeMap::new());
        type Lines<'a> = BTreeMap<String, VecDeque<&'a JournalLine>>;
        let mut sockets: BTreeMap<u64, Lines<'_>> = BTreeMap::new();
        for line in &self.journal {
            match line.event {
                JournalEvent::Opened => _ = opened.insert(line.socket, line.at),
                JournalEvent::Closed => {}
                event => {
                    let is_extra = event == JournalEvent::Extra;
                    account.handed += usize::from(!is_extra);
                    account.extras.0 += usize::from(is_extra);
                    if line.xxh128.as_ref() == Some(&empty) {
                        empties += 1;
                    } else {
                        let pair = line.sub.as_deref().map_or(EXTRAS.to_owned(), pair_of);
                        let of_socket = sockets.entry(line.socket).or_default();
                        of_socket.entry(pair).or_default().push_back(line);
                    }
                }
            }
        }
        let (mut arrived, mut since) = (Vec::new(), HashMap::new());
        let mut empty_records = 0;
        for record in received {
            let hash = hash_of(record);
            if hash == empty {
                empty_records += 1;
                continue;
            }
            let at = u64::try_from(record.timestamp_ms).unwrap();
            let key = std::str::from_utf8(record.key.as_deref().expect("a key")).unwrap();
            // Of sockets that were open by then, the newest first: an older one may have left a rest.
            let open = sockets.iter_mut().rev().filter(|(socket, _)| opened[*socket] <= at);
            let next = |lines: &mut VecDeque<&'a JournalLine>| {
                lines.pop_front_if(|line| line.xxh128.as_deref() == Some(hash.as_str()))
            };
            let line = open.into_iter().find_map(|(_, lines)| {
                [key, EXTRAS].into_iter().find_map(|pair| next(lines.get_mut(pair)?))
            });
            let Some(line) = line else {
                let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default());
                panic!("it is not what the exchange handed over next: {value}");
            };
            if let Some(sub) = line.sub.as_deref() {
                since.entry(sub).or_insert(line.at);
                account.arrived += 1;
            } else {
                account.extras.1 += 1;
            }
            arrived.push((line, *record));
        }
        assert!(empty_records <= empties, "{empty_records} of {empties}: {{}}");
        let rest = sockets.values().flat_map(BTreeMap::values).flatten();
        let rest = rest.filter(|line| line.event != JournalEvent::Extra);
        rest.for_each(|line| *account.unread_of.entry(line.socket).or_default() += 1);
        let unread: usize = account.unread_of.values().sum();
        account.unread = unread + empties - empty_records;
        account.arrived = account.handed - account.unread;
        (arrived, since)
    }

    fn gaps(&self, account: &mut Account) {
        let mut told: BTreeMap<(String, i64), GapEvent> = BTreeMap::new();
        for record in self.gaps.iter().flatten() {
            let value = record.value.as_deref().expect("a value");
            let event: GapEvent = serde_json::from_slice(value).unwrap();
            let key = String::from_utf8_lossy(record.key.as_deref().expect("a key")).into_owned();
            told.insert((key, event.gap_from), event); // what was said last is true
        }
        for gap in told.into_values() {
            let is_of_stop = gap.gap_to.is_none() && gap.reason.contains("not running");
            let list = if is_of_stop { &mut account.gaps_of_the_stop } else { &mut account.gaps };
            list.push(gap);
        }
    }
}

/// Whether a gap is of a sub.
pub(crate) fn is_of(gap: &GapEvent, sub: &str) -> bool {
    let parts: Vec<&str> = sub.split('~').collect();
    let kind = match parts[0] {
        "0" => "trade",
        "2" => "ticker",
        "5" => "index",
        _ => "candle",
    };
    let pair = [&gap.market, &gap.base, &gap.quote].map(|part| part.as_deref().unwrap_or_default());
    gap.kind == kind && pair == parts[1..4]
}

impl Account {
    /// The promise: what was handed over is there, what was not is told of, and no more than that is.
    pub(crate) fn check(&self) {
        assert_eq!(self.lost, Vec::<String>::new(), "of {} missed: {:#?}", self.missed, self.gaps);
        assert_eq!(self.received_in_gaps, Vec::<String>::new());
        assert!(self.arrived > 0 || self.handed == 0);
    }

    /// Frames of this socket that were handed over and not read.
    pub(crate) fn unread_of(&self, socket: u64) -> usize {
        self.unread_of.get(&socket).copied().unwrap_or(0)
    }

    /// Frames of a sub that were due, not received, and not in the gap that the stop began.
    pub(crate) fn missed_before_the_stop(&self, sub: &str) -> usize {
        self.missed_before_the_stop.get(sub).copied().unwrap_or(0)
    }

    /// The longest from one live frame of a sub to the next, milliseconds.
    pub(crate) fn longest_pause_ms(&self, sub: &str) -> i64 {
        self.longest_pauses.get(sub).copied().unwrap_or(0)
    }

    /// Gaps of this sub that are told of, but for that of the stop.
    pub(crate) fn gaps_of(&self, sub: &str) -> Vec<&GapEvent> {
        self.gaps.iter().filter(|gap| is_of(gap, sub)).collect()
    }
}
