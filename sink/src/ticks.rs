//! `tick-data` into the table `ticks`: reading a record, and writing rows where some may be there already.
//! `copy` has the faster way for rows that are all new.

use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Uuid;
use sqlx::{PgConnection, Postgres};
use tickpanda_model::tick::TickData;
use tickpanda_model::time;

use crate::decode::{Unfit, check_text};
use crate::micros::Micros;
use crate::newest;
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

    /// The record's fields.
    pub(crate) fn tick(&self) -> &TickData<'a> {
        &self.tick
    }

    /// What there is one newest tick of.
    pub(crate) fn pair(&self) -> [&str; 5] {
        let tick = &self.tick;
        [&tick.symbol, tick.kind.as_str(), &tick.market, &tick.base, &tick.quote]
    }

    /// What decides which of two ticks is the newer one; also the row's key in the table.
    pub(crate) fn moment(&self) -> (Micros, u128) {
        (self.time, self.tick.id.0)
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
    let sql = "INSERT INTO ticks (time, symbol, price, volume, kind, market, base, quote, side, trade_id, \
                            ccseq, id, received_at)
         SELECT * FROM UNNEST($1::timestamptz[], $2::text[], $3::float8[], $4::float8[], $5::text[], \
                $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int8[], $12::uuid[], \
                $13::timestamptz[])
         ON CONFLICT DO NOTHING";
    let all: Vec<_> = rows.iter().collect();
    let done = bind(sql, &all).execute(&mut *conn).await?;
    newest::upsert(conn, &newest::of(rows)).await?;
    Ok(done.rows_affected())
}

/// A statement that takes the rows as thirteen arrays, in the order of the table's columns.
pub(crate) fn bind<'q>(
    sql: &'static str,
    rows: &'q [&TickRow<'_>],
) -> Query<'q, Postgres, PgArguments> {
    /// One column of all rows.
    fn column<'q, 'a, T>(rows: &'q [&TickRow<'a>], of: impl Fn(&'q TickRow<'a>) -> T) -> Vec<T> {
        rows.iter().map(|row| of(row)).collect()
    }
    sqlx::query(sql)
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
}

impl TickRow<'_> {
    /// Appends the row as COPY's binary format has it; `None` where a text is too long for that.
    pub(crate) fn append_to(&self, out: &mut Vec<u8>) -> Option<()> {
        const COLUMNS: i16 = 13;
        let tick = &self.tick;
        out.extend_from_slice(&COLUMNS.to_be_bytes());
        field(out, Some(&self.time.to_be_bytes()))?;
        field(out, Some(tick.symbol.as_bytes()))?;
        field(out, Some(&self.price.to_be_bytes()))?;
        field(out, self.volume.map(f64::to_be_bytes).as_ref().map(|b| &b[..]))?;
        field(out, Some(tick.kind.as_str().as_bytes()))?;
        field(out, Some(tick.market.as_bytes()))?;
        field(out, Some(tick.base.as_bytes()))?;
        field(out, Some(tick.quote.as_bytes()))?;
        field(out, tick.side.map(|side| side.as_str().as_bytes()))?;
        field(out, tick.trade_id.as_deref().map(str::as_bytes))?;
        field(out, tick.ccseq.map(i64::to_be_bytes).as_ref().map(|b| &b[..]))?;
        field(out, Some(&tick.id.0.to_be_bytes()))?;
        field(out, Some(&self.received_at.to_be_bytes()))
    }
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
