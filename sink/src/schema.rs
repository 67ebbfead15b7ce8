//! The tables and views: brought up to date at the start, put into words for the log, counted on
//! request. What they are is in `migrations/`, each with its reasons.

use std::fmt;

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

/// What lies under the tables and views. [`fmt::Display`] says it in words for the log, and what to
/// do where they could be more than they are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ground {
    timescaledb: Option<Timescale>,
    /// Whether `newest_ticks` holds what `ticks` holds.
    latest_complete: bool,
}

/// What TimescaleDB there is, and how much of it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Timescale {
    version: String,
    /// `timescale` is the community edition, `apache` the other.
    license: String,
    hypertables: bool,
    /// Whether the candles are continuous aggregates.
    aggregates: bool,
}

/// What lies under the tables, in words for the log.
pub(crate) async fn describe(pool: &PgPool) -> sqlx::Result<String> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'")
            .fetch_optional(pool)
            .await?;
    let timescaledb = match version {
        None => None,
        Some(version) => {
            let row = sqlx::query(
                "SELECT coalesce(current_setting('timescaledb.license', true), ''),
                    (SELECT count(*) = 2 FROM timescaledb_information.hypertables
                     WHERE hypertable_schema = current_schema()
                     AND hypertable_name IN ('ticks', 'ohlcv')),
                    (SELECT count(*) > 0 FROM timescaledb_information.continuous_aggregates
                     WHERE view_schema = current_schema() AND view_name = 'candles_1m')",
            )
            .fetch_one(pool)
            .await?;
            Some(Timescale {
                version,
                license: row.try_get(0)?,
                hypertables: row.try_get(1)?,
                aggregates: row.try_get(2)?,
            })
        }
    };
    let latest_complete =
        sqlx::query_scalar("SELECT complete FROM newest_ticks_state").fetch_one(pool).await?;
    Ok(Ground { timescaledb, latest_complete }.to_string())
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.timescaledb {
            None => f.write_str(
                "plain PostgreSQL tables, candles are views: the extension timescaledb is not in \
                 this database (after CREATE EXTENSION timescaledb, SELECT \
                 tickpanda_use_timescaledb() makes hypertables)",
            )?,
            Some(Timescale { version, hypertables: false, .. }) => write!(
                f,
                "plain tables, made before TimescaleDB {version} was added to this database: SELECT \
                 tickpanda_use_timescaledb() turns them into hypertables"
            )?,
            Some(Timescale { version, license, aggregates, .. }) => {
                write!(f, "hypertables of TimescaleDB {version}, ")?;
                match (license == "timescale", aggregates) {
                    (true, true) => f.write_str("candles are continuous aggregates"),
                    (true, false) => f.write_str(
                        "candles are views, made before its licence allowed more: SELECT \
                         tickpanda_use_timescaledb() turns them into continuous aggregates",
                    ),
                    (false, false) => {
                        write!(f, "candles are views (its licence is {license})")
                    }
                    (false, true) => write!(
                        f,
                        "candles are continuous aggregates that nothing refreshes, because its \
                         licence is {license} now: set timescaledb.license to timescale again"
                    ),
                }?;
            }
        }
        if !self.latest_complete {
            f.write_str(
                "; latest_ticks reads all of ticks, because something other than the sink wrote \
                 to it: SELECT tickpanda_rebuild_latest() makes it fast again",
            )?;
        }
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_what_the_tables_are_and_what_would_make_them_more() {
        let timescale = |license: &str, hypertables, aggregates| {
            let (version, license) = ("2.19.3".to_owned(), license.to_owned());
            Some(Timescale { version, license, hypertables, aggregates })
        };
        for (timescaledb, latest_complete, said, to_do) in [
            (None, true, "plain PostgreSQL tables", Some("CREATE EXTENSION timescaledb")),
            (timescale("apache", false, false), true, "plain tables", Some("use_timescaledb()")),
            (timescale("timescale", false, false), true, "plain tables", Some("use_timescaledb()")),
            (timescale("apache", true, false), true, "candles are views", None),
            (
                timescale("timescale", true, false),
                true,
                "candles are views",
                Some("use_timescaledb()"),
            ),
            (timescale("timescale", true, true), true, "candles are continuous aggregates", None),
            (
                timescale("apache", true, true),
                true,
                "nothing refreshes",
                Some("timescaledb.license"),
            ),
            (timescale("timescale", true, true), false, "aggregates", Some("rebuild_latest()")),
        ] {
            let words = Ground { timescaledb, latest_complete }.to_string();
            assert!(words.contains(said), "{words}");
            match to_do {
                Some(to_do) => assert!(words.contains(to_do), "{words}"),
                None => assert!(!words.contains("SELECT") && !words.contains("set "), "{words}"),
            }
        }
    }
}
