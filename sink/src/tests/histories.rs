//! Random histories of one topic's partitions, replayed against a real database: whatever happened
//! on the way, at the end the tables hold each event once, and every record is counted.
//!
//! ```text
//!  logs (events, duplicates, bad records) ─┐
//!  steps (batches, crashes, two writers,   ├─▶ replay ─▶ tables  ═══  the set of events
//!         stale batches, rewinds, holes) ──┘
//! ```
//!
//! A crash drops the future of a write at one of its await points, and its connection with it; what
//! the server then makes of the transaction is up to the server, as after a real one. A failure
//! prints the history and the seed: `TICKPANDA_SEED=… cargo test --release -p tickpanda-sink
//! histories` replays all of the run.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::task::Poll;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use super::*;

/// Histories in a run.
const CASES: u32 = 100;
/// Two of ticks, one of candles.
const PARTITIONS: usize = 3;
const CANDLES: usize = 2;
/// Writers a partition.
const WRITERS: usize = 2;

/// What a stretch of a log is made of.
#[derive(Clone, Debug)]
enum Stretch {
    /// Events that are new.
    Fresh(u16),
    /// Earlier events once more, from so far back.
    Again { back: u16, many: u16 },
    /// Records that are no rows.
    Bad(u8),
}

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Answered,
    /// It is finished, but nobody hears of it.
    Unheard,
    /// The writer dies when it has been polled so often.
    Crash(u8),
}

#[derive(Clone, Debug)]
enum Step {
    /// A writer writes the next records.
    Write { partition: usize, writer: usize, many: u16, fate: Fate },
    /// Both writers at once.
    Both { partition: usize, many: [u16; 2], fates: [Fate; 2] },
    /// A batch that begins anywhere, by a writer that believes it is the next: the same again,
    /// overlapping, contained, or beyond.
    Stale { partition: usize, from: u16, many: u16 },
    /// Somebody sets the offset back by hand.
    Rewind { partition: usize, to: u16 },
    /// The topic is emptied: its offsets begin at 0 with other records.
    Empty { partition: usize },
    /// Retention takes records before they are read.
    Hole { partition: usize, many: u16 },
}

#[derive(Clone, Debug)]
struct History {
    /// A log for each partition, and another for when the topic is emptied.
    logs: Vec<[Vec<Stretch>; 2]>,
    /// Whether the partitions of ticks hold the same events.
    shared: bool,
    steps: Vec<Step>,
}

fn log() -> impl Strategy<Value = Vec<Stretch>> {
    let stretch = prop_oneof![
        4 => (1u16..20).prop_map(Stretch::Fresh),
        1 => (200u16..320).prop_map(Stretch::Fresh), // enough for COPY
        3 => (1u16..60, 1u16..30).prop_map(|(back, many)| Stretch::Again { back, many }),
        1 => (1u8..3).prop_map(Stretch::Bad),
    ];
    prop::collection::vec(stretch, 0..10)
}

fn step() -> impl Strategy<Value = Step> {
    let fate = || {
        prop_oneof![
            3 => Just(Fate::Answered),
            1 => Just(Fate::Unheard),
            3 => (0u8..30).prop_map(Fate::Crash),
        ]
    };
    let many = || prop_oneof![3 => 1u16..40, 1 => 200u16..500];
    let partition = || 0..PARTITIONS;
    prop_oneof![
        6 => (partition(), 0..WRITERS, many(), fate()).prop_map(|(partition, writer, many, fate)| {
            Step::Write { partition, writer, many, fate }
        }),
        2 => (partition(), [many(), many()], [fate(), fate()])
            .prop_map(|(partition, many, fates)| Step::Both { partition, many, fates }),
        2 => (partition(), 0u16..400, many())
            .prop_map(|(partition, from, many)| Step::Stale { partition, from, many }),
        1 => (partition(), 0u16..400).prop_map(|(partition, to)| Step::Rewind { partition, to }),
        1 => partition().prop_map(|partition| Step::Empty { partition }),
        1 => (partition(), 1u16..30).prop_map(|(partition, many)| Step::Hole { partition, many }),
    ]
}

fn history() -> impl Strategy<Value = History> {
    let logs = prop::collection::vec([log(), log()], PARTITIONS);
    (logs, any::<bool>(), prop::collection::vec(step(), 0..24))
        .prop_map(|(logs, shared, steps)| History { logs, shared, steps })
}

