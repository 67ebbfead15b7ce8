//! The database as one transaction saw it: its rows go to the buckets, the rest is kept.

use anyhow::{Context as _, Result};
use tickpanda_sink::row::{Cell, Table};

use super::buckets::Buckets;
use super::entry::Hasher;
use super::judge::table_index;
use super::progress::Progress;
use super::range::Bounds;
use super::tables::{Kept, Refusals, SinkOffset, Tables};
use super::{TEMPORARY, settle};

/// What one transaction saw of the database, its rows in the buckets.
pub(super) struct Snapshot {
    pub(super) refusals: Refusals,
    pub(super) offsets: Vec<SinkOffset>,
    pub(super) kept: Kept,
    /// Rows of each of `Table::ALL`.
    pub(super) rows: [i64; 3],
}

impl Snapshot {
    /// Reads all of it.
    pub(super) async fn read(
        tables: &Tables,
        outputs: &[String; 3],
        bounds: &Bounds,
        buckets: &mut Buckets,
    ) -> Result<Self> {
        let progress = Progress::new("reading the tables", tables.about().await);
        let mut transaction = tables.snapshot().await?;
        let conn = &mut *transaction;
        let offsets = tables.offsets(conn, outputs).await?;
        let kept = tables.kept(conn).await?;
        let mut rows = [0; 3];
        let mut hasher = Hasher::default();
        for table in Table::ALL {
            let count = &mut rows[table_index(table)];
            let each = |cells: &[Cell<'_>]| {
                *count += 1;
                progress.advance(1);
                let entry = settle::stored(&mut hasher, table, cells, bounds);
                buckets.push(&entry).context(TEMPORARY)
            };
            tables.stream(conn, table, each).await?;
        }
        let refusals = tables.refusals(conn, outputs).await?;
        transaction.rollback().await.context("cannot end reading the database")?;
        Ok(Snapshot { refusals, offsets, kept, rows })
    }
}
