//! One batch, one transaction: its rows, the dead letters among it, and the partition's offset.

use std::sync::Arc;
use std::time::Instant;

use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tickpanda_model::gap::GapEvent;
use tracing::warn;

use crate::copy::{self, CopyData, CopyPolicy};
use crate::database::{Database, Failure, Patience};
use crate::dead_letters::{self, DeadLetter};
use crate::decode::{Feed, Rows, Unfit, decode};
use crate::error::{Class, SinkError, class};
use crate::fetch::Fetched;
use crate::gaps::{self, GapRow};
use crate::latest::Latest;
use crate::newest;
use crate::offsets::{self, Counts, Last, Place, Standing};
use crate::record::Record;
use crate::stats::Stats;
use crate::ticks::TickRow;

/// From here on COPY is the faster way for rows that are all new, as `tests/speed.rs` measures it: 1.15
/// times as fast with 50 rows, 1.4 to 1.8 times with 200 and more.
const COPY_MIN_ROWS: usize = 50;
/// The same over TCP, where each small COPY waits 44 ms for a delayed acknowledgement
/// (sqlx 0.9.0 has no TCP_NODELAY): 0.16 times as fast with 200 rows, 1.1 times with 500.
const COPY_MIN_ROWS_TCP: usize = 500;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is in the database, counted as said.
    Committed(Counts),
    /// The offset was not where this writer thought, so nothing was written: open it again.
    Fenced,
}

/// What one way of writing led to.
enum Written {
    So(Outcome),
    /// This way does not do: a row is refused.
    NotSo,
    /// No way does: it is more than the server can do in one transaction.
    TooMuch,
}

/// How the rows of a batch are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// All at once, tolerating rows that are there already.
    Together,
    /// By halves, until the rows that the database refuses stand alone.
    Isolate,
}

/// Writes the batches of one partition.
pub(crate) struct Writer {
    database: Database,
    place: Place,
    feed: Feed,
    policy: CopyPolicy,
    /// Whether a batch has been too much for one transaction, which is said once.
    halved: bool,
    stats: Arc<Stats>,
    latest: Latest,
}

impl Writer {
    /// A writer for one partition of a topic that holds `feed`.
    pub(crate) fn new(database: Database, place: Place, feed: Feed, stats: Arc<Stats>) -> Self {
        let min_rows = if database.tcp { COPY_MIN_ROWS_TCP } else { COPY_MIN_ROWS };
        let (policy, latest) = (CopyPolicy::new(min_rows), Latest::default());
        Writer { database, place, feed, policy, halved: false, stats, latest }
    }

    /// The same, offering committed ticks to the cache.
    pub(crate) fn offering(self, latest: Latest) -> Self {
        Writer { latest, ..self }
    }

    /// The same, trying COPY from so many rows on: to measure from where it pays.
    #[cfg(test)]
    pub(crate) fn copying_from(self, min_rows: usize) -> Self {
        Writer { policy: CopyPolicy::new(min_rows), ..self }
    }

    /// The partition that this writes.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Where to read on; a partition that the table does not know starts at `earliest`.
    ///
    /// # Errors
    /// [`SinkError::Database`] where waiting does not help.
    pub(crate) async fn open(&self, earliest: i64) -> Result<Standing, SinkError> {
        let mut patience = self.database.patience("read sink_offsets");
        loop {
            let tried = async {
                let lease = self.database.lease().await?;
                lease.run(async |conn| offsets::open(conn, &self.place, earliest).await).await
            };
            if let Some(standing) = patience.judge(tried.await).await? {
                return Ok(standing);
            }
        }
    }

    /// From how many rows on it is worth to [`prepare`](Writer::prepare) the next batch, if it is at all.
    pub(crate) fn copies_from(&self) -> Option<usize> {
        self.policy.next_from().filter(|_| self.feed == Feed::Ticks)
    }

    /// What COPY would send of a batch that has at least `from` rows. It takes time, so it is made while
    /// the batch before is written.
    pub(crate) fn prepare(from: Option<usize>, batch: &Fetched) -> Option<CopyData> {
        let worth = from.is_some_and(|from| batch.records.len() >= from) && batch.lost.is_empty();
        worth.then(|| CopyData::of(&batch.records)).flatten()
    }

