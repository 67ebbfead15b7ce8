//! From records to rows: which topic holds what, and what becomes of a record that is no row.
//!
//! A record that can't be read never stops the others: it becomes a dead letter of the sink.

use std::ops::Range;

use sqlx::PgConnection;
use tickpanda_model::dead_letter::Reason;

use crate::candles::{self, CandleRow};
use crate::dead_letters::{self, DeadLetter};
use crate::gaps::{self, GapRow};
use crate::record::Record;
use crate::ticks::{self, TickRow};

/// What a topic holds, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Feed {
    /// `TickData` → `ticks`
    Ticks,
    /// `OhlcvData` → `ohlcv`
    Candles,
    /// Raw bytes with a reason → `dead_letters`
    DeadLetters,
    /// `GapEvent` → `gaps`
    Gaps,
}

/// Why a record is no row.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Unfit {
    /// The record is not what its topic promises.
    pub(crate) fn unreadable(detail: impl Into<String>) -> Self {
        Unfit { reason: Reason::Unreadable, detail: detail.into() }
    }

    /// The record is what its topic promises, but the database can't hold it.
    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Unfit { reason: Reason::Refused, detail: detail.into() }
    }
}

impl From<serde_json::Error> for Unfit {
    fn from(error: serde_json::Error) -> Self {
        Unfit::unreadable(error.to_string())
    }
}

/// PostgreSQL's text can't hold a NUL, which JSON can write as `\u0000`.
pub(crate) fn check_text(text: &impl AsRef<str>) -> Result<(), Unfit> {
    if text.as_ref().as_bytes().contains(&0) {
        return Err(Unfit::refused("a text holds a NUL character, which PostgreSQL's text can't"));
    }
    Ok(())
}

/// The rows of one batch, all of one table.
pub(crate) enum Rows<'a> {
    Ticks(Vec<TickRow<'a>>),
    Candles(Vec<CandleRow<'a>>),
    DeadLetters(Vec<DeadLetter<'a>>),
    Gaps(Vec<GapRow<'a>>),
}

impl<'a> Rows<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Rows::Ticks(rows) => rows.len(),
            Rows::Candles(rows) => rows.len(),
            Rows::DeadLetters(rows) => rows.len(),
            Rows::Gaps(rows) => rows.len(),
        }
    }

    /// The rows that are dead letters of the transform.
    pub(crate) fn letters(&self) -> &[DeadLetter<'a>] {
        if let Rows::DeadLetters(letters) = self { letters } else { &[] }
    }

    /// The record that a row was read from.
    pub(crate) fn record(&self, row: usize) -> Option<&'a Record> {
        match self {
            Rows::Ticks(rows) => rows.get(row).map(|row| row.record),
            Rows::Candles(rows) => rows.get(row).map(|row| row.record),
            Rows::DeadLetters(rows) => rows.get(row).map(|row| row.record),
            Rows::Gaps(rows) => rows.get(row).map(|row| row.record),
        }
    }

    /// Writes a range of the rows, tolerating those that are there already, and returns how many
    /// rows of the table are new or changed.
    pub(crate) async fn insert(
        &self,
        conn: &mut PgConnection,
        range: Range<usize>,
    ) -> sqlx::Result<u64> {
        if range.is_empty() {
            return Ok(0);
        }
        // The range comes from `0..len` by halving.
        match self {
            Rows::Ticks(rows) => ticks::insert(conn, &rows[range]).await,
            Rows::Candles(rows) => candles::upsert(conn, &rows[range]).await,
            Rows::DeadLetters(rows) => dead_letters::insert(conn, &rows[range]).await,
            Rows::Gaps(rows) => gaps::upsert(conn, &rows[range]).await,
        }
    }
}

/// Reads a batch: its rows, and the records that are none.
pub(crate) fn decode<'a>(
    feed: Feed,
    topic: &'a str,
    partition: i32,
    records: &'a [Record],
) -> (Rows<'a>, Vec<DeadLetter<'a>>) {
    let mut unfit = Vec::new();
    fn all<'a, T>(
        records: &'a [Record],
        read: impl Fn(&'a Record) -> Result<T, Unfit>,
        mut unfit: impl FnMut(&'a Record, Unfit),
    ) -> Vec<T> {
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            match read(record) {
                Ok(row) => rows.push(row),
                Err(why) => unfit(record, why),
            }
        }
        rows
    }
    let give_up = |record, why| unfit.push(DeadLetter::of_sink(topic, partition, record, why));
    let rows = match feed {
        Feed::Ticks => Rows::Ticks(all(records, TickRow::read, give_up)),
        Feed::Candles => Rows::Candles(candles::newest(all(records, CandleRow::read, give_up))),
        Feed::DeadLetters => Rows::DeadLetters(all(
            records,
            |record| DeadLetter::of_transform(topic, partition, record),
            give_up,
        )),
        Feed::Gaps => Rows::Gaps(gaps::latest(all(records, GapRow::read, give_up))),
    };
    (rows, unfit)
}
