//! `ohlcv-data` into the table `ohlcv`: the newest revision of a candle wins, in whatever order the
//! revisions come.
//!
//! A revision is `(received_at, closed, XXH3-128 of the JSON)`, compared in that order. The hash is
//! stored beside the candle, so that the rule is one comparison inside the upsert.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::PgConnection;
use sqlx::types::Uuid;
use tickpanda_model::candle::OhlcvData;
use tickpanda_model::digits::Digits;
use xxhash_rust::xxh3::xxh3_128;

use crate::decode::{Unfit, check_text};
use crate::micros::Micros;
use crate::record::Record;
use crate::row::Cell;

/// One row of `ohlcv`.
#[derive(Debug)]
pub(crate) struct CandleRow<'a> {
    pub(crate) record: &'a Record,
    bucket: Micros,
    prices: [f64; 4],
    volume: Option<f64>,
    quote_volume: Option<f64>,
    interval: String,
    received_at: Micros,
    revision: u128,
    candle: OhlcvData<'a>,
}

impl<'a> CandleRow<'a> {
    /// Reads a record of `ohlcv-data`.
    pub(crate) fn read(record: &'a Record) -> Result<Self, Unfit> {
        let candle: OhlcvData<'a> = serde_json::from_slice(record.bytes())?;
        for text in [&candle.symbol, &candle.market, &candle.base, &candle.quote] {
            check_text(text)?;
        }
        candle.conversion.as_ref().map_or(Ok(()), check_text)?;
        let number = |name: &str, digits: Digits<'_>| {
            digits.to_f64().ok_or_else(|| Unfit::unreadable(format!("{name} is no finite number")))
        };
        Ok(CandleRow {
            record,
            bucket: candle
                .bucket
                .seconds()
                .checked_mul(1_000_000)
                .and_then(Micros::new)
                .ok_or(Unfit::unreadable("bucket is no time that the database can hold"))?,
            prices: [
                number("open", candle.open)?,
                number("high", candle.high)?,
                number("low", candle.low)?,
                number("close", candle.close)?,
            ],
            volume: candle.volume.map(|digits| number("volume", digits)).transpose()?,
            quote_volume: candle
                .quote_volume
                .map(|digits| number("quote_volume", digits))
                .transpose()?,
            interval: candle.interval.to_string(),
            received_at: Micros::from_millis(candle.received_at)
                .ok_or(Unfit::unreadable("received_at is no time that the database can hold"))?,
            revision: xxh3_128(record.bytes()),
            candle,
        })
    }

    /// In the order of the columns that [`upsert`] writes.
    pub(crate) fn cells(&self) -> [Cell<'_>; 16] {
        let candle = &self.candle;
        let [open, high, low, close] = self.prices.map(Cell::Float);
        [
            Cell::Time(self.bucket),
            Cell::text(Some(&candle.symbol)),
            open,
            high,
            low,
            close,
            Cell::float(self.volume),
            Cell::text(Some(&self.interval)),
            Cell::text(Some(&candle.market)),
            Cell::text(Some(&candle.base)),
            Cell::text(Some(&candle.quote)),
            Cell::float(self.quote_volume),
            Cell::text(candle.conversion.as_deref()),
            Cell::Bool(candle.closed),
            Cell::Time(self.received_at),
            Cell::Id(self.revision),
        ]
    }

    /// What the greater of wins.
    fn rank(&self) -> (Micros, bool, u128) {
        (self.received_at, self.candle.closed, self.revision)
    }
}

/// The winning revision of each candle: ON CONFLICT DO UPDATE can't touch a row twice. In the order
/// of their keys, so that two writers lock rows in the same order.
pub(crate) fn newest(rows: Vec<CandleRow<'_>>) -> Vec<CandleRow<'_>> {
    fn key<'k>(row: &'k CandleRow<'_>) -> (&'k str, &'k str, &'k str, &'k str, Micros) {
        let candle = &row.candle;
        (&candle.market, &candle.base, &candle.quote, &row.interval, row.bucket)
    }
    let mut best: HashMap<_, usize> = HashMap::with_capacity(rows.len());
    for (index, row) in rows.iter().enumerate() {
        match best.entry(key(row)) {
            Entry::Vacant(entry) => _ = entry.insert(index),
            Entry::Occupied(mut entry) => {
                if rows[*entry.get()].rank() < row.rank() {
                    entry.insert(index);
                }
            }
        }
    }
    let mut wins = vec![false; rows.len()];
    best.into_values().for_each(|index| wins[index] = true);
    let mut winners: Vec<_> =
        rows.into_iter().zip(wins).filter_map(|(row, wins)| wins.then_some(row)).collect();
    winners.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
    winners
}

