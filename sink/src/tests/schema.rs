//! The tables and views: made, brought up to date with data in place, and right on each edition.

use std::borrow::Cow;

use sqlx::AssertSqlSafe;
use sqlx::migrate::Migrator;
use tickpanda_database::{Server, ServerConfig, Source, Suite};

use super::*;

/// What every version of the schema since the first can hold: two symbols' trades, a ticker, a
/// candle, a dead letter, a gap and an offset.
const DATA: &str = "
INSERT INTO ticks (time, symbol, price, volume, kind, market, base, quote, trade_id, id, received_at) VALUES
 ('2024-02-29 23:59:59.5Z', 'BTCUSD', 7, 1,    'trade',  'Kraken', 'BTC', 'USD', '1', '00000000000000000000000000000001', now()),
 ('2024-03-01 00:00:00Z',   'BTCUSD', 5, 1,    'trade',  'Kraken', 'BTC', 'USD', '9', '00000000000000000000000000000003', now()),
 ('2024-03-01 00:00:00Z',   'BTCUSD', 6, 2,    'trade',  'Kraken', 'BTC', 'USD', '10', '00000000000000000000000000000002', now()),
 ('2024-03-01 00:01:01Z',   'BTCUSD', 4, NULL, 'trade',  'Kraken', 'BTC', 'USD', '11', '00000000000000000000000000000004', now()),
 ('2024-03-01 00:00:30Z',   'BTCUSD', 99, 9,   'ticker', 'Kraken', 'BTC', 'USD', NULL, '00000000000000000000000000000005', now()),
 ('2024-03-01 12:00:00Z',   'ETHUSD', 3, NULL, 'trade',  'Kraken', 'ETH', 'USD', '1', '00000000000000000000000000000006', now());
INSERT INTO ohlcv (bucket, symbol, open, high, low, close, interval, market, base, quote, closed, received_at, revision)
 VALUES ('2019-01-01Z', 'BTCUSD', 1, 2, 1, 2, '1d', 'Kraken', 'BTC', 'USD', true, now(), '00000000000000000000000000000001');
INSERT INTO dead_letters (id, stage, reason, detail, topic, partition, \"offset\", headers, value)
 VALUES ('00000000000000000000000000000001', 'sink', 'r', 'd', 't', 0, 1, '{}', 'x');
INSERT INTO gaps (id, kind, gap_from, state, reason)
 VALUES ('00000000000000000000000000000001', 'trade', '2024-01-01Z', 'open', 'r');
INSERT INTO sink_offsets (cluster, topic, partition, next_offset, duplicates, refused)
 VALUES ('c', 't', 0, 7, 2, 3);
";

/// What each view shows of [`DATA`]: bucket, symbol, open, high, low, close, volume, trades.
const CANDLES: [(&str, &[&str]); 5] = [
    (
        "candles_1m",
        &[
            "2024-02-29 23:59:00 BTCUSD 7 7 7 7 1 1",
            // Of one instant, trade 9 comes before trade 10, whatever their ids.
            "2024-03-01 00:00:00 BTCUSD 5 6 5 6 3 2",
            "2024-03-01 00:01:00 BTCUSD 4 4 4 4 NULL 1",
            "2024-03-01 12:00:00 ETHUSD 3 3 3 3 NULL 1",
        ],
    ),
    (
        "candles_5m",
        &[
            "2024-02-29 23:55:00 BTCUSD 7 7 7 7 1 1",
            "2024-03-01 00:00:00 BTCUSD 5 6 4 4 3 3",
            "2024-03-01 12:00:00 ETHUSD 3 3 3 3 NULL 1",
        ],
    ),
    (
        "candles_15m",
        &[
            "2024-02-29 23:45:00 BTCUSD 7 7 7 7 1 1",
            "2024-03-01 00:00:00 BTCUSD 5 6 4 4 3 3",
            "2024-03-01 12:00:00 ETHUSD 3 3 3 3 NULL 1",
        ],
    ),
    (
        "candles_1h",
        &[
            "2024-02-29 23:00:00 BTCUSD 7 7 7 7 1 1",
            "2024-03-01 00:00:00 BTCUSD 5 6 4 4 3 3",
            "2024-03-01 12:00:00 ETHUSD 3 3 3 3 NULL 1",
        ],
    ),
    (
        "candles_1d",
        &[
            "2024-02-29 00:00:00 BTCUSD 7 7 7 7 1 1",
            "2024-03-01 00:00:00 BTCUSD 5 6 4 4 3 3",
            "2024-03-01 00:00:00 ETHUSD 3 3 3 3 NULL 1",
        ],
    ),
];

/// That all of [`DATA`] is there, as it was and in the views.
async fn check_data(pool: &PgPool) {
    // A reader's session with another zone: buckets are of UTC all the same.
    let mut conn = pool.acquire().await.unwrap();
    sqlx::query("SET timezone TO 'America/New_York'").execute(&mut *conn).await.unwrap();
    for (view, expected) in CANDLES {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT concat_ws(' ', bucket AT TIME ZONE 'UTC', symbol, open, high, low, close,
                              coalesce(volume::text, 'NULL'), trades) FROM {view} ORDER BY bucket, symbol"
        )))
        .fetch_all(&mut *conn)
        .await
        .unwrap();
        assert_eq!(rows, expected, "{view}");
    }
    let latest: Vec<String> = sqlx::query_scalar(
        "SELECT concat_ws(' ', symbol, kind, price, trade_id) FROM latest_ticks ORDER BY symbol, kind",
    )
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    assert_eq!(latest, ["BTCUSD ticker 99", "BTCUSD trade 4 11", "ETHUSD trade 3 1"]);
    let rows = crate::count_rows(pool).await.unwrap();
    let kept = (rows.ticks, rows.candles, rows.sink_dead_letters, rows.gaps);
    assert_eq!(kept, (6, 1, 1, 1));
    let totals = crate::totals(pool, &["c".to_owned()]).await.unwrap();
    let total = totals.first().unwrap();
    assert_eq!((total.next_offset, total.duplicates, total.refused), (7, 2, 3));
}

