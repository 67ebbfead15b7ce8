//! One partition from the topic to its table: the next batch is fetched while this one is written.
//!
//! ```text
//!   fetch 1 │ fetch 2 │ fetch 3 │ …
//!           │ write 1 │ write 2 │ …
//! ```
//!
//! So batches adapt by themselves: while a write takes long, records gather at the broker and the
//! next fetch brings many; when nothing is behind, each record is written as it comes. At most two
//! batches are held, each as it was read and, where that may be, as COPY sends it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tickpanda_model::gap::{GapEvent, GapState};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::copy::CopyData;
use crate::error::SinkError;
use crate::fetch::{FetchError, Fetched, Log};
use crate::micros::Micros;
use crate::offsets::{self, Last, Standing};
use crate::outage::{Outage, wait};
use crate::record::Record;
use crate::stats::Stats;
use crate::writer::{Outcome, Writer};

/// How long telling of a hole is tried.
const ANNOUNCE: Duration = Duration::from_secs(5);
/// How often a partition that ends before what was read of it is asked again: some two seconds.
const AGAIN: u32 = 6;

/// Reads a partition and writes it until `stop`.
pub(crate) struct Pump<L> {
    log: L,
    writer: Writer,
    /// The timestamp of the last record that is written, where it is known.
    last_time: Option<Micros>,
    broker: Arc<Outage>,
    stats: Arc<Stats>,
    stop: CancellationToken,
}

/// What asking the broker led to.
enum Next {
    Batch(Fetched),
    /// It was away, and is there again: what it has now may be another topic of the same name.
    Interrupted,
    /// The offset is not in the partition, which begins and ends so.
    Outside(Range<i64>),
}

/// [`Next`], with the batch made ready.
enum Fetch {
    Batch(Pending),
    Interrupted,
    Outside(Range<i64>),
}

/// A batch that waits for its turn.
struct Pending {
    fetched: Fetched,
    copy: Option<CopyData>,
}

impl Pending {
    fn last_time(&self) -> Option<Micros> {
        Last::of(&self.fetched.records, self.fetched.next_offset)?.time
    }
}

impl<L: Log> Pump<L> {
    /// A pump that is not running yet.
    pub(crate) fn new(
        log: L,
        writer: Writer,
        broker: Arc<Outage>,
        stats: Arc<Stats>,
        stop: CancellationToken,
    ) -> Self {
        Pump { log, writer, last_time: None, broker, stats, stop }
    }

    /// Runs until `stop`, until an error that waiting does not mend, or until its partition is another
    /// cluster's or topic's than it was. A write that was begun is finished; what was fetched and not
    /// written is fetched again by the next run.
    pub(crate) async fn run(mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        while stop.run_until_cancelled(self.is_the_same()).await == Some(true) {
            self.run_once().await?;
        }
        Ok(())
    }

    /// Whether the broker's partition is still the one that this pump was started for, as far as ids
    /// tell. Asked after each outage: behind the same address there may be another cluster by then.
    async fn is_the_same(&mut self) -> bool {
        let cluster = answered(&mut self.log, &self.broker, async |log| log.cluster().await).await;
        cluster.is_some_and(|cluster| cluster == self.writer.place().cluster)
    }