/// Writes the candles that are new or newer than what is there, and returns how many those were.
/// No candle may be in the slice twice.
pub(crate) async fn upsert(conn: &mut PgConnection, rows: &[CandleRow<'_>]) -> sqlx::Result<u64> {
    fn column<'r, T>(rows: &'r [CandleRow<'_>], of: impl Fn(&'r CandleRow<'_>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let done = sqlx::query(
        "INSERT INTO ohlcv AS old (bucket, symbol, open, high, low, close, volume, interval, market, \
                                   base, quote, quote_volume, conversion, closed, received_at, revision)
         SELECT * FROM UNNEST($1::timestamptz[], $2::text[], $3::float8[], $4::float8[], $5::float8[], \
                $6::float8[], $7::float8[], $8::text[], $9::text[], $10::text[], $11::text[], \
                $12::float8[], $13::text[], $14::bool[], $15::timestamptz[], $16::uuid[])
         ON CONFLICT (market, base, quote, interval, bucket) DO UPDATE SET
                symbol = EXCLUDED.symbol, open = EXCLUDED.open, high = EXCLUDED.high,
                low = EXCLUDED.low, close = EXCLUDED.close, volume = EXCLUDED.volume,
                quote_volume = EXCLUDED.quote_volume, conversion = EXCLUDED.conversion,
                closed = EXCLUDED.closed, received_at = EXCLUDED.received_at,
                revision = EXCLUDED.revision, updated_at = now()
         WHERE (old.received_at, old.closed, old.revision)
             < (EXCLUDED.received_at, EXCLUDED.closed, EXCLUDED.revision)",
    )
    .bind(column(rows, |row| row.bucket))
    .bind(column(rows, |row| &*row.candle.symbol))
    .bind(column(rows, |row| row.prices[0]))
    .bind(column(rows, |row| row.prices[1]))
    .bind(column(rows, |row| row.prices[2]))
    .bind(column(rows, |row| row.prices[3]))
    .bind(column(rows, |row| row.volume))
    .bind(column(rows, |row| &*row.interval))
    .bind(column(rows, |row| &*row.candle.market))
    .bind(column(rows, |row| &*row.candle.base))
    .bind(column(rows, |row| &*row.candle.quote))
    .bind(column(rows, |row| row.quote_volume))
    .bind(column(rows, |row| row.candle.conversion.as_deref()))
    .bind(column(rows, |row| row.candle.closed))
    .bind(column(rows, |row| row.received_at))
    .bind(column(rows, |row| Uuid::from_u128(row.revision)))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(minute: u8, received_at: i64, closed: bool, close: u8) -> Record {
        let value = format!(
            r#"{{"bucket":"2024-01-01T00:{minute:02}:00.000Z","symbol":"BTCUSD","open":1,"high":2,"low":1,"close":{close},"volume":null,"interval":"1m","market":"Kraken","base":"BTC","quote":"USD","closed":{closed},"received_at":{received_at}}}"#
        );
        Record { value: Some(value.into_bytes()), ..Record::default() }
    }

    proptest! {
        /// Against the rule written as a maximum over all revisions of a bucket.
        #[test]
        fn of_many_revisions_the_newest_wins_whatever_their_order(
            revisions in prop::collection::vec((0u8..4, 0i64..4, any::<bool>(), 0u8..4), 0..60)
        ) {
            let records: Vec<_> = revisions.iter().map(|r| record(r.0, r.1, r.2, r.3)).collect();
            let rows = newest(records.iter().map(|r| CandleRow::read(r).unwrap()).collect());
            for minute in 0..4u8 {
                let expected = revisions
                    .iter()
                    .zip(&records)
                    .filter(|(revision, _)| revision.0 == minute)
                    .map(|(r, record)| ((r.1, r.2, xxh3_128(record.bytes())), record.bytes()))
                    .max();
                let bucket = format!("2024-01-01T00:{minute:02}:00.000Z");
                let mut found =
                    rows.iter().filter(|row| row.candle.bucket.to_string() == bucket);
                prop_assert_eq!(
                    found.next().map(|row| row.record.bytes()),
                    expected.map(|(_, bytes)| bytes)
                );
                prop_assert!(found.next().is_none(), "one row a candle");
            }
        }
    }
}