/// The schema as it was at a version.
async fn migrate_to(pool: &PgPool, version: i64) {
    let mut migrator: Migrator = sqlx::migrate!();
    let earlier = migrator.iter().filter(|migration| migration.version <= version).cloned();
    migrator.migrations = Cow::Owned(earlier.collect());
    migrator.run(pool).await.unwrap();
}

async fn pool_of(test: &TestDatabase) -> PgPool {
    PgPool::connect(&test.url).await.unwrap()
}

#[tokio::test]
async fn every_earlier_version_is_brought_up_to_date_with_its_data() {
    let versions: Vec<_> = sqlx::migrate!().iter().map(|migration| migration.version).collect();
    assert_eq!(versions.first(), Some(&1), "the version that was released first");
    for version in versions {
        for test in [testing::database().await, testing::plain_postgres().await] {
            let pool = pool_of(&test).await;
            migrate_to(&pool, version).await;
            sqlx::raw_sql(DATA).execute(&pool).await.unwrap();
            let bench = on(test).await;
            check_data(&pool).await;
            // And the sink goes on where the table says.
            let mut writer = bench.writer(Feed::Ticks);
            assert_eq!(writer.open(0).await.unwrap().next_offset, 7, "from version {version}");
            let more = (7..407).map(|n| tick(n, n)).collect();
            assert_eq!(writer.put(7, &batch(more)).await.unwrap(), counts(400, 0, 0));
            assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 406);
            assert_eq!(bench.count("SELECT sum(trades)::bigint FROM candles_1d").await, 405);
            assert_eq!(bench.count("SELECT count(*) FROM latest_ticks").await, 3);
        }
    }
}