    /// Runs until `stop`, or until what is known of the topic and the table may be no longer true: another
    /// writer moved the offset, or the broker was away and may be another one now.
    async fn run_once(&mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        let Some(range) = stop.run_until_cancelled(range(&mut self.log, &self.broker)).await else {
            return Ok(());
        };
        let standing = self.writer.open(range.start).await?;
        self.last_time = standing.last_time;
        let started = stop.run_until_cancelled(self.recognize(standing, range)).await;
        let Some(mut position) = started.transpose()? else { return Ok(()) };
        let mut pending: Option<Pending> = None;
        loop {
            let from = pending.as_ref().map_or(position, |batch| batch.fetched.next_offset);
            let copies_from = self.writer.copies_from();
            let write = async {
                match &pending {
                    Some(Pending { fetched, copy }) => {
                        self.writer.write(position, fetched, copy.as_ref()).await.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let fetch = async {
                let next = stop.run_until_cancelled(next(&mut self.log, &self.broker, from));
                Ok(match next.await {
                    Some(Next::Batch(fetched)) => {
                        let copy = Writer::prepare(copies_from, &fetched);
                        Some(Fetch::Batch(Pending { fetched, copy }))
                    }
                    Some(Next::Outside(range)) => Some(Fetch::Outside(range)),
                    Some(Next::Interrupted) => Some(Fetch::Interrupted),
                    None => None,
                })
            };
            // An error of the writer ends the pump also while the broker is away.
            let (written, fetched) = tokio::try_join!(write, fetch)?;
            if let Some(Outcome::Fenced) = written {
                let place = self.writer.place();
                warn!(
                    topic = place.topic,
                    partition = place.partition,
                    offset = position,
                    "another writer moved this partition's offset: going on from where it is"
                );
                return Ok(());
            }
            position = from;
            if let Some(written) = pending.take() {
                self.last_time = written.last_time().or(self.last_time);
            }
            pending = match fetched {
                None | Some(Fetch::Interrupted) => return Ok(()),
                Some(Fetch::Outside(range)) => {
                    let skipped = stop.run_until_cancelled(self.skip(position, range)).await;
                    let Some(skipped) = skipped.transpose()? else { return Ok(()) };
                    position = skipped;
                    None
                }
                Some(Fetch::Batch(batch)) => {
                    self.stats.position(
                        self.writer.place(),
                        batch.fetched.high_watermark.saturating_sub(position),
                        self.last_time.map(Micros::millis),
                    );
                    (batch.fetched.next_offset > position).then_some(batch)
                }
            };
        }
    }

    /// Where to begin: at the table's offset, unless the record before it is not the one that was
    /// written. Then the topic is another one of the same name, on a broker that gives topics no id.
    async fn recognize(&mut self, standing: Standing, range: Range<i64>) -> Result<i64, SinkError> {
        let place = self.writer.place().clone();
        // Every topic has a partition 0, and one sink opens it: so it is said once.
        if standing.stranger && place.partition == 0 {
            info!(
                topic = place.topic,
                cluster = place.cluster,
                "the database knows this topic of another cluster, or from before it was made anew: \
                 reading it from its beginning"
            );
        }
        let (Some(last), Some(before)) =
            (standing.last_record, standing.next_offset.checked_sub(1))
        else {
            return Ok(standing.next_offset);
        };
        if !range.contains(&before) {
            return Ok(standing.next_offset); // retention took it, or the topic is empty: see `skip`
        }
        let found = self.first(before).await.filter(|record| record.offset == before);
        if found.is_none_or(|record| offsets::fingerprint(&record) == last) {
            return Ok(standing.next_offset);
        }
        warn!(
            topic = place.topic,
            partition = place.partition,
            offset = before,
            earliest = range.start,
            "the record at this offset is not the one that was written: the topic was emptied and \
             filled again, so it is read from its beginning"
        );
        self.jump(standing.next_offset, range.start, None).await
    }

    /// The position is not in the partition: goes on at its start. Where records were missed, the hole
    /// goes to `gap-events` and to `gaps`.
    async fn skip(&mut self, from: i64, range: Range<i64>) -> Result<i64, SinkError> {
        let place = self.writer.place().clone();
        let missed = range.start.saturating_sub(from);
        warn!(
            topic = place.topic,
            partition = place.partition,
            offset = from,
            earliest = range.start,
            latest = range.end,
            "the next offset is not in the partition (retention took it, or the \
              topic was emptied): going on at the earliest"
        );
        if missed <= 0 {
            return self.jump(from, range.start, None).await;
        }
        // Retention may have moved on already: the next fetch finds that.
        let first = if range.is_empty() { None } else { self.first(range.start).await };
        let first = first.map(|record| record.timestamp);
        let first = first.filter(|time| Micros::from_millis(*time).is_some());
        let hole = GapEvent {
            kind: "offsets".to_owned(),
            market: None,
            base: None,
            quote: None,
            // What names the hole must be the same when a crash makes us tell of it twice.
            gap_from: self.last_time.map(Micros::millis).or(first).unwrap_or(0),
            gap_to: first,
            first_offset: Some(from),
            last_offset: Some(range.start - 1),
            missing: Some(missed),
            state: GapState::Unrepairable,
            reason: format!(
                "retention took the records before the sink read them ({})",
                place.cluster
            ),
            topic: Some(place.topic),
            partition: Some(place.partition),
        };
        announce(&mut self.log, &hole).await;
        self.jump(from, range.start, Some(hole)).await
    }

    /// The first record from an offset on, where there is one.
    async fn first(&mut self, from: i64) -> Option<Record> {
        loop {
            match next(&mut self.log, &self.broker, from).await {
                Next::Batch(batch) => return batch.records.into_iter().next(),
                Next::Outside(_) => return None,
                Next::Interrupted => {}
            }
        }
    }

    async fn jump(&mut self, from: i64, to: i64, hole: Option<GapEvent>) -> Result<i64, SinkError> {
        let missed = hole.as_ref().and_then(|hole| hole.missing).unwrap_or(0).unsigned_abs();
        match self.writer.jump(from, to, hole).await? {
            Outcome::Committed(_) => {
                self.stats.hole(missed);
                Ok(to)
            }
            Outcome::Fenced => {
                let standing = self.writer.open(to).await?;
                self.last_time = standing.last_time;
                Ok(standing.next_offset)
            }
        }
    }
}

/// Tells of a hole on `gap-events`. The table gets it in any case, so a topic that takes nothing delays
/// the partition only a little.
async fn announce(log: &mut impl Log, hole: &GapEvent) {
    let mut why = "no answer".to_owned();
    let told = async {
        for attempt in 0.. {
            match log.announce(hole).await {
                Ok(()) => return,
                Err(error) => why = error.to_string(),
            }
            wait(attempt).await;
        }
    };
    if tokio::time::timeout(ANNOUNCE, told).await.is_err() {
        warn!(
            topic = hole.topic,
            partition = hole.partition,
            "a hole is told of in the table gaps only, not on the topic: {why}"
        );
    }
}

/// Fetches, waiting out whatever keeps the broker from answering.
async fn next(log: &mut impl Log, broker: &Outage, from: i64) -> Next {
    let mut attempt = 0;
    loop {
        let error = match log.fetch(from).await {
            Ok(_) if attempt > 0 => {
                broker.served();
                return Next::Interrupted;
            }
            Ok(batch) => {
                broker.served();
                return Next::Batch(batch);
            }
            Err(FetchError::OutOfRange) => match log.range().await {
                Ok(range) if (range.start..=range.end).contains(&from) => {
                    FetchError::Away("it refuses an offset that it has".to_owned())
                }
                // A leader that has not caught up yet ends before what was read of the former one.
                Ok(range) if from > range.end && attempt < AGAIN => FetchError::Away(format!(
                    "it ends at offset {}, before {from} where it was read to",
                    range.end
                )),
                Ok(range) => {
                    broker.served();
                    return Next::Outside(range);
                }
                Err(error) => error,
            },
            Err(error) => error,
        };
        broker.failed(&error);
        wait(attempt).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Where the partition begins and ends.
async fn range(log: &mut impl Log, broker: &Outage) -> Range<i64> {
    answered(log, broker, async |log| log.range().await).await
}

/// The broker's answer, waiting as [`next`] does.
async fn answered<L: Log, T>(
    log: &mut L,
    broker: &Outage,
    ask: impl AsyncFn(&mut L) -> Result<T, FetchError>,
) -> T {
    let mut attempt = 0;
    loop {
        match ask(log).await {
            Ok(answer) => {
                broker.served();
                return answer;
            }
            Err(error) => broker.failed(&error),
        }
        wait(attempt).await;
        attempt = attempt.saturating_add(1);
    }
}
