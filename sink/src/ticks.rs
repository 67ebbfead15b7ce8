//! `tick-data` into the table `ticks`: reading a record, and the two ways of writing many.
//!
//! Binary COPY costs the database a third of what an INSERT does, but can't skip a row that is
//! there already; `INSERT … SELECT FROM UNNEST … ON CONFLICT DO NOTHING` can. [`CopyPolicy`] decides
//! which to try.

use sqlx::PgConnection;
use sqlx::types::Uuid;
use tickpanda_model::tick::TickData;
use tickpanda_model::time;

use crate::decode::{Unfit, check_text};
use crate::micros::Micros;
use crate::record::Record;
use crate::row::Cell;

/// One row of `ticks`, borrowing its texts from the record.
#[derive(Debug)]
pub(crate) struct TickRow<'a> {
    pub(crate) record: &'a Record,
    time: Micros,
    received_at: Micros,
    price: f64,
    volume: Option<f64>,
    tick: TickData<'a>,
}

impl<'a> TickRow<'a> {
    /// Reads a record of `tick-data`.
    pub(crate) fn read(record: &'a Record) -> Result<Self, Unfit> {
        let tick: TickData<'a> = serde_json::from_slice(record.bytes())?;
        for text in [&tick.symbol, &tick.market, &tick.base, &tick.quote] {
            check_text(text)?;
        }
        tick.trade_id.as_ref().map_or(Ok(()), check_text)?;
        Ok(TickRow {
            record,
            time: time::micros(tick.timestamp)
                .and_then(Micros::new)
                .ok_or(Unfit::unreadable("timestamp is no time that the database can hold"))?,
            received_at: Micros::from_millis(tick.received_at)
                .ok_or(Unfit::unreadable("received_at is no time that the database can hold"))?,
            price: tick.price.to_f64().ok_or(Unfit::unreadable("price is no finite number"))?,
            volume: match tick.volume {
                Some(digits) => {
                    Some(digits.to_f64().ok_or(Unfit::unreadable("volume is no finite number"))?)
                }
                None => None,
            },
            tick,
        })
    }

    /// In the order of the columns that [`insert`] and [`copy`] write.
    pub(crate) fn cells(&self) -> [Cell<'_>; 13] {
        let tick = &self.tick;
        [
            Cell::Time(self.time),
            Cell::text(Some(&tick.symbol)),
            Cell::Float(self.price),
            Cell::float(self.volume),
            Cell::text(Some(tick.kind.as_str())),
            Cell::text(Some(&tick.market)),
            Cell::text(Some(&tick.base)),
            Cell::text(Some(&tick.quote)),
            Cell::text(tick.side.map(|side| side.as_str())),
            Cell::text(tick.trade_id.as_deref()),
            tick.ccseq.map_or(Cell::Null, Cell::Int),
            Cell::Id(tick.id.0),
            Cell::Time(self.received_at),
        ]
    }
}

