//! The tables: brought up to date at the start, counted on request.

use sqlx::{PgPool, Row as _};

use crate::error::SinkError;

/// Creates the tables, or brings those of an earlier version up to date. Any number of sinks may do
/// this at once: they take turns by an advisory lock.
///
/// # Errors
/// [`SinkError::Migrate`].
pub async fn migrate(pool: &PgPool) -> Result<(), SinkError> {
    Ok(sqlx::migrate!().run(pool).await?)
}

/// What lies under the tables, in words for the log.
pub(crate) async fn describe(pool: &PgPool) -> sqlx::Result<String> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            .fetch_optional(pool)
            .await?;
    let Some(version) = version else {
        return Ok("plain PostgreSQL tables: the extension timescaledb is not in this database \
                   (CREATE EXTENSION timescaledb before the first start makes hypertables)"
            .to_owned());
    };
    let hypertables: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM timescaledb_information.hypertables
         WHERE hypertable_schema = current_schema() AND hypertable_name IN ('ticks', 'ohlcv')",
    )
    .fetch_one(pool)
    .await?;
    Ok(match hypertables {
        2 => format!("hypertables of TimescaleDB {version}"),
        _ => format!(
            "plain tables, made before TimescaleDB {version} was added to this database; \
             create_hypertable(…, migrate_data => true) turns them into hypertables"
        ),
    })
}

/// How many rows each table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// `ticks`
    pub ticks: i64,
    /// `ohlcv`
    pub candles: i64,
    /// `dead_letters` of the stage `transform`
    pub dead_letters: i64,
    /// `dead_letters` of the stage `sink`
    pub sink_dead_letters: i64,
    /// `gaps`
    pub gaps: i64,
}

/// Counts the rows exactly, by reading all of them: for the end of a run, not for every second.
///
/// # Errors
/// Whatever the database answers.
pub async fn count_rows(pool: &PgPool) -> sqlx::Result<RowCounts> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM ticks), (SELECT count(*) FROM ohlcv),
                (SELECT count(*) FROM dead_letters WHERE stage = 'transform'),
                (SELECT count(*) FROM dead_letters WHERE stage = 'sink'),
                (SELECT count(*) FROM gaps)",
    )
    .fetch_one(pool)
    .await?;
    Ok(RowCounts {
        ticks: row.try_get(0)?,
        candles: row.try_get(1)?,
        dead_letters: row.try_get(2)?,
        sink_dead_letters: row.try_get(3)?,
        gaps: row.try_get(4)?,
    })
}
