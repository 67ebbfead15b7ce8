//! One bad record never sinks its batch.

use sqlx::Row as _;

use super::*;

#[tokio::test]
async fn what_does_not_parse_is_kept_with_its_bytes_and_the_rest_is_written() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let mut records = vec![tick(0, 0), record(1, b"\xff\x00 not JSON".to_vec()), tick(2, 1)];
    let infinite = String::from_utf8(tick(3, 3).value.unwrap()).unwrap();
    records.push(record(3, infinite.replace(":0.5,", ":1e999,")));
    records.push(Record { value: None, ..tick(4, 4) });
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(2, 0, 3));
    assert_eq!(bench.offset().await, (5, 0, 3));
    let row = sqlx::query(
        "SELECT stage, reason, topic, partition, value, key FROM dead_letters WHERE \"offset\" = 1",
    );
    let row = row.fetch_one(&bench.pool).await.unwrap();
    assert_eq!((row.get::<&str, _>(0), row.get::<&str, _>(1)), ("sink", "unreadable"));
    assert_eq!((row.get::<&str, _>(2), row.get::<i32, _>(3)), ("t", 0));
    assert_eq!(row.get::<Vec<u8>, _>(4), b"\xff\x00 not JSON");
    assert_eq!(row.get::<Vec<u8>, _>(5), b"Kraken~BTC~USD");
}

#[tokio::test]
async fn a_nul_in_a_text_is_foreseen() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let records: Vec<_> = (0..300)
        .map(|n| tick_of(n, n, if n == 150 { r"BTC\u0000USD" } else { "BTCUSD" }))
        .collect();
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(299, 0, 1));
    let reason = "SELECT count(*) FROM dead_letters WHERE reason = 'refused' AND \"offset\" = 150";
    assert_eq!(bench.count(reason).await, 1);
}

#[tokio::test]
async fn rows_that_the_database_refuses_are_found_by_halving() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    // Too long for a row of the index on symbol, and not compressible: SQLSTATE 54000.
    let mut state = 1u64;
    let long: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'A' + state.to_be_bytes()[0] % 26)
    })
    .take(20_000)
    .collect();
    let bad = [0, 8, 150, 298]; // the first of its two, so the second becomes the row
    let records: Vec<_> = (0..300)
        .map(|n| tick_of(n, n / 2, if bad.contains(&n) { &long } else { "BTCUSD" }))
        .collect();
    // Every event is there twice.
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(150, 146, 4));
    assert_eq!(bench.offset().await, (300, 146, 4));
    let refused = "SELECT count(*) FROM dead_letters WHERE reason = 'refused' AND stage = 'sink'";
    assert_eq!(bench.count(refused).await, 4);
    let offsets = "SELECT sum(\"offset\")::bigint FROM dead_letters";
    assert_eq!(bench.count(offsets).await, bad.iter().sum::<i64>());
}

#[tokio::test]
async fn dead_letters_of_the_transform_collapse_when_they_come_again() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::DeadLetters);
    writer.open(0).await.unwrap();
    let letter = |offset, received_at: &str| {
        let mut letter = record(offset, b"\x00raw".to_vec());
        for (name, value) in [
            ("reason", b"not_json".as_slice()),
            ("detail", b"line 1 \0 \xff"),
            ("received_at", received_at.as_bytes()),
            ("odd", b"\xff\0"),
        ] {
            letter.headers.insert(name.to_owned(), value.to_vec());
        }
        letter
    };
    let mut nameless = record(3, "x");
    nameless.headers.clear();
    let records = vec![
        letter(0, "1700000000001"),
        letter(1, "1700000000001"),
        letter(2, "1700000000002"),
        nameless,
    ];
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(2, 1, 1));
    let again = batch(vec![letter(4, "1700000000002")]);
    assert_eq!(writer.put(4, &again).await.unwrap(), counts(0, 1, 0));
    let row = sqlx::query(
        "SELECT stage, detail, value, headers->>'received_at', headers->'odd'->>'hex',
                extract(epoch FROM received_at)::text FROM dead_letters WHERE \"offset\" = 0",
    );
    let row = row.fetch_one(&bench.pool).await.unwrap();
    assert_eq!(row.get::<&str, _>(0), "transform");
    assert_eq!(row.get::<&str, _>(1), "line 1 \u{fffd} \u{fffd}");
    assert_eq!(row.get::<Vec<u8>, _>(2), b"\x00raw");
    assert_eq!((row.get::<&str, _>(3), row.get::<&str, _>(4)), ("1700000000001", "ff00"));
    assert_eq!(row.get::<&str, _>(5), "1700000000.001000");
    let rows = crate::count_rows(&bench.pool).await.unwrap();
    assert_eq!((rows.dead_letters, rows.sink_dead_letters), (2, 1));
}

