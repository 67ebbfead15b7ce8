//! Every event once, every record counted.

use sqlx::Row as _;
use tickpanda_database::testing;

use super::*;

#[tokio::test]
async fn duplicates_inside_and_between_batches_are_counted_and_not_written() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    assert_eq!(writer.open(0).await.unwrap().next_offset, 0);
    // Large enough for COPY, which then meets the duplicates and gives way.
    let first: Vec<_> = (0..1000).map(|n| tick(n, n / 2)).collect();
    assert_eq!(writer.put(0, &batch(first)).await.unwrap(), counts(500, 500, 0));
    let second: Vec<_> = (1000..2000).map(|n| tick(n, n - 600)).collect();
    assert_eq!(writer.put(1000, &batch(second)).await.unwrap(), counts(900, 100, 0));
    let third: Vec<_> = (2000..3000).map(|n| tick(n, n)).collect();
    assert_eq!(writer.put(2000, &batch(third)).await.unwrap(), counts(1000, 0, 0));
    assert_eq!(bench.offset().await, (3000, 600, 0));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 2400);
}

#[tokio::test]
async fn after_a_run_of_duplicates_copy_is_taken_up_again() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let mut offset = 0;
    let mut write = async |duplicate: bool| {
        let (from, to) = (offset, offset + 300);
        offset = to;
        let events = (from..to).map(|n| tick(n, if duplicate && n == from + 1 { from } else { n }));
        writer.put(from, &batch(events.collect())).await.unwrap();
        writer.copies_from().is_some()
    };
    let replayed = [write(true).await, write(true).await, write(true).await, write(true).await];
    assert!(replayed.contains(&false), "a pause that is not worth preparing for: {replayed:?}");
    let mut again = false;
    for _ in 0..8 {
        again = write(false).await;
    }
    assert!(again, "the pause has ended, though nothing was prepared in it");
}

#[tokio::test]
async fn copy_and_insert_write_the_same_row() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    writer.put(0, &batch(vec![tick(0, 77_123)])).await.unwrap(); // one row: INSERT
    let text = "SELECT ticks::text FROM ticks WHERE trade_id = '77123'";
    let inserted: String = sqlx::query_scalar(text).fetch_one(&bench.pool).await.unwrap();
    sqlx::query("TRUNCATE ticks").execute(&bench.pool).await.unwrap();
    let many = (1..1001).map(|n| tick(n, 77_122 + n)).collect();
    assert_eq!(writer.put(1, &batch(many)).await.unwrap(), counts(1000, 0, 0)); // COPY
    let copied: String = sqlx::query_scalar(text).fetch_one(&bench.pool).await.unwrap();
    assert_eq!(inserted, copied);
    let row = sqlx::query(
        "SELECT extract(epoch FROM time)::text, id::text, extract(epoch FROM received_at)::text,
                price, side FROM ticks WHERE trade_id = '77123'",
    );
    let row = row.fetch_one(&bench.pool).await.unwrap();
    assert_eq!(row.get::<String, _>(0), "1700000077.123000");
    assert_eq!(row.get::<String, _>(1), "00000000-0000-0000-0000-000000012d43");
    assert_eq!(row.get::<String, _>(2), "1700000000.123000");
    assert_eq!((row.get::<f64, _>(3), row.get::<String, _>(4)), (30_023.25, "sell".to_owned()));
}

#[tokio::test]
async fn a_second_writer_is_fenced_and_doubles_nothing() {
    let bench = bench().await;
    let (mut one, mut two) = (bench.writer(Feed::Ticks), bench.writer(Feed::Ticks));
    one.open(0).await.unwrap();
    assert_eq!(two.open(0).await.unwrap().next_offset, 0);
    let records: Vec<_> = (0..300).map(|n| tick(n, n)).collect();
    assert_eq!(one.put(0, &batch(records.clone())).await.unwrap(), counts(300, 0, 0));
    assert_eq!(two.put(0, &batch(records)).await.unwrap(), Outcome::Fenced);
    assert_eq!(bench.offset().await, (300, 0, 0), "the fenced batch left no count");
    assert_eq!(
        two.open(0).await.unwrap().next_offset,
        300,
        "and its writer goes on from where it is"
    );
}

#[tokio::test]
async fn two_writers_at_once_write_each_batch_once() {
    let bench = bench().await;
    let (mut one, mut two) = (bench.writer(Feed::Ticks), bench.writer(Feed::Ticks));
    one.open(0).await.unwrap();
    for round in 0..10 {
        let records = (round * 300..(round + 1) * 300).map(|n| tick(n, n)).collect();
        let batch = batch(records);
        let (a, b) = tokio::join!(one.put(round * 300, &batch), two.put(round * 300, &batch));
        let (a, b) = (a.unwrap(), b.unwrap());
        assert!((a == Outcome::Fenced) != (b == Outcome::Fenced), "{a:?} {b:?}");
    }
    assert_eq!(bench.offset().await, (3000, 0, 0));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 3000);
}

#[tokio::test]
async fn the_newest_candle_wins_also_when_an_older_one_comes_later() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Candles);
    writer.open(0).await.unwrap();
    let close = "SELECT close::bigint FROM ohlcv";
    for (offset, (received_at, closed, value), changed, expected) in [
        (0, (1000, false, 1), 1, 1),
        (1, (3000, false, 2), 1, 2),
        (2, (2000, true, 3), 0, 2), // older
        (3, (3000, true, 4), 1, 4), // at the same millisecond closed wins
        (4, (3000, false, 5), 0, 4),
        (5, (3000, true, 4), 0, 4), // the very same
    ] {
        let written = batch(vec![candle(offset, 0, received_at, closed, value)]);
        let outcome = writer.put(offset, &written).await.unwrap();
        assert_eq!(outcome, counts(changed, 1 - changed, 0), "offset {offset}");
        assert_eq!(bench.count(close).await, expected, "offset {offset}");
    }
    let many: Vec<_> =
        (6u8..12).map(|n| candle(n.into(), n % 2, 4000 + i64::from(n), true, n)).collect();
    assert_eq!(writer.put(6, &batch(many)).await.unwrap(), counts(2, 4, 0));
    assert_eq!(bench.offset().await, (12, 7, 0));
}

#[tokio::test]
async fn without_the_extension_the_tables_are_plain_and_all_the_same() {
    let bench = on(testing::plain_postgres().await).await;
    let tables = bench.database.prepare().await.unwrap();
    assert!(tables.starts_with("plain PostgreSQL tables"), "{tables}");
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let records: Vec<_> = (0..1000).map(|n| tick(n, n % 900)).collect();
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(900, 100, 0));
    let mut candles = bench.writer(Feed::Candles);
    let candle = batch(vec![candle(1000, 0, 1, true, 1)]);
    assert_eq!(candles.put(1000, &candle).await.unwrap(), counts(1, 0, 0));
    let rows = crate::count_rows(&bench.pool).await.unwrap();
    assert_eq!((rows.ticks, rows.candles), (900, 1));
}

#[tokio::test]
async fn sinks_that_start_at_once_migrate_once() {
    let test = testing::database().await;
    let options: PgConnectOptions = test.url.parse().unwrap();
    let sinks: Vec<_> = (0..4).map(|_| Database::new(options.clone(), 2)).collect();
    let (a, b, c, d) = tokio::join!(
        sinks[0].prepare(),
        sinks[1].prepare(),
        sinks[2].prepare(),
        sinks[3].prepare()
    );
    for tables in [a, b, c, d] {
        assert!(tables.unwrap().starts_with("hypertables of TimescaleDB"));
    }
}
