//! One batch, one transaction: its rows, the dead letters among it, and the partition's offset.

use std::sync::Arc;
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres};
use tracing::warn;

use crate::database::Database;
use crate::dead_letters::{self, DeadLetter};
use crate::decode::{Feed, Rows, Unfit, decode};
use crate::error::{Class, SinkError, class, is_duplicate_key};
use crate::fetch::Fetched;
use crate::gaps::{self, GapRow};
use crate::latest::Latest;
use crate::offsets::{self, Counts, Place};
use crate::record::Record;
use crate::stats::Stats;
use crate::ticks::{self, CopyPolicy};

/// COPY is worth its extra round trips from about here on (measured with `src/tests/speed.rs`).
const COPY_MIN_ROWS: usize = 200;
/// Over TCP each COPY stalls for a delayed acknowledgement (sqlx 0.9.0 has no TCP_NODELAY).
const COPY_MIN_ROWS_TCP: usize = 2000;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the database, counted as said.
    Committed(Counts),
    /// The offset was not where this writer thought, so nothing was written: open it again.
    Fenced,
}

/// How the rows of a batch are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Binary COPY: fast, and refused as a whole when one row is there already.
    Copy,
    /// All at once, tolerating rows that are there already.
    Insert,
    /// By halves, until the rows that the database refuses stand alone.
    Isolate,
}

/// Writes the batches of one partition.
pub(crate) struct Writer {
    database: Database,
    place: Place,
    feed: Feed,
    copy: CopyPolicy,
    stats: Arc<Stats>,
    latest: Latest,
}

impl Writer {
    /// A writer for one partition of a topic that holds `feed`.
    pub(crate) fn new(database: Database, place: Place, feed: Feed, stats: Arc<Stats>) -> Self {
        let min_rows = if database.tcp { COPY_MIN_ROWS_TCP } else { COPY_MIN_ROWS };
        let (copy, latest) = (CopyPolicy::new(min_rows), Latest::default());
        Writer { database, place, feed, copy, stats, latest }
    }

    /// The same, offering committed ticks to the cache.
    pub(crate) fn offering(self, latest: Latest) -> Self {
        Writer { latest, ..self }
    }

    /// The partition that this writes.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Where to read on; a partition that the table does not know starts at `earliest`.
    ///
    /// # Errors
    /// [`SinkError::Database`] where waiting does not help.
    pub(crate) async fn open(&self, earliest: i64) -> Result<i64, SinkError> {
        let mut attempt = 0;
        loop {
            let opened = async {
                let lease = self.database.lease().await?;
                lease.run(async |conn| offsets::open(conn, &self.place, earliest).await).await
            };
            match opened.await {
                Ok(offset) => {
                    self.database.served();
                    return Ok(offset);
                }
                Err(error) => self.database.pause("read sink_offsets", error, attempt).await?,
            }
            attempt = attempt.saturating_add(1);
        }
    }

    /// Writes a batch whose first record is expected at `expected`, as long as it takes.
    ///
    /// # Errors
    /// [`SinkError::Database`] where waiting does not help.
    pub(crate) async fn write(
        &mut self,
        expected: i64,
        batch: &Fetched,
    ) -> Result<Outcome, SinkError> {
        let began = Instant::now();
        let Place { topic, partition, .. } = self.place.clone();
        let (rows, mut unfit) = decode(self.feed, &topic, partition, &batch.records);
        for (record, detail) in &batch.lost {
            let why = Unfit::unreadable(detail.clone());
            unfit.push(DeadLetter::of_sink(&topic, partition, record, why));
        }
        let copy = matches!(rows, Rows::Ticks(_)) && self.copy.try_copy(rows.len());
        let mut way = if copy { Way::Copy } else { Way::Insert };
        let mut attempt = 0;
        loop {
            match self.attempt(expected, batch, &rows, &unfit, way).await {
                Ok(outcome) => {
                    self.database.served();
                    if way == Way::Copy {
                        self.copy.passed();
                    }
                    self.stats.wrote(self.feed, outcome, began.elapsed());
                    if let (Outcome::Committed(_), Rows::Ticks(ticks)) = (outcome, &rows) {
                        self.latest.offer(ticks);
                    }
                    return Ok(outcome);
                }
                Err(error) if way == Way::Copy && is_duplicate_key(&error) => {
                    self.copy.conflict();
                    way = Way::Insert;
                }
                Err(error) if way != Way::Isolate && class(&error) == Class::Data => {
                    way = Way::Isolate;
                }
                Err(error) => {
                    let doing = format!("write {topic}/{partition} from offset {expected}");
                    self.database.pause(&doing, error, attempt).await?;
                    attempt = attempt.saturating_add(1);
                }
            }
        }
    }

