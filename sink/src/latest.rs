//! The newest tick of every kind, market and pair into the table `newest_ticks`, which the view
//! `latest_ticks` shows: a handful of rows, whatever `ticks` holds.
//!
//! Written in the transaction that writes the ticks, so it can't say anything else than they do. The
//! newest is the greatest `(time, id)`: neither the order of arrival nor a duplicate changes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::PgConnection;

use crate::ticks::{self, TickRow};

/// Replaces what these rows outdo. In the order of the pairs, so that two writers lock rows in the
/// same order; a row that would not change is not even locked.
pub(crate) async fn upsert(conn: &mut PgConnection, rows: &[TickRow<'_>]) -> sqlx::Result<()> {
    let newest = newest(rows);
    if newest.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO newest_ticks AS old (time, symbol, price, volume, kind, market, base, quote, \
                                       side, trade_id, ccseq, id, received_at)
         SELECT * FROM UNNEST($1::timestamptz[], $2::text[], $3::float8[], $4::float8[], $5::text[], \
                $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int8[], $12::uuid[], \
                $13::timestamptz[])
                AS new (time, symbol, price, volume, kind, market, base, quote, side, trade_id, ccseq, \
                        id, received_at)
         WHERE NOT EXISTS (
             SELECT FROM newest_ticks AS held
             WHERE (held.symbol, held.kind, held.market, held.base, held.quote)
                 = (new.symbol, new.kind, new.market, new.base, new.quote)
             AND (held.time, held.id) >= (new.time, new.id))
         ON CONFLICT (symbol, kind, market, base, quote) DO UPDATE SET
             time = EXCLUDED.time, price = EXCLUDED.price, volume = EXCLUDED.volume,
             side = EXCLUDED.side, trade_id = EXCLUDED.trade_id, ccseq = EXCLUDED.ccseq,
             id = EXCLUDED.id, received_at = EXCLUDED.received_at
         WHERE (old.time, old.id) < (EXCLUDED.time, EXCLUDED.id)";
    ticks::bind(sql, &newest).execute(conn).await?;
    Ok(())
}

/// The newest row of each pair, in the order of the pairs. Of the same tick twice it is the first,
/// as in `ticks`.
fn newest<'r, 'a>(rows: &'r [TickRow<'a>]) -> Vec<&'r TickRow<'a>> {
    let mut best: HashMap<_, &TickRow<'a>> = HashMap::new();
    for row in rows {
        match best.entry(row.pair()) {
            Entry::Vacant(entry) => _ = entry.insert(row),
            Entry::Occupied(mut entry) => {
                if entry.get().moment() < row.moment() {
                    entry.insert(row);
                }
            }
        }
    }
    let mut newest: Vec<_> = best.into_values().collect();
    newest.sort_unstable_by(|a, b| a.pair().cmp(&b.pair()));
    newest
}