#[test]
fn after_any_history_each_event_is_there_once_and_every_record_is_counted() {
    let seed = std::env::var("TICKPANDA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| rand::RngExt::random(&mut rand::rng()));
    let runtime = Runtime::new().unwrap();
    let bench = runtime.block_on(bench());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // The place of an await point differs from run to run, so shrinking far is no use.
    let config = Config {
        cases: CASES,
        max_shrink_iters: 60,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, random);
    let case = std::cell::Cell::new(0);
    let result = runner.run(&history(), |history| {
        case.set(case.get() + 1);
        runtime.block_on(async { Replay::new(&bench, case.get(), history).run().await })
    });
    let closed = result.map_err(|error| format!("TICKPANDA_SEED={seed}: {error}"));
    runtime.block_on(async { drop(bench) });
    closed.unwrap_or_else(|error| panic!("{error}"));
}

/// What a record says, apart from its bytes.
#[derive(Clone, Debug)]
enum Content {
    Tick(i64),
    /// Minute, and what the newest revision is the greatest of: with it the close.
    Candle(u8, (i64, bool, u128), u8),
    Bad,
}

/// One partition: what is on it, and what the model knows of how far the table is.
struct Partition {
    place: Place,
    feed: Feed,
    log: Vec<(Record, Content)>,
    emptied: Vec<(Record, Content)>,
    /// Where the offset was set, other than by writing.
    base: i64,
    /// How many records were written, each time one was.
    covered: i64,
    bad: i64,
    /// What was written at least once.
    written: Vec<(Record, Content)>,
    seats: Vec<Seat>,
}

/// A writer's process.
struct Seat {
    writer: Writer,
    /// `None`: it has to ask.
    position: Option<i64>,
}

struct Replay<'b> {
    bench: &'b Bench,
    case: u32,
    history: History,
    partitions: Vec<Partition>,
}

impl<'b> Replay<'b> {
    fn new(bench: &'b Bench, case: u32, history: History) -> Self {
        let partitions = (0..PARTITIONS)
            .map(|number| {
                let ticks = number != CANDLES;
                let feed = if ticks { Feed::Ticks } else { Feed::Candles };
                let topic = format!("{}-{case}", if ticks { "ticks" } else { "candles" });
                let partition = i32::try_from(number).unwrap();
                let place = Place { cluster: "c".into(), topic, partition };
                let market = market(case, number, history.shared);
                let [log, emptied] = &history.logs[number];
                Partition {
                    log: records(&market, feed, log, 0),
                    emptied: records(&market, feed, emptied, 5), // some of the events again
                    base: 0,
                    covered: 0,
                    bad: 0,
                    written: Vec::new(),
                    seats: (0..WRITERS).map(|_| seat(bench, &place, feed)).collect(),
                    place,
                    feed,
                }
            })
            .collect();
        Replay { bench, case, history, partitions }
    }

    async fn run(mut self) -> Result<(), TestCaseError> {
        for step in std::mem::take(&mut self.history.steps) {
            self.step(step).await?;
        }
        for number in 0..PARTITIONS {
            let partition = &mut self.partitions[number];
            loop {
                partition.seats[0].position = None; // whatever it believed: from where the table is
                let (from, end) = (partition.open(0).await, partition.end());
                partition.covers(from);
                if from == end {
                    break;
                }
                partition.write(self.bench, 0, 400, Fate::Answered).await?;
            }
        }
        self.check_ticks().await?;
        self.check_candles().await?;
        self.check_letters().await
    }