    /// Writes a batch whose first record is expected at `expected`, as long as it takes; `copy` is what
    /// [`Writer::prepare`] made of it.
    ///
    /// # Errors
    /// [`SinkError::Database`] where waiting does not help.
    pub(crate) async fn write(
        &mut self,
        expected: i64,
        batch: &Fetched,
        copy: Option<&CopyData>,
    ) -> Result<Outcome, SinkError> {
        let began = Instant::now();
        let tries = self.policy.try_copy(batch.records.len());
        let mut written = match copy.filter(|_| tries) {
            Some(copy) => self.copied(expected, batch, copy).await?,
            None => Written::NotSo,
        };
        if let Written::NotSo = written {
            written = self.inserted(expected, batch).await?;
        }
        match written {
            Written::So(outcome) => {
                self.stats.wrote(self.feed, outcome, began.elapsed());
                Ok(outcome)
            }
            Written::NotSo | Written::TooMuch => Box::pin(self.halves(expected, batch)).await,
        }
    }

    /// Writes a batch that is too much for one transaction in two, each a batch of its own with its own
    /// move of the offset.
    async fn halves(&mut self, expected: i64, batch: &Fetched) -> Result<Outcome, SinkError> {
        let middle = batch.middle();
        if !std::mem::replace(&mut self.halved, true) {
            let Place { topic, partition, .. } = &self.place;
            let records = batch.len();
            warn!(
                topic,
                partition,
                records,
                "a batch is too much for one transaction of the database: it is \
                 written by halves (more max_locks_per_transaction may help)"
            );
        }
        let (first, second) = batch.split(middle);
        let mut sum = Counts::default();
        for (expected, half) in [(expected, first), (middle, second)] {
            match self.write(expected, &half, None).await? {
                Outcome::Fenced => return Ok(Outcome::Fenced),
                Outcome::Committed(counts) => sum += counts,
            }
        }
        Ok(Outcome::Committed(sum))
    }

