//! The database: one snapshot of the tables as a stream of rows, and single rows looked up later.
//!
//! All that is compared with the topics is read in one transaction (`REPEATABLE READ`, read only), so
//! rows and the sink's own counters fit together whatever the sink does meanwhile.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt as _;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Row as _, Transaction, ValueRef as _};
use tickpanda_sink::SinkError;
use tickpanda_sink::row::{Cell, Kind, Micros, Table};
use xxhash_rust::xxh3::xxh3_128;

use super::copy::{Step, Tuples};
use super::entry::{NO_TIME, roles};
use super::judge::table_index;

const CONNECT: Duration = Duration::from_secs(10);
/// So many refusals of the sink are kept in mind: at 32 bytes each and a byte of the set's own, in a set
/// that doubles when it is 7/8 full, at most 70 MB.
const REFUSALS: usize = 1_000_000;

/// The database.
pub(crate) struct Tables {
    pool: PgPool,
    /// Rows from this time on only (`--since`), by the tables' time columns.
    since: Option<Micros>,
}

/// What the sink refused.
#[derive(Default)]
pub(crate) struct Refusals {
    values: HashSet<(Table, u128)>,
    /// Letters of the stage `sink`.
    pub(crate) letters: u64,
    /// Of them, those beyond [`REFUSALS`].
    pub(crate) beyond: u64,
}

impl Refusals {
    /// Whether a record with this value was refused.
    pub(crate) fn hold(&self, table: Table, value: u128) -> bool {
        self.values.contains(&(table, value))
    }
}

/// A row of `sink_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SinkOffset {
    pub(crate) cluster: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) next_offset: i64,
    pub(crate) duplicates: i64,
    pub(crate) refused: i64,
    /// Records before `next_offset` that retention took before the sink had them, by `gaps`.
    pub(crate) never_read: i64,
}

/// Since when the tables should hold all rows, for each of `Table::ALL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// What lies before was left out on purpose: by a retention policy, or by `--since`.
    pub(crate) by_rule: [i64; 3],
    /// Where the oldest chunk begins. What lies before was dropped, or was never written: the sink's
    /// account tells which.
    pub(crate) by_chunks: [i64; 3],
}

impl Tables {
    /// Connects, and looks whether the tables are there.
    pub(crate) async fn connect(options: PgConnectOptions, since: Option<Micros>) -> Result<Self> {
        let options = options.application_name("tickpanda-audit");
        let pool = PgPoolOptions::new().max_connections(2).acquire_timeout(CONNECT);
        let pool =
            pool.connect_with(options).await.map_err(|error| {
                match SinkError::of_database("let the audit in", error) {
                    SinkError::Database { source, .. } => {
                        anyhow::Error::from(source).context("cannot connect to the database")
                    }
                    tls => tls.into(),
                }
            })?;
        for table in ["ticks", "ohlcv", "dead_letters", "gaps", "sink_offsets"] {
            let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
                .bind(table)
                .fetch_one(&pool)
                .await
                .context("cannot look at the database")?;
            if !there {
                bail!("the database has no table {table}: the sink makes it when it first runs");
            }
        }
        Ok(Tables { pool, since })
    }