/// Writes the rows that are not there yet and returns how many that were. Rows that are there
/// already, also earlier in the same slice, are left alone.
pub(crate) async fn insert(conn: &mut PgConnection, rows: &[TickRow<'_>]) -> sqlx::Result<u64> {
    /// One column of all rows.
    fn column<'r, T>(rows: &'r [TickRow<'_>], of: impl Fn(&'r TickRow<'_>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let done = sqlx::query(
        "INSERT INTO ticks (time, symbol, price, volume, kind, market, base, quote, side, trade_id, \
                            ccseq, id, received_at)
         SELECT * FROM UNNEST($1::timestamptz[], $2::text[], $3::float8[], $4::float8[], $5::text[], \
                $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int8[], $12::uuid[], \
                $13::timestamptz[])
         ON CONFLICT DO NOTHING",
    )
    .bind(column(rows, |row| row.time))
    .bind(column(rows, |row| &*row.tick.symbol))
    .bind(column(rows, |row| row.price))
    .bind(column(rows, |row| row.volume))
    .bind(column(rows, |row| row.tick.kind.as_str()))
    .bind(column(rows, |row| &*row.tick.market))
    .bind(column(rows, |row| &*row.tick.base))
    .bind(column(rows, |row| &*row.tick.quote))
    .bind(column(rows, |row| row.tick.side.map(|side| side.as_str())))
    .bind(column(rows, |row| row.tick.trade_id.as_deref()))
    .bind(column(rows, |row| row.tick.ccseq))
    .bind(column(rows, |row| Uuid::from_u128(row.tick.id.0)))
    .bind(column(rows, |row| row.received_at))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Writes the rows by binary COPY; fails as a whole (SQLSTATE 23505) when one is there already.
pub(crate) async fn copy(conn: &mut PgConnection, rows: &[TickRow<'_>]) -> sqlx::Result<u64> {
    let data = copy_data(rows)
        .ok_or_else(|| sqlx::Error::InvalidArgument("a text of 2 GiB in a tick".to_owned()))?;
    let mut copy = conn
        .copy_in_raw(
            "COPY ticks (time, symbol, price, volume, kind, market, base, quote, side, trade_id, \
             ccseq, id, received_at) FROM STDIN (FORMAT binary)",
        )
        .await?;
    let sent = copy.send(data).await.map(|_| ());
    // Always finish: in sqlx 0.9.0, abort() or a drop after a refusal leaves the connection one
    // reply behind. Where sending failed, the connection is broken and the caller closes it.
    let finished = copy.finish().await;
    sent.and(finished)
}

/// The rows in the format that `COPY … (FORMAT binary)` reads, or `None` where a text is too long
/// for it. Source: PostgreSQL, "COPY", "Binary Format".
fn copy_data(rows: &[TickRow<'_>]) -> Option<Vec<u8>> {
    const COLUMNS: i16 = 13;
    const TYPICAL_ROW: usize = 200;
    let mut out = Vec::with_capacity(64 + rows.len() * TYPICAL_ROW);
    out.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
    out.extend_from_slice(&[0; 8]); // no flags, no header extension
    for row in rows {
        let tick = &row.tick;
        out.extend_from_slice(&COLUMNS.to_be_bytes());
        field(&mut out, Some(&row.time.to_be_bytes()))?;
        field(&mut out, Some(tick.symbol.as_bytes()))?;
        field(&mut out, Some(&row.price.to_be_bytes()))?;
        field(&mut out, row.volume.map(f64::to_be_bytes).as_ref().map(|b| &b[..]))?;
        field(&mut out, Some(tick.kind.as_str().as_bytes()))?;
        field(&mut out, Some(tick.market.as_bytes()))?;
        field(&mut out, Some(tick.base.as_bytes()))?;
        field(&mut out, Some(tick.quote.as_bytes()))?;
        field(&mut out, tick.side.map(|side| side.as_str().as_bytes()))?;
        field(&mut out, tick.trade_id.as_deref().map(str::as_bytes))?;
        field(&mut out, tick.ccseq.map(i64::to_be_bytes).as_ref().map(|b| &b[..]))?;
        field(&mut out, Some(&tick.id.0.to_be_bytes()))?;
        field(&mut out, Some(&row.received_at.to_be_bytes()))?;
    }
    out.extend_from_slice(&(-1i16).to_be_bytes());
    Some(out)
}

/// One field: its length and its bytes, or −1 for NULL.
fn field(out: &mut Vec<u8>, value: Option<&[u8]>) -> Option<()> {
    match value {
        Some(bytes) => {
            out.extend_from_slice(&i32::try_from(bytes.len()).ok()?.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        None => out.extend_from_slice(&(-1i32).to_be_bytes()),
    }
    Some(())
}

/// Whether a batch is tried by COPY first.
///
/// Duplicates come in runs (a vendor replays on reconnect, a transform re-runs three seconds), so
/// after a conflict the next batches take the tolerant way at once: one, then two, … up to
/// [`CopyPolicy::MAX_PAUSE`] while the conflicts last. A COPY that passes forgets them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyPolicy {
    min_rows: usize,
    pause: u32,
    last_pause: u32,
}

impl CopyPolicy {
    /// At most this many batches in a row without trying COPY again.
    const MAX_PAUSE: u32 = 32;

    /// A policy that never copies fewer rows than `min_rows`: below that, COPY's extra round trips
    /// cost more than they save.
    pub(crate) fn new(min_rows: usize) -> Self {
        CopyPolicy { min_rows, pause: 0, last_pause: 0 }
    }

    /// Decides for a batch of so many rows.
    pub(crate) fn try_copy(&mut self, rows: usize) -> bool {
        if rows < self.min_rows {
            return false;
        }
        let copy = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        copy
    }

    /// A COPY met a row that was there already.
    pub(crate) fn conflict(&mut self) {
        self.last_pause = (self.last_pause * 2).clamp(1, Self::MAX_PAUSE);
        self.pause = self.last_pause;
    }

    /// A COPY passed.
    pub(crate) fn passed(&mut self) {
        self.last_pause = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_conflicts_copy_pauses_longer_and_longer_but_is_tried_again() {
        let mut policy = CopyPolicy::new(10);
        assert!(!policy.try_copy(9), "small batches are never copied");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(policy.try_copy(10));
            policy.conflict();
            let pause = (0..).take_while(|_| {
                !policy.clone().try_copy(10) && {
                    policy.try_copy(10);
                    true
                }
            });
            pauses.push(pause.count());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert!(policy.try_copy(10));
        policy.passed();
        assert!(policy.try_copy(10), "a success forgets the conflicts");
    }
}
