//! The demo's view of the database: whose it is, and how many rows it holds.

use std::path::Path;

use anyhow::{Context, Result, bail};
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tickpanda_database::{Database, Server, ServerConfig, Source};
use tickpanda_model::topic;

/// The tables and views of our migrations. Anything else in the database is somebody else's.
const OURS: [&str; 14] = [
    "ticks",
    "ohlcv",
    "dead_letters",
    "gaps",
    "sink_offsets",
    "_sqlx_migrations",
    "newest_ticks",
    "newest_ticks_state",
    "latest_ticks",
    "candles_1m",
    "candles_5m",
    "candles_15m",
    "candles_1h",
    "candles_1d",
];

/// Rows per table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Rows {
    pub(crate) ticks: u64,
    pub(crate) candles: u64,
}

/// What the sink has committed of one broker's topics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Records of the three output topics that are dealt with.
    pub(crate) records: u64,
    /// Of them, ticks and candles that are neither duplicate nor refused.
    pub(crate) rows: u64,
    pub(crate) duplicate_ticks: u64,
    pub(crate) refused_ticks: u64,
}

/// The given database, or a server that is started for the demo and a database in it.
pub(crate) async fn obtain(dir: &Path) -> Result<(Server, Database)> {
    let source = Source::from_env()?;
    let given = match &source {
        Source::Given(url) => Some(url.clone()),
        _ => None,
    };
    let config = ServerConfig { source, data_dir: Some(dir.join("database")), durable: true };
    let server = Server::start(config).await?;
    let database = match given {
        Some(url) => Database { name: String::new(), url: url.clone(), socket_url: url },
        None => server.create_database("ticks").await?,
    };
    Ok((server, database))
}

/// Which database it is, for people and for comparing: without user and password.
pub(crate) fn place(url: &str) -> Result<String> {
    let options = options(url)?;
    let database = options.get_database().unwrap_or("(the user's)");
    Ok(format!("{}:{}/{database}", options.get_host(), options.get_port()))
}

/// Parsed apart from connecting, so that an error about the URL never shows the password in it.
fn options(url: &str) -> Result<PgConnectOptions> {
    url.parse()
        .ok()
        .context("DATABASE_URL is not a PostgreSQL URL like postgres://user@host/database")
}

/// What somebody else's database held before our first run, kept in the data directory.
#[derive(serde::Serialize, serde::Deserialize)]
struct Baseline {
    place: String,
    rows: Rows,
}

/// A small pool: the demo only looks.
pub(crate) async fn connect(url: &str) -> Result<PgPool> {
    let options = options(url)?.application_name("tickpanda-demo");
    let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await;
    pool.context("cannot connect to the database")
}

/// Refuses a database that holds anything but what this data directory's clusters wrote.
async fn refuse_foreign(pool: &PgPool, ours: &[String]) -> Result<()> {
    const OTHER_RELATIONS: &str = "\
        select n.nspname || '.' || c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname <> 'information_schema' \
        and n.nspname !~ '^(pg_|_timescaledb|timescaledb)' \
        and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e') \
        and not (n.nspname = current_schema() and c.relname = any($1)) order by 1";
    let others: Vec<String> =
        sqlx::query_scalar(OTHER_RELATIONS).bind(&OURS[..]).fetch_all(pool).await?;
    if let Some(first) = others.first() {
        bail!(
            "the database holds {first}{}, which is not tickpanda's: give the demo a database of its own, or pass --into-existing",
            match others.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            }
        );
    }
    if rows(pool).await? == Rows::default() {
        return Ok(());
    }
    let clusters: Vec<String> =
        sqlx::query_scalar("select distinct cluster from sink_offsets").fetch_all(pool).await?;
    if clusters.is_empty() || !clusters.iter().all(|cluster| ours.contains(cluster)) {
        bail!(
            "the database holds rows that came from another broker: give the demo a database of its own \
             (or the --data-dir that they came from), or pass --into-existing"
        );
    }
    Ok(())
}

/// Refuses a database that is not ours, or, where it is wanted all the same, returns what it held
/// before the first run on this data directory.
pub(crate) async fn admit(
    pool: &PgPool,
    place: &str,
    clusters: &[String],
    into_existing: bool,
    baseline: &Path,
) -> Result<Rows> {
    if !into_existing {
        refuse_foreign(pool, clusters).await?;
        return Ok(Rows::default());
    }
    if let Ok(saved) = std::fs::read(baseline) {
        let saved: Baseline = serde_json::from_slice(&saved)
            .with_context(|| format!("{} is damaged", baseline.display()))?;
        if saved.place != place {
            bail!(
                "this data directory was used with the database {}, not with {place}: use that one, or another --data-dir",
                saved.place
            );
        }
        return Ok(saved.rows);
    }
    let before = rows(pool).await?;
    let saved = Baseline { place: place.to_owned(), rows: before };
    std::fs::write(baseline, serde_json::to_vec(&saved)?)
        .with_context(|| format!("cannot write {}", baseline.display()))?;
    Ok(before)
}

/// What the sink has committed under these cluster keys, by its own account: cheap enough for every
/// glance.
pub(crate) async fn written(pool: &PgPool, clusters: &[String]) -> Result<Written> {
    if !has_table(pool, "sink_offsets").await? {
        return Ok(Written::default()); // the sink has not migrated yet
    }
    let totals = tickpanda_sink::totals(pool, clusters).await;
    let mut written = Written::default();
    for total in totals.context("cannot read sink_offsets")? {
        if !topic::OUTPUTS.contains(&total.topic.as_str()) {
            continue;
        }
        // The demo's topics keep all of their records, so an offset counts what lies before it.
        let records = u64::try_from(total.next_offset)?;
        let (duplicates, refused) =
            (u64::try_from(total.duplicates)?, u64::try_from(total.refused)?);
        written.records += records;
        if total.topic == topic::TICKS {
            (written.duplicate_ticks, written.refused_ticks) = (duplicates, refused);
        }
        if total.topic != topic::DEAD_LETTERS {
            written.rows += records.saturating_sub(duplicates + refused);
        }
    }
    Ok(written)
}

async fn has_table(pool: &PgPool, name: &str) -> Result<bool> {
    let there = sqlx::query_scalar("select to_regclass($1) is not null").bind(name).fetch_one(pool);
    there.await.context("cannot look at the database")
}

/// Exact row counts; 0 where the tables are not there yet.
pub(crate) async fn rows(pool: &PgPool) -> Result<Rows> {
    for table in ["ticks", "ohlcv", "sink_offsets"] {
        if !has_table(pool, table).await? {
            return Ok(Rows::default());
        }
    }
    let rows = tickpanda_sink::count_rows(pool).await.context("cannot count rows")?;
    Ok(Rows { ticks: u64::try_from(rows.ticks)?, candles: u64::try_from(rows.candles)? })
}

/// The latest price of a few pairs, for people to look at.
pub(crate) async fn prices(pool: &PgPool, symbols: &[String]) -> Result<Vec<(String, f64)>> {
    let mut prices = Vec::new();
    for symbol in symbols {
        let latest: Option<f64> = sqlx::query_scalar(
            "select price from ticks where symbol = $1 order by time desc limit 1",
        )
        .bind(symbol)
        .fetch_optional(pool)
        .await?;
        prices.extend(latest.map(|price| (symbol.clone(), price)));
    }
    Ok(prices)
}
