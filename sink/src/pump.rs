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

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tickpanda_model::gap::{GapEvent, GapState};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::error::SinkError;
use crate::fetch::{FetchError, Fetched, Log};
use crate::outage::{Outage, wait};
use crate::stats::Stats;
use crate::writer::{Outcome, Writer};

/// Reads a partition and writes it until `stop`.
pub(crate) struct Pump<L> {
    pub(crate) log: L,
    pub(crate) writer: Writer,
    pub(crate) broker: Arc<Outage>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stop: CancellationToken,
}

/// What fetching led to.
enum Next {
    Batch(Fetched),
    /// The offset is not in the partition, which begins and ends so.
    Outside(std::ops::Range<i64>),
    Stop,
}

impl<L: Log> Pump<L> {
    /// Runs until `stop`, or until an error that waiting does not mend. A write that was begun is
    /// finished; what was fetched and not written is fetched again by the next run.
    pub(crate) async fn run(mut self) -> Result<(), SinkError> {
        let stop = self.stop.clone();
        let range = tokio::select! {
            range = range(&mut self.log, &self.broker) => range,
            () = stop.cancelled() => return Ok(()),
        };
        let mut position = self.writer.open(range.start).await?;
        let mut pending: Option<Fetched> = None;
        loop {
            let from = pending.as_ref().map_or(position, |batch| batch.next_offset);
            let write = async {
                match &pending {
                    Some(batch) => self.writer.write(position, batch).await.map(Some),
                    None => Ok(None),
                }
            };
            let fetch = async {
                tokio::select! {
                    next = next(&mut self.log, &self.broker, from) => Ok(next),
                    () = stop.cancelled() => Ok(Next::Stop),
                }
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
                    position = self.writer.open(range.start).await?;
                    pending = None;
                    if matches!(fetched, Next::Stop) {
                        return Ok(());
                    }
                    continue;
                }
                Some(Outcome::Committed(_)) | None => position = from,
            }
            pending = match fetched {
                Next::Stop => return Ok(()),
                Next::Outside(range) => {
                    position = self.jump(position, range).await?;
                    None
                }
                Next::Batch(batch) => {
                    let last = pending.as_ref().and_then(|batch| batch.records.last());
                    self.stats.position(
                        self.writer.place(),
                        batch.high_watermark.saturating_sub(position),
                        last.map(|last| last.timestamp),
                    );
                    (batch.next_offset > position).then_some(batch)
                }
            };
        }
    }

    /// The position is not in the partition: goes on at its start, and leaves a row in `gaps` where
    /// records were missed.
    async fn jump(&mut self, from: i64, range: std::ops::Range<i64>) -> Result<i64, SinkError> {
        let place = self.writer.place().clone();
        let missed = range.start - from;
        warn!(
            topic = place.topic,
            partition = place.partition,
            offset = from,
            earliest = range.start,
            latest = range.end,
            "the next offset is not in the partition (retention took it, or the \
              topic was emptied): going on at the earliest"
        );
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let hole = (missed > 0).then(|| GapEvent {
            kind: "offsets".to_owned(),
            market: None,
            base: None,
            quote: None,
            topic: Some(place.topic),
            partition: Some(place.partition),
            gap_from: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
            gap_to: None,
            first_offset: Some(from),
            last_offset: Some(range.start - 1),
            missing: Some(missed),
            state: GapState::Unrepairable,
            reason: format!(
                "retention took the records before the sink read them ({})",
                place.cluster
            ),
        });
        self.stats.hole(self.writer.place(), missed.max(0).unsigned_abs());
        match self.writer.jump(from, range.start, hole).await? {
            Outcome::Committed(_) => Ok(range.start),
            Outcome::Fenced => self.writer.open(range.start).await,
        }
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
async fn range(log: &mut impl Log, broker: &Outage) -> std::ops::Range<i64> {
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