#[tokio::test]
async fn the_schema_is_all_the_same_on_the_newer_timescaledb() {
    let config =
        ServerConfig { source: Source::Debian(Suite::Forky), data_dir: None, durable: false };
    let server = Server::start(config).await.unwrap();
    let database = server.create_database("newer").await.unwrap();
    let options: PgConnectOptions = database.socket_url.parse().unwrap();
    let sink = Database::new(options.clone(), 2);
    let tables = sink.prepare().await.unwrap();
    assert!(tables.starts_with("hypertables of TimescaleDB 2."), "{tables}");
    let pool = PgPool::connect_with(options).await.unwrap();
    sqlx::raw_sql(DATA).execute(&pool).await.unwrap();
    check_data(&pool).await;
    let place = Place { cluster: "c".into(), topic: "t".into(), partition: 0 };
    let mut writer = Writer::new(sink.clone(), place, Feed::Ticks, Arc::new(Stats::default()));
    assert_eq!(writer.open(0).await.unwrap().next_offset, 7);
    // Each way of writing, and each meets duplicates.
    for (from, events, new) in [(7, 0..1000, 1000), (1007, 900..1300, 300), (1407, 1290..1310, 10)]
    {
        let records: Vec<_> = (from..).zip(events).map(|(n, event)| tick(n, event)).collect();
        let old = records.len() as u64 - new;
        assert_eq!(writer.put(from, &batch(records)).await.unwrap(), counts(new, old, 0));
    }
    let rows = crate::count_rows(&pool).await.unwrap();
    assert_eq!(rows.ticks, 6 + 1310);
    pool.close().await;
    sink.close().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_that_gets_the_extension_later_is_told_how_to_use_it() {
    let test = testing::plain_postgres().await;
    let pool = pool_of(&test).await;
    let bench = on(test).await;
    sqlx::raw_sql(DATA).execute(&pool).await.unwrap();
    let early = sqlx::query("SELECT tickpanda_use_timescaledb()").execute(&pool).await.unwrap_err();
    assert!(early.to_string().contains("the extension timescaledb is not in this database"));
    sqlx::query("CREATE EXTENSION timescaledb").execute(&pool).await.unwrap();
    pool.close().await; // a session that began without the extension can't use it
    let tables = bench.database.prepare().await.unwrap();
    assert!(tables.starts_with("plain tables"), "{tables}");
    assert!(tables.contains("SELECT tickpanda_use_timescaledb()"), "{tables}");

    let pool = PgPool::connect_with((*bench.pool.connect_options()).clone()).await.unwrap();
    for _ in 0..2 {
        // The second time there is nothing to do.
        sqlx::query("SELECT tickpanda_use_timescaledb()").execute(&pool).await.unwrap();
        let tables = bench.database.prepare().await.unwrap();
        assert!(tables.starts_with("hypertables of TimescaleDB"), "{tables}");
        check_data(&pool).await;
    }
    let chunks = "SELECT count(*) FROM show_chunks('ticks')";
    assert_eq!(bench.count(chunks).await, 2, "the data lies in chunks");
}

#[tokio::test]
async fn the_latest_tick_is_right_whoever_wrote_to_the_table() {
    for test in [testing::database().await, testing::plain_postgres().await] {
        let bench = on(test).await;
        let mut writer = bench.writer(Feed::Ticks);
        writer.open(0).await.unwrap();
        let latest = "SELECT trade_id::bigint FROM latest_ticks";
        // COPY and INSERT; the later batch holds the older ticks.
        let new = (0..400).map(|n| tick(n, 1000 + n)).collect();
        writer.put(0, &batch(new)).await.unwrap();
        assert_eq!(bench.count(latest).await, 1399);
        writer.put(400, &batch(vec![tick(400, 3), tick(401, 1399)])).await.unwrap();
        assert_eq!(bench.count(latest).await, 1399, "an older one changes nothing");
        writer.put(402, &batch(vec![tick(402, 1500), tick(403, 1450)])).await.unwrap();
        assert_eq!(bench.count(latest).await, 1500);
        assert!(!bench.database.prepare().await.unwrap().contains("rebuild"));

        sqlx::query("DELETE FROM ticks WHERE trade_id = '1500'")
            .execute(&bench.pool)
            .await
            .unwrap();
        assert_eq!(bench.count(latest).await, 1450, "somebody else's change is seen at once");
        let said = bench.database.prepare().await.unwrap();
        assert!(said.contains("SELECT tickpanda_rebuild_latest()"), "{said}");
        sqlx::query("SELECT tickpanda_rebuild_latest()").execute(&bench.pool).await.unwrap();
        assert!(!bench.database.prepare().await.unwrap().contains("rebuild"));
        assert_eq!(bench.count(latest).await, 1450);
        sqlx::query("TRUNCATE ticks").execute(&bench.pool).await.unwrap();
        assert_eq!(bench.count("SELECT count(*) FROM latest_ticks").await, 0);
        sqlx::raw_sql(DATA).execute(&bench.pool).await.unwrap_err(); // the offset is there already
        writer.put(404, &batch(vec![tick(404, 7)])).await.unwrap();
        assert_eq!(bench.count(latest).await, 7);
    }
}

#[tokio::test]
async fn keeping_ticks_for_a_time_says_what_it_needs() {
    let bench = bench().await;
    let refused = sqlx::query("SELECT tickpanda_keep_ticks('90 days')").execute(&bench.pool).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("community edition"), "{refused}");
}

#[tokio::test]
async fn common_questions_are_answered_from_an_index() {
    let bench = bench().await;
    sqlx::query(
        "INSERT INTO ticks (time, symbol, price, kind, market, base, quote, id, received_at)
         SELECT '2024-01-01Z'::timestamptz + n * INTERVAL '10 s', 'S' || n % 50, 1, 'trade', 'M', 'S', 'U',
                md5(n::text)::uuid, now() FROM generate_series(1, 50000) n",
    )
    .execute(&bench.pool)
    .await
    .unwrap();
    sqlx::query("ANALYZE ticks").execute(&bench.pool).await.unwrap();
    let last =
        plan(&bench, "SELECT * FROM ticks WHERE symbol = 'S7' ORDER BY time DESC LIMIT 1").await;
    assert!(last.contains("ticks_symbol_time") && !last.contains("Seq Scan"), "{last}");
    let range = plan(
        &bench,
        "SELECT * FROM ohlcv WHERE symbol = 'S7' AND interval = '1m'
         AND bucket BETWEEN '2024-01-01Z' AND '2024-01-02Z' ORDER BY bucket",
    );
    assert!(!range.await.contains("Seq Scan on ohlcv "));
    let candles = plan(
        &bench,
        "SELECT * FROM candles_1m WHERE symbol = 'S7' AND bucket >= '2024-01-03Z' AND bucket < '2024-01-04Z'",
    );
    let candles = candles.await;
    assert!(candles.contains("ticks_symbol_time"), "{candles}");
    let chunks = candles.matches("_chunk  (cost").count();
    assert_eq!(chunks, 1, "of six chunks one is read: {candles}");
}

async fn plan(bench: &Bench, sql: &'static str) -> String {
    let explain = AssertSqlSafe(format!("EXPLAIN {sql}"));
    let lines: Vec<String> = sqlx::query_scalar(explain).fetch_all(&bench.pool).await.unwrap();
    lines.join("\n")
}