#[tokio::test]
async fn what_no_client_can_read_is_stepped_past_and_counted() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let lost = |offset: i64| {
        let mut record = Record { offset, ..Record::default() };
        record.headers.insert("offset".to_owned(), offset.to_string().into_bytes());
        (record, "the batch is damaged".to_owned())
    };
    for offset in 0..2 {
        let lost =
            Fetched { lost: vec![lost(offset)], next_offset: offset + 1, ..Fetched::default() };
        assert_eq!(writer.put(offset, &lost).await.unwrap(), counts(0, 0, 1));
    }
    assert_eq!(bench.offset().await, (2, 0, 2));
    assert_eq!(bench.count("SELECT count(*) FROM dead_letters").await, 2);
}

#[tokio::test]
async fn a_gap_has_one_row_in_its_last_state() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Gaps);
    writer.open(0).await.unwrap();
    let gap = |offset, from, state: &str| {
        record(
            offset,
            format!(
                r#"{{"kind":"trade","market":"Kraken","base":"BTC","quote":"USD","gap_from":{from},"state":"{state}","reason":"no connection"}}"#
            ),
        )
    };
    let records = vec![gap(0, 1, "open"), gap(1, 2, "open"), gap(2, 1, "unrepairable")];
    assert_eq!(writer.put(0, &batch(records)).await.unwrap(), counts(2, 1, 0));
    let later = batch(vec![gap(3, 2, "repaired"), gap(4, 1, "unrepairable")]);
    assert_eq!(writer.put(3, &later).await.unwrap(), counts(1, 1, 0));
    assert_eq!(bench.count("SELECT count(*) FROM gaps WHERE state = 'open'").await, 0);
}

#[tokio::test]
async fn a_schema_that_is_not_ours_stops_the_sink_by_name() {
    let bench = bench().await;
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    sqlx::query("ALTER TABLE ticks RENAME TO other").execute(&bench.pool).await.unwrap();
    let error = writer.put(0, &batch(vec![tick(0, 0)])).await.unwrap_err();
    assert!(!error.is_transient());
    let text = error.to_string();
    assert!(text.contains("t/0 from offset 0") && text.contains("42P01"), "{text}");
}

#[tokio::test]
async fn a_batch_that_is_too_much_for_one_transaction_is_written_in_parts() {
    let bench = on(tickpanda_database::testing::plain_postgres().await).await;
    // As a server says it that has no locks left, here for more than 100 rows at once.
    for sql in [
        "CREATE FUNCTION few() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN IF (SELECT count(*) FROM added) > 100 THEN
             RAISE EXCEPTION 'out of shared memory' USING ERRCODE = '53200';
         END IF; RETURN NULL; END $$",
        "CREATE TRIGGER few AFTER INSERT ON ticks REFERENCING NEW TABLE AS added
         FOR EACH STATEMENT EXECUTE FUNCTION few()",
    ] {
        sqlx::query(sql).execute(&bench.pool).await.unwrap();
    }
    let mut writer = bench.writer(Feed::Ticks);
    writer.open(0).await.unwrap();
    let mut records: Vec<_> = (0..1000).map(|n| tick(n, n % 900)).collect();
    records[700] = record(700, b"no tick".to_vec());
    let outcome = writer.put(0, &batch(records)).await.unwrap();
    assert_eq!(outcome, counts(899, 100, 1));
    assert_eq!(bench.offset().await, (1000, 100, 1));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, 899);
}
