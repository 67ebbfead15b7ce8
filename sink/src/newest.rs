//! The newest tick of every kind, market and pair: of a batch, and into the table `newest_ticks`, which
//! the view `latest_ticks` shows: a handful of rows, whatever `ticks` holds.
//!
//! Written in the transaction that writes the ticks, so it can't say anything else than they do. The
//! newest is the greatest `(time, id)`: neither the order of arrival nor a duplicate changes it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::PgConnection;
use xxhash_rust::xxh3::xxh3_128;

use crate::micros::Micros;
use crate::ticks::{self, TickRow};

/// Finds the newest row of each pair, row by row. It keeps hashes of the pairs instead of their names,
/// so that the rows need not stay.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    best: HashMap<u128, (usize, (Micros, u128))>,
    name: Vec<u8>,
}

impl Newest {
    /// Looks at a row; `index` names it. Of the same tick twice it is the first, as in `ticks`.
    pub(crate) fn see(&mut self, index: usize, row: &TickRow<'_>) {
        self.name.clear();
        for part in row.pair() {
            self.name.extend_from_slice(part.as_bytes());
            self.name.push(0); // no name has one: see `check_text`
        }
        let moment = row.moment();
        match self.best.entry(xxh3_128(&self.name)) {
            Entry::Vacant(entry) => _ = entry.insert((index, moment)),
            Entry::Occupied(mut entry) => {
                if entry.get().1 < moment {
                    entry.insert((index, moment));
                }
            }
        }
    }

    /// The rows that are the newest of their pairs.
    pub(crate) fn indices(self) -> Vec<usize> {
        self.best.into_values().map(|(index, _)| index).collect()
    }
}

/// The newest row of each pair, in the order of the pairs.
pub(crate) fn of<'r, 'a>(rows: &'r [TickRow<'a>]) -> Vec<&'r TickRow<'a>> {
    let mut newest = Newest::default();
    for (index, row) in rows.iter().enumerate() {
        newest.see(index, row);
    }
    let mut newest: Vec<_> =
        newest.indices().into_iter().filter_map(|index| rows.get(index)).collect();
    newest.sort_unstable_by(|a, b| a.pair().cmp(&b.pair()));
    newest
}

/// Replaces what these rows outdo. They must be in the order of the pairs, as [`of`] gives them, so that
/// two writers lock rows in the same order; a row that would not change is not even locked.
pub(crate) async fn upsert(conn: &mut PgConnection, newest: &[&TickRow<'_>]) -> sqlx::Result<()> {
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
    ticks::bind(sql, newest).execute(conn).await?;
    Ok(())
}