    async fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        let bench = self.bench;
        match step {
            Step::Write { partition, writer, many, fate } => {
                self.partitions[partition].write(bench, writer, many, fate).await?;
            }
            Step::Both { partition, many, fates } => {
                let partition = &mut self.partitions[partition];
                let [from, other] = [partition.open(0).await, partition.open(1).await];
                let batches = [partition.batch(from, many[0]), partition.batch(other, many[1])];
                let [one, two] = &mut partition.seats[..] else { unreachable!("two writers") };
                let (a, b) = tokio::join!(
                    fated(fates[0], one.writer.put(from, &batches[0])),
                    fated(fates[1], two.writer.put(other, &batches[1])),
                );
                for (seat, (outcome, batch)) in [a, b].into_iter().zip(&batches).enumerate() {
                    partition.wrote(bench, seat, fates[seat], outcome, batch)?;
                }
            }
            Step::Stale { partition, from, many } => {
                let partition = &mut self.partitions[partition];
                let from = i64::from(from).min(partition.end());
                partition.seats[0].position = Some(from);
                partition.write(bench, 0, many, Fate::Answered).await?;
            }
            Step::Rewind { partition, to } => {
                let partition = &mut self.partitions[partition];
                partition.open(0).await;
                let mut transaction = bench.pool.begin().await.unwrap();
                let place = &partition.place;
                let of = "WHERE topic = $1 AND partition = $2";
                let from: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                    "SELECT next_offset FROM sink_offsets {of} FOR UPDATE"
                )))
                .bind(&place.topic)
                .bind(place.partition)
                .fetch_one(&mut *transaction)
                .await
                .unwrap();
                let to = i64::from(to).min(from);
                sqlx::query(sqlx::AssertSqlSafe(format!(
                    "UPDATE sink_offsets SET next_offset = $3 {of}"
                )))
                .bind(&place.topic)
                .bind(place.partition)
                .bind(to)
                .execute(&mut *transaction)
                .await
                .unwrap();
                transaction.commit().await.unwrap();
                partition.covers(from);
                partition.base = to;
            }
            Step::Empty { partition } => {
                let partition = &mut self.partitions[partition];
                partition.jump(|_, _| 0).await;
                partition.log = std::mem::take(&mut partition.emptied);
            }
            Step::Hole { partition, many } => {
                let partition = &mut self.partitions[partition];
                partition.jump(|from, end| (from + i64::from(many)).min(end)).await;
            }
        }
        Ok(())
    }

    async fn check_ticks(&self) -> Result<(), TestCaseError> {
        let mut sums = [0; 2]; // rows, and records that are none of them
        for number in 0..CANDLES {
            let market = market(self.case, number, self.history.shared);
            let same = self.partitions[..CANDLES].iter().enumerate();
            let same = same.filter(|(n, _)| self.history.shared || *n == number);
            let written = same.flat_map(|(_, partition)| &partition.written);
            let events: BTreeSet<_> = written
                .filter_map(|(_, content)| match content {
                    Content::Tick(event) => Some(*event),
                    _ => None,
                })
                .collect();
            let rows: Vec<(String, f64)> = sqlx::query_as(
                "SELECT trade_id, price FROM ticks WHERE market = $1 ORDER BY time, id",
            )
            .bind(&market)
            .fetch_all(&self.bench.pool)
            .await
            .unwrap();
            let expected: Vec<_> = events.iter().map(|e| (e.to_string(), price(*e))).collect();
            prop_assert_eq!(&rows, &expected, "the ticks of partition {}", number);
            let latest: Vec<String> =
                sqlx::query_scalar("SELECT trade_id FROM latest_ticks WHERE market = $1")
                    .bind(&market)
                    .fetch_all(&self.bench.pool)
                    .await
                    .unwrap();
            let last: Vec<_> = events.last().iter().map(|event| event.to_string()).collect();
            prop_assert_eq!(latest, last, "the latest tick of partition {}", number);

            let (duplicates, refused) = self.counters(number).await;
            let partition = &self.partitions[number];
            prop_assert_eq!(refused, partition.bad, "refused of partition {}", number);
            let rows = i64::try_from(rows.len()).unwrap();
            if !self.history.shared {
                prop_assert_eq!(rows + duplicates + refused, partition.covered);
            }
            sums[0] = if self.history.shared { rows } else { sums[0] + rows };
            sums[1] += partition.covered - duplicates - refused;
        }
        prop_assert_eq!(sums[0], sums[1], "records = rows + duplicates + refused");
        Ok(())
    }

    async fn check_candles(&self) -> Result<(), TestCaseError> {
        let partition = &self.partitions[CANDLES];
        let mut newest = BTreeMap::new();
        for (_, content) in &partition.written {
            if let Content::Candle(minute, rank, close) = content {
                let revision = newest.entry(i64::from(*minute)).or_insert((*rank, *close));
                *revision = (*revision).max((*rank, *close));
            }
        }
        let rows: Vec<(i64, i64)> = sqlx::query_as(
            "SELECT extract(minute FROM bucket)::bigint, close::bigint FROM ohlcv
             WHERE market = $1 ORDER BY 1",
        )
        .bind(market(self.case, CANDLES, self.history.shared))
        .fetch_all(&self.bench.pool)
        .await
        .unwrap();
        let expected: Vec<_> =
            newest.into_iter().map(|(minute, (_, close))| (minute, i64::from(close))).collect();
        prop_assert_eq!(&rows, &expected, "the newest revision of each candle");
        let (duplicates, refused) = self.counters(CANDLES).await;
        prop_assert_eq!(refused, partition.bad, "refused candles");
        let changed = partition.covered - duplicates - refused;
        prop_assert!(changed >= i64::try_from(rows.len()).unwrap(), "each row was once written");
        Ok(())
    }

    async fn check_letters(&self) -> Result<(), TestCaseError> {
        let written = self.partitions.iter().flat_map(|partition| &partition.written);
        let bad: BTreeSet<_> = written
            .filter(|(_, content)| matches!(content, Content::Bad))
            .map(|(record, _)| record.bytes().to_vec())
            .collect();
        let kept: Vec<Vec<u8>> = sqlx::query_scalar(
            "SELECT value FROM dead_letters WHERE topic = ANY ($1) ORDER BY value",
        )
        .bind(self.partitions.iter().map(|p| &*p.place.topic).collect::<Vec<_>>())
        .fetch_all(&self.bench.pool)
        .await
        .unwrap();
        prop_assert_eq!(kept, bad.into_iter().collect::<Vec<_>>(), "dead letters");
        Ok(())
    }

    /// Duplicates and refused, as the table has them.
    async fn counters(&self, number: usize) -> (i64, i64) {
        let place = &self.partitions[number].place;
        sqlx::query_as(
            "SELECT duplicates, refused FROM sink_offsets WHERE topic = $1 AND partition = $2",
        )
        .bind(&place.topic)
        .bind(place.partition)
        .fetch_one(&self.bench.pool)
        .await
        .unwrap()
    }
}

