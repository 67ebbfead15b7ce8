//! `gap-events` into the table `gaps`: one row a hole, in the state that was written last.
//!
//! A hole's id is XXH3-128 of the compact JSON array `[kind, market, base, quote, topic, partition,
//! gap_from, first_offset]`, absent members `null`: what names the hole, not what became of it.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::types::Uuid;
use tickpanda_model::gap::GapEvent;
use xxhash_rust::xxh3::xxh3_128;

use crate::decode::{Unfit, check_text};
use crate::micros::Micros;
use crate::record::Record;

/// One row of `gaps`.
#[derive(Debug)]
pub(crate) struct GapRow<'a> {
    pub(crate) record: &'a Record,
    id: u128,
    from: Micros,
    to: Option<Micros>,
    gap: GapEvent,
}

impl<'a> GapRow<'a> {
    /// Reads a record of `gap-events`.
    pub(crate) fn read(record: &'a Record) -> Result<Self, Unfit> {
        Self::new(record, serde_json::from_slice(record.bytes())?)
    }

    /// A hole that is known; `record` is what told of it.
    pub(crate) fn new(record: &'a Record, gap: GapEvent) -> Result<Self, Unfit> {
        check_text(&gap.kind)?;
        check_text(&gap.reason)?;
        for text in [&gap.market, &gap.base, &gap.quote, &gap.topic].into_iter().flatten() {
            check_text(text)?;
        }
        let moment = |millis| {
            Micros::from_millis(millis)
                .ok_or(Unfit::unreadable("a gap's time is none that the database can hold"))
        };
        let name = serde_json::json!([
            gap.kind,
            gap.market,
            gap.base,
            gap.quote,
            gap.topic,
            gap.partition,
            gap.gap_from,
            gap.first_offset
        ]);
        Ok(GapRow {
            record,
            id: xxh3_128(name.to_string().as_bytes()),
            from: moment(gap.gap_from)?,
            to: gap.gap_to.map(moment).transpose()?,
            gap,
        })
    }
}

/// Of each hole the last state, in the order of their ids.
pub(crate) fn latest(rows: Vec<GapRow<'_>>) -> Vec<GapRow<'_>> {
    let last: HashMap<u128, GapRow<'_>> = rows.into_iter().map(|row| (row.id, row)).collect();
    let mut rows: Vec<_> = last.into_values().collect();
    rows.sort_unstable_by_key(|row| row.id);
    rows
}

/// Writes the holes that are new or in another state than known, and returns how many those were.
pub(crate) async fn upsert(conn: &mut PgConnection, rows: &[GapRow<'_>]) -> sqlx::Result<u64> {
    fn column<'r, T>(rows: &'r [GapRow<'_>], of: impl Fn(&'r GapRow<'_>) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let done = sqlx::query(
        "INSERT INTO gaps AS old (id, kind, market, base, quote, topic, partition, gap_from, gap_to, \
                                  first_offset, last_offset, missing, state, reason)
         SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], \
                $7::int4[], $8::timestamptz[], $9::timestamptz[], $10::int8[], $11::int8[], \
                $12::int8[], $13::text[], $14::text[])
         ON CONFLICT (id) DO UPDATE SET
                gap_to = EXCLUDED.gap_to, last_offset = EXCLUDED.last_offset,
                missing = EXCLUDED.missing, state = EXCLUDED.state, reason = EXCLUDED.reason,
                updated_at = now()
         WHERE (old.gap_to, old.last_offset, old.missing, old.state, old.reason) IS DISTINCT FROM
               (EXCLUDED.gap_to, EXCLUDED.last_offset, EXCLUDED.missing, EXCLUDED.state, EXCLUDED.reason)",
    )
    .bind(column(rows, |row| Uuid::from_u128(row.id)))
    .bind(column(rows, |row| &*row.gap.kind))
    .bind(column(rows, |row| row.gap.market.as_deref()))
    .bind(column(rows, |row| row.gap.base.as_deref()))
    .bind(column(rows, |row| row.gap.quote.as_deref()))
    .bind(column(rows, |row| row.gap.topic.as_deref()))
    .bind(column(rows, |row| row.gap.partition))
    .bind(column(rows, |row| row.from))
    .bind(column(rows, |row| row.to))
    .bind(column(rows, |row| row.gap.first_offset))
    .bind(column(rows, |row| row.gap.last_offset))
    .bind(column(rows, |row| row.gap.missing))
    .bind(column(rows, |row| row.gap.state.as_str()))
    .bind(column(rows, |row| &*row.gap.reason))
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}