    /// The moment that is compared.
    pub(crate) async fn snapshot(&self) -> Result<Transaction<'static, Postgres>> {
        let begun = self.pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await;
        begun.context("cannot begin to read the database")
    }

    /// Rows that the database holds, about: for a progress bar.
    pub(crate) async fn about(&self) -> u64 {
        // Where the planner knows nothing of a table yet, the bar is wrong and nothing else.
        let rows = sqlx::query_scalar::<_, i64>(
            "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint FROM pg_class c
             WHERE c.relkind = 'r' AND (c.relname IN ('ticks', 'ohlcv', 'dead_letters')
                   OR c.relname ~ '^_hyper_[0-9]+_[0-9]+_chunk$')",
        );
        let rows = rows.fetch_one(&self.pool).await.unwrap_or(0);
        u64::try_from(rows).unwrap_or(0)
    }

    /// Hands over the cells of every row of a table.
    pub(crate) async fn stream(
        &self,
        conn: &mut PgConnection,
        table: Table,
        mut each: impl FnMut(&[Cell<'_>]) -> Result<()>,
    ) -> Result<()> {
        let kinds: Vec<Kind> = table.columns().iter().map(|column| column.1).collect();
        let mut filters: Vec<String> = stage(table).map(String::from).into_iter().collect();
        if let Some(since) = self.since {
            filters.push(format!("\"{}\" >= '{since}'", time_column(table)));
        }
        let query = select(table, &filters);
        copy(conn, &query, &kinds, &mut each)
            .await
            .with_context(|| format!("cannot read {}", table.name()))
    }

    /// What the sink refused, of the output topics by their tables.
    pub(crate) async fn refusals(
        &self,
        conn: &mut PgConnection,
        topics: &[String; 3],
    ) -> Result<Refusals> {
        let mut refusals = Refusals::default();
        let query = "SELECT topic, value FROM dead_letters WHERE stage = 'sink'";
        let each = |cells: &[Cell<'_>]| {
            let [Cell::Text(topic), value] = cells else { return Ok(()) };
            let value = if let Cell::Bytes(bytes) = value { bytes.as_ref() } else { &[] };
            let table = Table::ALL.into_iter().find(|table| topics[table_index(*table)] == **topic);
            let Some(table) = table else { return Ok(()) };
            refusals.letters += 1;
            if refusals.values.len() < REFUSALS {
                refusals.values.insert((table, xxh3_128(value)));
            } else {
                refusals.beyond += 1;
            }
            Ok(())
        };
        copy(conn, query, &[Kind::Text, Kind::Bytes], each)
            .await
            .context("cannot read dead_letters")?;
        Ok(refusals)
    }

    /// As [`Tables::refusals`], as it is now.
    pub(crate) async fn refusals_now(&self, topics: &[String; 3]) -> Result<Refusals> {
        let mut conn = self.pool.acquire().await.context("cannot connect to the database")?;
        self.refusals(&mut conn, topics).await
    }

    /// Since when each table should hold all rows.
    pub(crate) async fn kept(&self, conn: &mut PgConnection) -> Result<Kept> {
        let since = self.since.map_or(NO_TIME, Micros::since_2000);
        let mut kept = Kept { by_rule: [since; 3], by_chunks: [NO_TIME; 3] };
        let hypertables: bool =
            sqlx::query_scalar("SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL")
                .fetch_one(&mut *conn)
                .await?;
        if !hypertables {
            return Ok(kept);
        }
        for table in [Table::Ticks, Table::Candles] {
            let (chunks, rule): (Option<i64>, Option<i64>) = sqlx::query_as(
                "SELECT (extract(epoch FROM
                    (SELECT min(range_start) FROM timescaledb_information.chunks
                     WHERE hypertable_schema = current_schema() AND hypertable_name = $1)
                 ) * 1000000)::bigint, (extract(epoch FROM
                    (SELECT now() - max((config ->> 'drop_after')::interval)
                     FROM timescaledb_information.jobs
                     WHERE proc_name = 'policy_retention' AND scheduled
                       AND hypertable_schema = current_schema() AND hypertable_name = $1)
                 ) * 1000000)::bigint",
            )
            .bind(table.name())
            .fetch_one(&mut *conn)
            .await
            .with_context(|| format!("cannot find out since when {} holds rows", table.name()))?;
            for (time, from) in [(chunks, &mut kept.by_chunks), (rule, &mut kept.by_rule)] {
                if let Some(time) = time.and_then(Micros::new) {
                    let from = &mut from[table_index(table)];
                    *from = (*from).max(time.since_2000());
                }
            }
        }
        Ok(kept)
    }

    /// The sink's own account of these topics.
    pub(crate) async fn offsets(
        &self,
        conn: &mut PgConnection,
        topics: &[String; 3],
    ) -> Result<Vec<SinkOffset>> {
        let rows = sqlx::query(
            // A hole is told of on gap-events before the offset moves over it: then it does not count yet.
            // Its reason ends with the cluster, which gaps has no column for.
            "SELECT cluster, topic, partition, next_offset, duplicates, refused,
                    coalesce((SELECT sum(missing) FROM gaps
                              WHERE gaps.kind = 'offsets' AND gaps.topic = own.topic
                                AND gaps.partition = own.partition
                                AND gaps.last_offset < own.next_offset
                                AND right(gaps.reason, length(own.cluster) + 2) = '(' || own.cluster || ')'
                             ), 0)::bigint
             FROM sink_offsets own
             WHERE topic = ANY ($1) ORDER BY cluster, topic, partition",
        )
        .bind(&topics[..])
        .fetch_all(conn)
        .await
        .context("cannot read sink_offsets")?;
        let offset = |row: &sqlx::postgres::PgRow| {
            Ok(SinkOffset {
                cluster: row.try_get(0)?,
                topic: row.try_get(1)?,
                partition: row.try_get(2)?,
                next_offset: row.try_get(3)?,
                duplicates: row.try_get(4)?,
                refused: row.try_get(5)?,
                never_read: row.try_get(6)?,
            })
        };
        rows.iter().map(offset).collect::<sqlx::Result<_>>().context("cannot read sink_offsets")
    }

    /// Hands over the rows of a table that have one of these times, as they are now. [`NO_TIME`]
    /// means those without one.
    pub(crate) async fn look_up(
        &self,
        table: Table,
        times: &[i64],
        mut each: impl FnMut(&[Cell<'_>]),
    ) -> Result<()> {
        let time = time_column(table);
        let mut filters: Vec<String> = stage(table).map(String::from).into_iter().collect();
        filters.push(match times.contains(&NO_TIME) {
            true => format!("(\"{time}\" = ANY ($1) OR \"{time}\" IS NULL)"),
            false => format!("\"{time}\" = ANY ($1)"),
        });
        let times = times.iter().filter(|time| **time != NO_TIME);
        let times: Vec<Micros> = times.map(|time| Micros::from_since_2000(*time)).collect();
        let query = select(table, &filters);
        let mut rows = sqlx::query(AssertSqlSafe(query)).bind(times).fetch(&self.pool);
        while let Some(row) = rows.next().await {
            let row = row.with_context(|| format!("cannot look up rows of {}", table.name()))?;
            let mut cells = Vec::with_capacity(table.columns().len());
            for (index, (name, kind)) in table.columns().iter().enumerate() {
                let value = row.try_get_raw(index)?;
                let bytes = match value.is_null() {
                    true => None,
                    false => Some(value.as_bytes().map_err(anyhow::Error::from_boxed)?),
                };
                cells.push(Cell::read(*kind, bytes).with_context(|| unreadable(name))?);
            }
            each(&cells);
        }
        Ok(())
    }
}

/// `SELECT` of a table's columns, in the order of their cells.
fn select(table: Table, filters: &[String]) -> String {
    let columns: Vec<_> =
        table.columns().iter().map(|column| format!("\"{}\"", column.0)).collect();
    let filter = match filters {
        [] => String::new(),
        filters => format!(" WHERE {}", filters.join(" AND ")),
    };
    format!("SELECT {} FROM {}{filter}", columns.join(", "), table.name())
}

/// What of a table is compared.
fn stage(table: Table) -> Option<&'static str> {
    (table == Table::DeadLetters).then_some("stage = 'transform'")
}

fn time_column(table: Table) -> &'static str {
    table.columns()[roles(table).time].0
}

fn unreadable(column: &str) -> String {
    format!("the column {column} is not of the type that the sink's migrations give it")
}

/// Runs a query as a stream in binary format, in memory that does not grow with it.
async fn copy(
    conn: &mut PgConnection,
    query: &str,
    kinds: &[Kind],
    mut each: impl FnMut(&[Cell<'_>]) -> Result<()>,
) -> Result<()> {
    let mut stream =
        conn.copy_out_raw(&format!("COPY ({query}) TO STDOUT (FORMAT binary)")).await?;
    let mut tuples = Tuples::default();
    while let Some(bytes) = stream.next().await {
        tuples.push(&bytes?);
        while tuples.step()? == Step::Row {
            if tuples.fields().len() != kinds.len() {
                bail!("a row of another number of columns than asked for");
            }
            let cells = tuples.fields().zip(kinds).map(|(field, kind)| {
                Cell::read(*kind, field).with_context(|| unreadable(&format!("({kind:?})")))
            });
            each(&cells.collect::<Result<Vec<_>>>()?)?;
        }
    }
    Ok(())
}