    async fn attempt(
        &self,
        expected: i64,
        batch: &Fetched,
        rows: &Rows<'_>,
        unfit: &[DeadLetter<'_>],
        way: Way,
    ) -> sqlx::Result<Outcome> {
        let lease = self.database.lease().await?;
        lease.run(async |conn| self.transact(conn, expected, batch, rows, unfit, way).await).await
    }

    async fn transact(
        &self,
        conn: &mut PoolConnection<Postgres>,
        expected: i64,
        batch: &Fetched,
        rows: &Rows<'_>,
        unfit: &[DeadLetter<'_>],
        way: Way,
    ) -> sqlx::Result<Outcome> {
        let Place { topic, partition, .. } = &self.place;
        let mut transaction = conn.begin().await?;
        let mut guilty = Vec::new();
        let changed = match (way, rows) {
            (Way::Copy, Rows::Ticks(rows)) => ticks::copy(&mut transaction, rows).await?,
            (Way::Isolate, rows) => isolate(&mut transaction, rows, &mut guilty).await?,
            (Way::Insert | Way::Copy, rows) => rows.insert(&mut transaction, 0..rows.len()).await?,
        };
        let guilty: Vec<_> = guilty
            .into_iter()
            .filter_map(|(row, why)| Some((rows.record(row)?, Unfit::refused(why))))
            .map(|(record, why)| DeadLetter::of_sink(topic, *partition, record, why))
            .collect();
        for letters in [unfit, &guilty] {
            if !letters.is_empty() {
                dead_letters::insert(&mut transaction, letters).await?;
            }
        }
        let records = (batch.records.len() + batch.lost.len()) as u64;
        let refused = (unfit.len() + guilty.len()) as u64;
        let counts =
            Counts { records, rows: changed, duplicates: records - refused - changed, refused };
        let next = batch.next_offset;
        if offsets::advance(&mut transaction, &self.place, expected, next, counts).await? {
            transaction.commit().await?;
            for letter in rows.letters().iter().chain(unfit).chain(&guilty) {
                self.stats.dead_letters(letter.stage(), letter.reason(), 1);
            }
            if !guilty.is_empty() {
                warn!(
                    topic,
                    partition,
                    rows = guilty.len(),
                    "rows that the database refuses are in dead_letters"
                );
            }
            Ok(Outcome::Committed(counts))
        } else {
            transaction.rollback().await?;
            Ok(Outcome::Fenced)
        }
    }

    /// Moves the offset without rows, over a hole that retention made or back to the start of a
    /// topic that was emptied; a hole is written to `gaps` in the same transaction.
    ///
    /// # Errors
    /// [`SinkError::Database`] where waiting does not help.
    pub(crate) async fn jump(
        &self,
        expected: i64,
        to: i64,
        hole: Option<tickpanda_model::gap::GapEvent>,
    ) -> Result<Outcome, SinkError> {
        let record = Record::default();
        let hole: Vec<_> =
            hole.and_then(|hole| GapRow::new(&record, hole).ok()).into_iter().collect();
        let mut attempt = 0;
        loop {
            let moved = async {
                let lease = self.database.lease().await?;
                lease
                    .run(async |conn| {
                        let mut transaction = conn.begin().await?;
                        if !hole.is_empty() {
                            gaps::upsert(&mut transaction, &hole).await?;
                        }
                        let none = Counts::default();
                        if offsets::advance(&mut transaction, &self.place, expected, to, none)
                            .await?
                        {
                            transaction.commit().await?;
                            return Ok(Outcome::Committed(none));
                        }
                        transaction.rollback().await?;
                        Ok(Outcome::Fenced)
                    })
                    .await
            };
            match moved.await {
                Ok(outcome) => {
                    self.database.served();
                    return Ok(outcome);
                }
                Err(error) => self.database.pause("move sink_offsets", error, attempt).await?,
            }
            attempt = attempt.saturating_add(1);
        }
    }
}

/// Writes what can be written: halves a range that the database refuses until single rows are left.
/// Each try is a savepoint, so a refusal costs nothing that was written before.
async fn isolate(
    conn: &mut PgConnection,
    rows: &Rows<'_>,
    guilty: &mut Vec<(usize, String)>,
) -> sqlx::Result<u64> {
    let mut changed = 0;
    let mut todo: Vec<_> = std::iter::once(0..rows.len()).collect();
    while let Some(range) = todo.pop() {
        let mut savepoint = conn.begin().await?;
        match rows.insert(&mut savepoint, range.clone()).await {
            Ok(rows) => {
                savepoint.commit().await?;
                changed += rows;
            }
            Err(error) if class(&error) == Class::Data => {
                savepoint.rollback().await?;
                if range.len() == 1 {
                    guilty.push((range.start, error.to_string()));
                } else {
                    let middle = range.start + range.len() / 2;
                    todo.push(middle..range.end);
                    todo.push(range.start..middle);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(changed)
}