impl Partition {
    fn end(&self) -> i64 {
        i64::try_from(self.log.len()).unwrap()
    }

    fn batch(&self, from: i64, many: u16) -> Fetched {
        let to = (from + i64::from(many)).min(self.end());
        let records = self.log[index(from..to)].iter().map(|(record, _)| record.clone()).collect();
        Fetched { records, lost: Vec::new(), next_offset: to, high_watermark: self.end() }
    }

    /// Where a writer believes the partition to be.
    async fn open(&mut self, seat: usize) -> i64 {
        let end = self.end();
        let seat = &mut self.seats[seat];
        let position = match seat.position {
            // Beyond the end, which the broker would have told it, since the topic was emptied.
            Some(position) if position <= end => position,
            _ => seat.writer.open(0).await.unwrap().next_offset,
        };
        *seat.position.insert(position)
    }

    async fn write(
        &mut self,
        bench: &Bench,
        seat: usize,
        many: u16,
        fate: Fate,
    ) -> Result<(), TestCaseError> {
        let from = self.open(seat).await;
        let batch = self.batch(from, many);
        let outcome = fated(fate, self.seats[seat].writer.put(from, &batch)).await;
        self.wrote(bench, seat, fate, outcome, &batch)
    }

    /// What a writer knows after a write, or that another takes its seat.
    fn wrote(
        &mut self,
        bench: &Bench,
        seat: usize,
        fate: Fate,
        outcome: Option<Result<Outcome, crate::SinkError>>,
        batch: &Fetched,
    ) -> Result<(), TestCaseError> {
        let position = match (fate, outcome) {
            (Fate::Answered | Fate::Crash(_), Some(outcome)) => match outcome.unwrap() {
                Outcome::Committed(counts) => {
                    prop_assert_eq!(counts.records, batch.records.len() as u64);
                    Some(batch.next_offset)
                }
                Outcome::Fenced => None,
            },
            _ => {
                self.seats[seat] = self::seat(bench, &self.place, self.feed);
                None
            }
        };
        self.seats[seat].position = position;
        Ok(())
    }

    /// Moves the offset without writing, as the pump does.
    async fn jump(&mut self, to: impl Fn(i64, i64) -> i64) {
        loop {
            self.seats[0].position = None;
            let from = self.open(0).await;
            let to = to(from, self.end());
            let jumped = self.seats[0].writer.jump(from, to, None).await.unwrap();
            if jumped != Outcome::Fenced {
                self.covers(from);
                self.base = to;
                // The pump's own position moves with it; the others' do not.
                self.seats[0].position = Some(to);
                return;
            }
        }
    }