    /// Patience for one batch.
    fn patience(&self, expected: i64) -> Patience<'_> {
        let Place { topic, partition, .. } = &self.place;
        self.database.patience(format_args!("write {topic}/{partition} from offset {expected}"))
    }

    /// By COPY; not so where the database refuses a row of it, most likely because it is there.
    async fn copied(
        &mut self,
        expected: i64,
        batch: &Fetched,
        copy: &CopyData,
    ) -> Result<Written, SinkError> {
        let newest = copy.newest(&batch.records);
        let mut patience = self.patience(expected).divisible(batch.len() > 1);
        loop {
            let tried = async {
                let lease = self.database.lease().await?;
                let copy = async |conn: &mut PoolConnection<Postgres>| {
                    self.copy(conn, expected, batch, copy, &newest).await
                };
                lease.run(copy).await
            };
            match patience.judge(tried.await).await {
                Ok(Some(outcome)) => {
                    self.policy.passed();
                    self.offer(outcome, &newest.iter().collect::<Vec<_>>());
                    return Ok(Written::So(outcome));
                }
                Ok(None) => {}
                Err(Failure::Refused { .. }) => {
                    self.policy.conflict();
                    return Ok(Written::NotSo);
                }
                Err(Failure::TooMuch { .. }) => return Ok(Written::TooMuch),
                Err(Failure::Ended(error)) => return Err(error),
            }
        }
    }

    /// By INSERT, which leaves out what is there already.
    async fn inserted(&self, expected: i64, batch: &Fetched) -> Result<Written, SinkError> {
        let Place { topic, partition, .. } = &self.place;
        let (rows, mut unfit) = decode(self.feed, topic, *partition, &batch.records);
        for (record, detail) in &batch.lost {
            let why = Unfit::unreadable(detail.clone());
            unfit.push(DeadLetter::of_sink(topic, *partition, record, why));
        }
        let mut way = Way::Together;
        let mut patience = self.patience(expected).divisible(batch.len() > 1);
        loop {
            let tried = async {
                let lease = self.database.lease().await?;
                let insert = async |conn: &mut PoolConnection<Postgres>| {
                    self.insert(conn, expected, batch, &rows, &unfit, way).await
                };
                lease.run(insert).await
            };
            match patience.judge(tried.await).await {
                Ok(Some(outcome)) => {
                    if let Rows::Ticks(ticks) = &rows {
                        self.offer(outcome, &newest::of(ticks));
                    }
                    return Ok(Written::So(outcome));
                }
                Ok(None) => {}
                Err(Failure::Refused { .. }) if way == Way::Together => way = Way::Isolate,
                Err(Failure::TooMuch { .. }) => return Ok(Written::TooMuch),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// To the cache, once they are in the table.
    fn offer(&self, outcome: Outcome, newest: &[&TickRow<'_>]) {
        if let Outcome::Committed(_) = outcome {
            self.latest.offer(newest);
        }
    }

    async fn copy(
        &self,
        conn: &mut PgConnection,
        expected: i64,
        batch: &Fetched,
        copy: &CopyData,
        newest: &[TickRow<'_>],
    ) -> sqlx::Result<Outcome> {
        let mut transaction = conn.begin().await?;
        let rows = copy::copy(&mut transaction, copy).await?;
        newest::upsert(&mut transaction, &newest.iter().collect::<Vec<_>>()).await?;
        let counts = Counts { records: rows, rows, ..Counts::default() };
        self.commit(transaction, expected, batch, counts).await
    }

    async fn insert(
        &self,
        conn: &mut PgConnection,
        expected: i64,
        batch: &Fetched,
        rows: &Rows<'_>,
        unfit: &[DeadLetter<'_>],
        way: Way,
    ) -> sqlx::Result<Outcome> {
        let Place { topic, partition, .. } = &self.place;
        let mut transaction = conn.begin().await?;
        let mut guilty = Vec::new();
        let changed = match way {
            Way::Isolate => isolate(&mut transaction, rows, &mut guilty).await?,
            Way::Together => rows.insert(&mut transaction, 0..rows.len()).await?,
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
        let records = batch.len() as u64;
        let refused = (unfit.len() + guilty.len()) as u64;
        let counts =
            Counts { records, rows: changed, duplicates: records - refused - changed, refused };
        let outcome = self.commit(transaction, expected, batch, counts).await?;
        if outcome != Outcome::Fenced {
            for letter in rows.letters().iter().chain(unfit).chain(&guilty) {
                self.stats.dead_letters(letter.stage(), letter.reason(), 1);
            }
            if !guilty.is_empty() {
                let rows = guilty.len();
                warn!(topic, partition, rows, "rows that the database refuses are in dead_letters");
            }
            if let Some((record, why)) = batch.lost.first() {
                let (offset, records) = (record.offset, batch.lost.len());
                warn!(
                    topic,
                    partition, offset, records, "what nobody can read is stepped past: {why}"
                );
            }
        }
        Ok(outcome)
    }

    /// Ends a batch's transaction: with the offset moved, or not at all.
    async fn commit(
        &self,
        mut transaction: Transaction<'_, Postgres>,
        expected: i64,
        batch: &Fetched,
        counts: Counts,
    ) -> sqlx::Result<Outcome> {
        let next = batch.next_offset;
        let last = Last::of(&batch.records, next);
        if offsets::advance(&mut transaction, &self.place, expected, next, last, counts).await? {
            transaction.commit().await?;
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
        hole: Option<GapEvent>,
    ) -> Result<Outcome, SinkError> {
        let record = Record::default();
        let hole: Vec<_> =
            hole.and_then(|hole| GapRow::new(&record, hole).ok()).into_iter().collect();
        let nothing = Fetched { next_offset: to, ..Fetched::default() };
        let mut patience = self.database.patience("move sink_offsets");
        loop {
            let tried = async {
                let lease = self.database.lease().await?;
                let jump = async |conn: &mut PoolConnection<Postgres>| {
                    let mut transaction = conn.begin().await?;
                    if !hole.is_empty() {
                        gaps::upsert(&mut transaction, &hole).await?;
                    }
                    self.commit(transaction, expected, &nothing, Counts::default()).await
                };
                lease.run(jump).await
            };
            if let Some(outcome) = patience.judge(tried.await).await? {
                return Ok(outcome);
            }
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
