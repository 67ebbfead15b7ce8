//! One partition from the topic to its table: the next batch is fetched while this one is written.
//!
//! ```text
//!   fetch 1 │ fetch 2 │ fetch 3 │ …
//!           │ write 1 │ write 2 │ …
//! ```
//!
//! So batches adapt by themselves: while a write takes long, records gather at the broker and the
//! next fetch brings many; when nothing is behind, each record is written as it comes. At most two
//! batches are held.

use std::ops::Range;
use std::sync::Arc;

use tickpanda_model::gap::{GapEvent, GapState};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::copy::CopyData;
use crate::decode::Feed;
use crate::error::SinkError;
use crate::fetch::{FetchError, Fetched, Log};
use crate::micros::{Micros, now_millis};
use crate::offsets::{self, Last, Standing};
use crate::outage::{Outage, wait};
use crate::stats::Stats;
use crate::writer::{Outcome, Writer};

/// How often telling of a hole is tried again: a few seconds.
const ANNOUNCEMENTS: u32 = 6;

/// Reads a partition and writes it until `stop`.
pub(crate) struct Pump<L> {
    log: L,
    writer: Writer,
    feed: Feed,
    /// The timestamp of the last record that is written, where it is known.
    last_time: Option<Micros>,
    broker: Arc<Outage>,
    stats: Arc<Stats>,
    stop: CancellationToken,
}

/// What asking the broker led to.
enum Next {
    Batch(Fetched),
    /// The offset is not in the partition, which begins and ends so.
    Outside(Range<i64>),
}

/// [`Next`], with the batch made ready.
enum Fetch {
    Batch(Pending),
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
        let feed = writer.feed();
        Pump { log, writer, feed, last_time: None, broker, stats, stop }
    }
}

impl<L: Log> Pump<L> {
    /// Runs until `stop`, or until an error that waiting does not mend. A write that was begun is
    /// finished; what was fetched and not written is fetched again by the next run.
    pub(crate) async fn run(mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        let Some(range) = stop.run_until_cancelled(range(&mut self.log, &self.broker)).await else {
            return Ok(());
        };
        let standing = self.writer.open(range.start).await?;
        self.last_time = standing.last_time;
        let started = stop.run_until_cancelled(self.recognize(standing, range.clone())).await;
        let Some(mut position) = started.transpose()? else { return Ok(()) };
        let mut pending: Option<Pending> = None;
        loop {
            let from = pending.as_ref().map_or(position, |batch| batch.fetched.next_offset);
            let write = async {
                match &pending {
                    Some(Pending { fetched, copy }) => {
                        self.writer.write(position, fetched, copy.as_ref()).await.map(Some)
                    }
                    None => Ok(None),
                }
            };
            let feed = self.feed;
            let fetch = async {
                let next = stop.run_until_cancelled(next(&mut self.log, &self.broker, from));
                Ok(match next.await {
                    Some(Next::Batch(fetched)) => {
                        let copy = Writer::prepare(feed, &fetched);
                        Some(Fetch::Batch(Pending { fetched, copy }))
                    }
                    Some(Next::Outside(range)) => Some(Fetch::Outside(range)),
                    None => None,
                })
            };
            // An error of the writer ends the pump also while the broker is away.
            let (written, fetched) = tokio::try_join!(write, fetch)?;
            match written {
                Some(Outcome::Fenced) => {
                    let place = self.writer.place();
                    warn!(
                        topic = place.topic,
                        partition = place.partition,
                        offset = position,
                        "another writer moved this partition's offset: going on from where it is"
                    );
                    let standing = self.writer.open(range.start).await?;
                    (position, self.last_time) = (standing.next_offset, standing.last_time);
                    pending = None;
                    if fetched.is_none() {
                        return Ok(());
                    }
                    continue;
                }
                Some(Outcome::Committed(_)) | None => position = from,
            }
            if let Some(written) = pending.take() {
                self.last_time = written.last_time().or(self.last_time);
            }
            pending = match fetched {
                None => return Ok(()),
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
        if standing.stranger {
            info!(
                topic = place.topic,
                partition = place.partition,
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
        let found = match next(&mut self.log, &self.broker, before).await {
            Next::Batch(batch) => {
                batch.records.into_iter().next().filter(|record| record.offset == before)
            }
            Next::Outside(_) => None,
        };
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
        let first = match range.is_empty() {
            true => None,
            false => match next(&mut self.log, &self.broker, range.start).await {
                Next::Batch(batch) => batch.records.first().map(|record| record.timestamp),
                Next::Outside(_) => None, // it has moved on already: the next fetch finds it
            },
        };
        let hole = GapEvent {
            kind: "offsets".to_owned(),
            market: None,
            base: None,
            quote: None,
            // What names the hole must be the same when a crash makes us tell of it twice.
            gap_from: match self.last_time {
                Some(time) => time.millis(),
                None => now_millis(),
            },
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
        self.stats.hole(self.writer.place(), missed.unsigned_abs());
        self.jump(from, range.start, Some(hole)).await
    }

    async fn jump(&mut self, from: i64, to: i64, hole: Option<GapEvent>) -> Result<i64, SinkError> {
        match self.writer.jump(from, to, hole).await? {
            Outcome::Committed(_) => Ok(to),
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
    let mut attempt = 0;
    loop {
        match log.announce(hole).await {
            Ok(()) => return,
            Err(error) if attempt == ANNOUNCEMENTS => {
                warn!(
                    topic = hole.topic,
                    partition = hole.partition,
                    "a hole is told of in the table gaps only, not on the topic: {error}"
                );
                return;
            }
            Err(_) => wait(attempt).await,
        }
        attempt += 1;
    }
}

/// Fetches, waiting out whatever keeps the broker from answering.
async fn next(log: &mut impl Log, broker: &Outage, from: i64) -> Next {
    let mut attempt = 0;
    loop {
        let error = match log.fetch(from).await {
            Ok(batch) => {
                broker.served();
                return Next::Batch(batch);
            }
            Err(FetchError::OutOfRange) => match log.range().await {
                Ok(range) if (range.start..=range.end).contains(&from) => {
                    FetchError::Away("it refuses an offset that it has".to_owned())
                }
                Ok(range) => return Next::Outside(range),
                Err(error) => error,
            },
            Err(error) => error,
        };
        broker.failed(&error);
        wait(attempt).await;
        attempt = attempt.saturating_add(1);
    }
}

/// Where the partition begins and ends, waiting as [`next`] does.
async fn range(log: &mut impl Log, broker: &Outage) -> Range<i64> {
    let mut attempt = 0;
    loop {
        match log.range().await {
            Ok(range) => return range,
            Err(error) => broker.failed(&error),
        }
        wait(attempt).await;
        attempt = attempt.saturating_add(1);
    }
}