    /// By writing, the offset came from where it was set to `to`.
    fn covers(&mut self, to: i64) {
        let records = &self.log[index(self.base..to)];
        self.covered += to - self.base;
        self.bad += i64::try_from(
            records.iter().filter(|(_, content)| matches!(content, Content::Bad)).count(),
        )
        .unwrap();
        self.written.extend_from_slice(records);
        self.base = to;
    }
}

/// A writer as in a process of its own.
fn seat(bench: &Bench, place: &Place, feed: Feed) -> Seat {
    let database = Database::new((*bench.pool.connect_options()).clone(), 1);
    let writer = Writer::new(database, place.clone(), feed, Arc::new(Stats::default()));
    Seat { writer, position: None }
}

/// Runs a write as far as its fate lets it.
async fn fated<T>(fate: Fate, write: impl Future<Output = T>) -> Option<T> {
    let mut left = match fate {
        Fate::Answered | Fate::Unheard => return Some(write.await),
        Fate::Crash(polls) => polls,
    };
    let mut write = pin!(write);
    std::future::poll_fn(|context| match write.as_mut().poll(context) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if left == 0 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

fn index(offsets: Range<i64>) -> Range<usize> {
    usize::try_from(offsets.start).unwrap()..usize::try_from(offsets.end).unwrap()
}

/// Rows of different histories have different markets.
fn market(case: u32, partition: usize, shared: bool) -> String {
    let partition = if shared && partition != CANDLES { 0 } else { partition };
    format!("M{case}-{partition}")
}

fn price(event: i64) -> f64 {
    100.0 + (event % 50) as f64
}

/// A log in full. `first` is the first fresh event's number.
fn records(market: &str, feed: Feed, log: &[Stretch], first: i64) -> Vec<(Record, Content)> {
    let mut events = Vec::new();
    let mut fresh = first;
    for stretch in log {
        match *stretch {
            Stretch::Fresh(many) => {
                events.extend((fresh..fresh + i64::from(many)).map(Some));
                fresh += i64::from(many);
            }
            Stretch::Again { back, many } => {
                let start = events.len().saturating_sub(back.into());
                let end = (start + usize::from(many)).min(events.len());
                events.extend_from_within(start..end);
            }
            Stretch::Bad(many) => events.extend((0..many).map(|_| None)),
        }
    }
    (0..)
        .zip(events)
        .map(|(offset, event)| match (event, feed) {
            (None, _) => (record(offset, format!("{{{market}~{}", offset % 3)), Content::Bad),
            (Some(event), Feed::Ticks) => {
                (tick_of_market(offset, market, event), Content::Tick(event))
            }
            (Some(event), _) => candle_of_market(offset, market, event),
        })
        .collect()
}

/// Three events have the same time, so that their ids decide which is the latest.
fn tick_of_market(offset: i64, market: &str, event: i64) -> Record {
    let time = 1_700_000_000 + event / 3;
    let id = format!("{:016x}{event:016x}", xxhash_rust::xxh3::xxh3_64(market.as_bytes()));
    let price = price(event);
    record(
        offset,
        format!(
            r#"{{"symbol":"BTCUSD","price":{price},"timestamp":{time},"volume":0.5,"kind":"trade","market":"{market}","base":"BTC","quote":"USD","received_at":1700000000123,"id":"{id}","side":"sell","trade_id":"{event}"}}"#
        ),
    )
}

/// An event is a revision of one of seven candles, in no order.
fn candle_of_market(offset: i64, market: &str, event: i64) -> (Record, Content) {
    let shuffled = xxhash_rust::xxh3::xxh3_64(&event.to_be_bytes());
    let minute = u8::try_from(shuffled % 7).unwrap();
    let received_at = 1000 + i64::try_from(shuffled / 7 % 5).unwrap();
    let (closed, close) = (shuffled & 1 << 40 != 0, u8::try_from(shuffled >> 50 & 7).unwrap());
    let json = format!(
        r#"{{"bucket":"2024-01-01T00:{minute:02}:00.000Z","symbol":"BTCUSD","open":1,"high":2,"low":1,"close":{close},"volume":null,"interval":"1m","market":"{market}","base":"BTC","quote":"USD","closed":{closed},"received_at":{received_at}}}"#
    );
    let rank = (received_at, closed, xxhash_rust::xxh3::xxh3_128(json.as_bytes()));
    (record(offset, json), Content::Candle(minute, rank, close))
}
