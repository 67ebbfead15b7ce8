//! The promises of `tickpanda audit`, through the outside: a real broker, the real `.wasm`, the sink
//! and TimescaleDB, and then somebody who changes the database behind their backs.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rskafka::record::Record;
use serde_json::Value;
use tickpanda_broker::StartFrom;
use tickpanda_database::testing;
use tickpanda_kafka::murmur2_partition;
use tickpanda_tests::audit::{PARTITIONS, Pipeline, candles, record, trade, with};

/// 2024-01-01, in seconds.
const DAY: i64 = 1_704_067_200;
/// A moment later, in milliseconds: when things are received.
const RECEIVED: i64 = DAY * 1000 + 600_000;

/// One of four, for the `n`th trade: their pairs lie on both partitions.
fn market(n: i64) -> &'static str {
    match n % 4 {
        0 => "Kraken",
        1 => "Coinbase",
        2 => "Binance",
        _ => "Bitstamp",
    }
}

/// The `n`th trade, received so many milliseconds late.
fn nth(n: i32, late: i64) -> Record {
    let (price, n) = (100.1 + f64::from(n), i64::from(n));
    trade(market(n), &n.to_string(), price, DAY + n, RECEIVED + late + n)
}

/// Of every kind of outcome at least one record.
fn all_kinds() -> Vec<Record> {
    let mut records: Vec<_> = (0..200).map(|n| nth(n, 0)).collect();
    // The vendor replays: the same events, received later, and with other numbers of delivery.
    records.extend((0..20).map(|n| nth(n, 1000)));
    records.push(candles(&[(DAY, "5.5"), (DAY + 60, "6.5"), (DAY + 120, "7")], RECEIVED));
    records.push(candles(&[(DAY + 60, "6.75"), (DAY + 120, "7")], RECEIVED + 5000));
    // Partly bad: a good candle, and a row that makes a dead letter.
    records.push(candles(&[(DAY + 180, "8"), (DAY + 240, "\"no\"")], RECEIVED + 6000));
    records.push(with(record("Kraken~ETH~USD", "<html>", RECEIVED), &[("feed", "rest")]));
    records.push(record("?", [0xff, 0, 0x7f], RECEIVED));
    records.push(record("?", "", RECEIVED));
    records.push(Record { value: None, ..record("?", "", RECEIVED) });
    records.push(Record { key: None, ..record("", r#"{"TYPE":"777"}"#, RECEIVED) });
    let garbage = record("99~a\0b", "{", RECEIVED);
    records.push(with(garbage, &[("reason", "mine"), ("nul", "\0"), ("z", "ü")]));
    records.push(record("Kraken~BTC~USD", r#"{"TYPE":"8","M":"Kraken"}"#, RECEIVED));
    records.push(record("?", "{}", RECEIVED));
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pipeline_wrote_balances_whatever_the_records_were() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    // Two trades that no table takes: PostgreSQL's text has no NUL, and this one refuses a name.
    pipeline
        .sql("ALTER TABLE ticks ADD CONSTRAINT no_voldemort CHECK (market <> 'Voldemort')")
        .await;
    let mut records = all_kinds();
    records.push(trade("Kraken", "nul\\u0000", 1.0, DAY, RECEIVED));
    records.push(trade("Voldemort", "1", 1.0, DAY, RECEIVED));
    pipeline.write(records).await;

    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    let ticks = |name| audited.count("ticks", name);
    assert_eq!((ticks("expected"), ticks("matched"), ticks("refused")), (202, 200, 2));
    assert_eq!(audited.json["sink_refusals"], 2);
    let candles = |name| audited.count("ohlcv", name);
    assert_eq!((candles("expected"), candles("matched")), (4, 4));
    let letters = |name| audited.count("dead_letters", name);
    assert_eq!((letters("expected"), letters("matched")), (7, 7));
    let raw = &audited.json["raw"][0];
    assert_eq!(raw["records"], 233);
    assert_eq!(raw["with_rows"], 225);
    assert_eq!((raw["bad_rows"].as_u64(), raw["nothing"].as_u64()), (Some(1), Some(2)));
    assert_eq!(raw["rejected"], 6);
    assert_eq!(audited.json["sums"][0]["duplicates"], 20);
    assert!(audited.text.ends_with("balanced\n"), "{}", audited.text);
    assert!(
        audited.text.contains("refused in ticks: time=2024-01-01T00:00:00"),
        "{}",
        audited.text
    );

    // A refusal that is not accounted for is missing.
    assert_eq!(pipeline.sql("DELETE FROM dead_letters WHERE stage = 'sink'").await, 2);
    let audited = pipeline.audit(&[]).await;
    assert_eq!((audited.code, audited.count("ticks", "missing")), (1, 2), "{}", audited.text);
    assert!(audited.text.contains("the sink can't store it"), "{}", audited.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_kind_of_difference_is_found_and_named() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.write(all_kinds()).await;
    pipeline.audit(&[]).await.assert_balanced();
    for table in ["ticks", "ohlcv", "dead_letters"] {
        let copy = format!("CREATE TABLE saved_{table} AS TABLE {table}");
        sqlx::query(sqlx::AssertSqlSafe(copy)).execute(&pipeline.pool).await.unwrap();
    }
    let cases = [
        (
            "DELETE FROM ticks WHERE trade_id = '77'",
            ("ticks", "missing"),
            "missing in ticks: time=2024-01-01T00:01:17.000000Z",
        ),
        (
            "INSERT INTO ticks SELECT time, symbol, price, volume, kind, market, base, quote, side, 'new', \
             ccseq, gen_random_uuid(), received_at FROM ticks WHERE trade_id = '78'",
            ("ticks", "extra"),
            "extra in ticks: time=2024-01-01T00:01:18.000000Z",
        ),
        (
            "UPDATE ticks SET price = price + 0.5 WHERE trade_id = '79'",
            ("ticks", "different"),
            "price: expected 179.1, is 179.6",
        ),
        (
            "UPDATE ticks SET received_at = received_at + interval '1 microsecond' WHERE trade_id = '80'",
            ("ticks", "different"),
            "received_at: expected 2024-01-01T00:10:00.080000Z, is 2024-01-01T00:10:00.080001Z",
        ),
        (
            "UPDATE ohlcv SET close = 6.5, received_at = received_at - interval '5 seconds' WHERE close = 6.75",
            ("ohlcv", "different"),
            "close: expected 6.75, is 6.5",
        ),
        (
            "UPDATE ohlcv SET volume = NULL WHERE close = 8",
            ("ohlcv", "different"),
            "volume: expected 3.0, is NULL",
        ),
        ("DELETE FROM ohlcv WHERE close = 5.5", ("ohlcv", "missing"), "interval=1m"),
        (
            "DELETE FROM dead_letters WHERE reason = 'bad_rows'",
            ("dead_letters", "missing"),
            "reason=bad_rows",
        ),
        (
            "UPDATE dead_letters SET headers = headers || '{\"nul\": \"\"}' WHERE headers ? 'nul'",
            ("dead_letters", "different"),
            "headers: expected",
        ),
        (
            "UPDATE dead_letters SET value = 'x' WHERE reason = 'unknown_type'",
            ("dead_letters", "different"),
            "value: expected {\\\"TYPE\\\":\\\"777\\\"} (14 bytes), is x (1 bytes)",
        ),
    ];
    for (change, (table, kind), said) in cases {
        assert_eq!(pipeline.sql(change).await, 1, "{change}");
        let audited = pipeline.audit(&[]).await;
        assert_eq!(audited.code, 1, "{change}\n{}", audited.text);
        let kinds = |table| ["missing", "extra", "different"].map(|kind| (table, kind));
        for (other, name) in ["ticks", "ohlcv", "dead_letters"].into_iter().flat_map(kinds) {
            let expected = u64::from((other, name) == (table, kind));
            assert_eq!(
                audited.count(other, name),
                expected,
                "{change}: {other} {name}\n{}",
                audited.text
            );
        }
        assert!(audited.text.contains(said), "{change}\n{}", audited.text);
        let raw_named = audited.text.contains("raw record cryptocompare-raw/");
        assert_eq!(raw_named, kind != "extra", "{change}\n{}", audited.text);
        // As it was.
        let delete = format!("DELETE FROM {table}");
        let insert = format!("INSERT INTO {table} TABLE saved_{table}");
        for statement in [delete, insert] {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&pipeline.pool).await.unwrap();
        }
    }
    pipeline.audit(&[]).await.assert_balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_took_from_the_raw_topic_is_not_judged_and_said() {
    let database = testing::database().await;
    let settings = [("segment.bytes", "4000"), ("retention.bytes", "12000")];
    let mut pipeline = Pipeline::start(&database, &settings).await;
    pipeline.start_sink();
    for part in 0..20 {
        let trades = (part * 20..part * 20 + 20).map(|n| {
            let trade = trade(market(n), &n.to_string(), 1.0, DAY + n, RECEIVED + 1000 * n);
            with(trade, &[("seq", &format!("00000000000000aa:{n}"))])
        });
        pipeline.produce(trades.collect()).await;
        // Written before retention takes it.
        pipeline.caught_up().await;
    }
    pipeline.stop_sink().await;
    let audited = loop {
        let starts = pipeline.broker.watermarks("cryptocompare-raw");
        if starts.iter().all(|(start, _)| *start > 0) {
            break pipeline.audit(&[]).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    audited.assert_balanced();
    let ticks = |name| audited.count("ticks", name);
    assert!(ticks("before_raw_topic") > 0 && ticks("matched") > 0, "{}", audited.text);
    assert_eq!(ticks("matched") + ticks("before_raw_topic"), 400, "{}", audited.text);
    assert!(
        audited.text.contains("its beginning is gone, rows count if received after"),
        "{}",
        audited.text
    );
    assert_eq!(audited.json["seq"]["lost"], 0, "{}", audited.text);

    // Behind the range a row is judged as ever, before it nobody can say.
    let insert = "INSERT INTO ticks SELECT time, symbol, price, volume, kind, market, base, quote, side, \
                  trade_id, ccseq, gen_random_uuid(), received_at FROM ticks WHERE trade_id = ";
    for (trade, extra) in [("'0'", 0), ("'399'", 1)] {
        let insert = format!("{insert}{trade}");
        sqlx::query(sqlx::AssertSqlSafe(insert)).execute(&pipeline.pool).await.unwrap();
        let audited = pipeline.audit(&[]).await;
        assert_eq!(audited.count("ticks", "extra"), extra, "{trade}\n{}", audited.text);
        // But that nobody wrote it, the sum tells: no retention of raw records changes it.
        assert_eq!(audited.code, 1, "{trade}\n{}", audited.text);
        assert_eq!(audited.json["sums"][0]["not_judged"], Value::Null, "{}", audited.text);
    }
    pipeline.sql("DELETE FROM ticks WHERE trade_id = '398'").await;
    let audited = pipeline.audit(&[]).await;
    assert_eq!(audited.count("ticks", "missing"), 1, "{}", audited.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_dropped_is_not_missed_and_said() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    let days = (0..3).flat_map(|day| {
        (0..10).map(move |n| {
            let second = DAY + day * 86_400 + n;
            trade("Kraken", &format!("{day}-{n}"), 1.0, second, second * 1000 + 500)
        })
    });
    pipeline.write(days.collect()).await;
    let dropped = sqlx::query(
        "SELECT drop_chunks('ticks', older_than => '2024-01-02 00:00:00+00'::timestamptz)",
    );
    assert_eq!(dropped.fetch_all(&pipeline.pool).await.unwrap().len(), 1);
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    assert_eq!(audited.count("ticks", "before_table"), 10, "{}", audited.text);
    assert_eq!(audited.count("ticks", "matched"), 20);
    assert!(
        audited
            .text
            .contains("rows are expected from 2024-01-02T00:00:00.000000Z on; 10 older ones"),
        "{}",
        audited.text
    );
    // The oldest row of a chunk that is there is missed.
    assert_eq!(pipeline.sql("DELETE FROM ticks WHERE trade_id = '1-0'").await, 1);
    let audited = pipeline.audit(&[]).await;
    assert_eq!((audited.code, audited.count("ticks", "missing")), (1, 1), "{}", audited.text);
    // Rows that were deleted by hand are told of by hand.
    pipeline.sql("DELETE FROM ticks WHERE time < '2024-01-03 00:00:00+00'").await;
    assert_eq!(pipeline.audit(&[]).await.code, 1);
    pipeline.audit(&["--since", "2024-01-03T00:00:00Z"]).await.assert_balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_and_repeated_numbers_of_a_source_are_found() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    let numbered = |n: i64| {
        // Two of them on one partition, the others on the other.
        let market = if n == 1 || n == 6 { apart("Kraken") } else { "Kraken" };
        let trade = trade(market, &n.to_string(), 1.0, DAY + n, RECEIVED + n);
        with(trade, &[("seq", &format!("00000000000000aa:{n}"))])
    };
    pipeline.write([0, 1, 2, 4, 5, 5].map(numbered).into()).await;
    let audited = pipeline.audit(&[]).await;
    assert_eq!(audited.code, 1, "{}", audited.text);
    let seq = &audited.json["seq"];
    assert_eq!((seq["lost"].as_u64(), seq["repeated"].as_u64()), (Some(1), Some(1)));
    let said = "run 00000000000000aa: 5 seen, 1 lost, 1 repeated; missing 3";
    assert!(audited.text.contains(said), "{}", audited.text);
    // Unless the source's ledger says that it was killed: then it may never have published the number,
    // if it was to go where only 1 had come before.
    let state = tempfile::tempdir().unwrap();
    let mut ledger = tickpanda_source::ledger::Ledger::open(state.path()).unwrap();
    ledger.started(0xaa, RECEIVED).unwrap();
    let audited = pipeline.audit(&["--source-state", state.path().to_str().unwrap()]).await;
    audited.assert_balanced();
    assert_eq!(audited.json["seq"]["unpublished"], 1, "{}", audited.text);
    // Where it ended by itself, its account counts to the end.
    ledger.ended(0xaa, RECEIVED, 8).unwrap();
    let audited = pipeline.audit(&["--source-state", state.path().to_str().unwrap()]).await;
    assert_eq!(
        (audited.code, audited.json["seq"]["lost"].as_u64()),
        (1, Some(3)),
        "{}",
        audited.text
    );
    // A killed source, too, had published it if later ones are on every partition.
    pipeline.write(vec![numbered(6)]).await;
    let killed = tempfile::tempdir().unwrap();
    let mut ledger = tickpanda_source::ledger::Ledger::open(killed.path()).unwrap();
    ledger.started(0xaa, RECEIVED).unwrap();
    let killed = ["--source-state", killed.path().to_str().unwrap()];
    let audited = pipeline.audit(&killed).await;
    assert_eq!((audited.code, &audited.json["seq"]["lost"]), (1, &1.into()), "{}", audited.text);
    // A repetition alone is a retry: its rows collapse, and nothing is missing.
    pipeline.write(vec![numbered(3)]).await;
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    assert_eq!(audited.json["seq"]["repeated"], 1);
    // Of another run nothing is there at all.
    ledger.ended(0xbb, RECEIVED, 4).unwrap();
    let audited = pipeline.audit(&killed).await;
    assert_eq!((audited.code, &audited.json["seq"]["lost"]), (1, &4.into()), "{}", audited.text);
    let said = "run 00000000000000bb: 0 seen, 4 lost, 0 repeated; missing 0–3";
    assert!(audited.text.contains(said), "{}", audited.text);
}

/// A market whose pair lies on the other partition than this one's.
fn apart(market: &str) -> &'static str {
    let partition =
        |market: &str| murmur2_partition(format!("{market}~BTC~USD").as_bytes(), PARTITIONS);
    (0..4).map(self::market).find(|other| partition(other) != partition(market)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_never_written_is_missing_also_where_the_table_begins_later() {
    let database = testing::database().await;
    let of_day = |day: i64| {
        (0..10).map(move |n| {
            let second = DAY + day * 86_400 + n;
            trade("Kraken", &format!("{day}-{n}"), 1.0, second, second * 1000 + 500)
        })
    };
    let before = of_day(0).collect();
    let mut pipeline = Pipeline::start_with(&database, &[], StartFrom::Latest, before).await;
    pipeline.write(of_day(1).collect()).await;
    let audited = pipeline.audit(&[]).await;
    let ticks = |name| audited.count("ticks", name);
    assert_eq!(
        (audited.code, ticks("missing"), ticks("before_table")),
        (1, 10, 0),
        "{}",
        audited.text
    );
    assert!(audited.text.contains("--since leaves them out"), "{}", audited.text);
    let audited = pipeline.audit(&["--since", "2024-01-02T00:00:00Z"]).await;
    audited.assert_balanced();
    assert_eq!(audited.count("ticks", "before_table"), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_takes_in_the_holes_of_its_own_topic_and_is_not_judged_where_nobody_can() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.write(all_kinds()).await;
    pipeline.audit(&[]).await.assert_balanced();
    // As a sink leaves it that found five records gone.
    let moved = "UPDATE sink_offsets SET next_offset = next_offset + 5
                 WHERE topic = 'tick-data' AND partition = 0";
    assert_eq!(pipeline.sql(moved).await, 1);
    let gap = "INSERT INTO gaps (id, kind, topic, partition, gap_from, first_offset, last_offset, missing, state, reason)
               SELECT gen_random_uuid(), 'offsets', topic, partition, now(), next_offset - 5, next_offset - 1, 5,
                      'unrepairable', 'retention took the records before the sink read them (' || ";
    for (of, code) in [("'another'", 1), ("cluster", 0)] {
        let gap = format!(
            "{gap}{of} || ')' FROM sink_offsets WHERE topic = 'tick-data' AND partition = 0"
        );
        sqlx::query(sqlx::AssertSqlSafe(gap)).execute(&pipeline.pool).await.unwrap();
        let audited = pipeline.audit(&[]).await;
        assert_eq!(audited.code, code, "{of}\n{}", audited.text);
        assert_eq!(
            audited.text.contains("5 that retention took before"),
            code == 0,
            "{}",
            audited.text
        );
    }

    // A sink that first runs when the topic's beginning is gone.
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.produce(all_kinds()).await;
    pipeline.transformed().await;
    pipeline.cut("tick-data", 0, 3).await;
    pipeline.write(vec![]).await;
    let audited = pipeline.audit(&[]).await;
    assert!(audited.text.contains("NOT JUDGED: the topic's beginning is gone"), "{}", audited.text);
    // The vendor's replays bring what was gone, so no row is missing.
    audited.assert_balanced();
    // What is more than is gone from the topic, that does not explain.
    assert_eq!(
        pipeline
            .sql(
                "UPDATE sink_offsets SET next_offset = next_offset + 1
                             WHERE topic = 'tick-data' AND partition = 0"
            )
            .await,
        1
    );
    let audited = pipeline.audit(&[]).await;
    assert_eq!(
        (audited.code, &audited.json["sums"][0]["not_judged"]),
        (1, &Value::Null),
        "{}",
        audited.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_all_is_gone_nothing_is_called_balanced() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    let numbered = |n: i64| {
        let trade = trade(market(n), &n.to_string(), 1.0, DAY + n, RECEIVED + n);
        with(trade, &[("seq", &format!("00000000000000aa:{n}"))])
    };
    pipeline.write((0..20).map(numbered).collect()).await;
    let ends = pipeline.broker.watermarks("cryptocompare-raw");
    pipeline.cut("cryptocompare-raw", 0, ends[0].1).await;
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    let seq = &audited.json["seq"];
    assert_eq!(
        (&seq["judged"], &seq["not_judged"]),
        (&false.into(), &1.into()),
        "{}",
        audited.text
    );
    assert!(audited.text.contains("0 repeated   NOT JUDGED"), "{}", audited.text);
    pipeline.cut("cryptocompare-raw", 1, ends[1].1).await;
    let audited = pipeline.audit(&[]).await;
    assert_eq!((audited.code, &audited.json["balanced"]), (3, &false.into()), "{}", audited.text);
    assert!(
        audited.text.ends_with("nothing compared: all raw records are gone\n"),
        "{}",
        audited.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_other_keys_than_their_records_are_excused_on_every_partition() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    // Under a key that lies elsewhere than the rows' own.
    let elsewhere = format!("{}~BTC~USD", apart("Kraken"));
    let keyed = |n: i64| Record {
        key: Some(elsewhere.clone().into_bytes()),
        ..trade("Kraken", &n.to_string(), 1.0, DAY + n, RECEIVED + n)
    };
    let first = trade("Kraken", "first", 1.0, DAY, RECEIVED - 1000);
    pipeline.write((0..10).map(keyed).chain([first]).collect()).await;
    let partition = murmur2_partition(elsewhere.as_bytes(), PARTITIONS);
    pipeline.cut("cryptocompare-raw", partition, 4).await;
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    assert_eq!(audited.count("ticks", "before_raw_topic"), 4, "{}", audited.text);
    assert_eq!(audited.json["raw"][0]["other_keys"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_still_on_their_way_are_waited_for() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.produce(all_kinds()).await;
    let audited = pipeline.audit(&[]).await;
    assert_eq!((audited.code, audited.count("ticks", "missing")), (1, 200), "{}", audited.text);
    let mut command = pipeline.command(&["--settle", "120s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    // By then the tables were read, and nothing was in them.
    while !line.contains("comparing") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "the audit ended without comparing");
    }
    pipeline.start_sink();
    let drained = std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await.unwrap();
    drained.join().unwrap().unwrap();
    let audited = pipeline.audited(output.unwrap());
    pipeline.stop_sink().await;
    audited.assert_balanced();
    assert_eq!(audited.json["late"], 211, "{}", audited.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_runs_meanwhile_is_no_difference() {
    let ended = tokio::time::timeout(Duration::from_secs(600), audited_while_it_runs()).await;
    ended.expect("four audits of a pipeline that keeps up end within ten minutes");
}

async fn audited_while_it_runs() {
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.start_sink();
    let stop = Arc::new(AtomicBool::new(false));
    let mut sent = 0;
    let produce = async {
        while !stop.load(Ordering::Relaxed) {
            let some = (sent..sent + 50).map(|n| {
                // It happened before it is received, however long the test takes.
                let trade = trade(market(n), &n.to_string(), 1.0, DAY + n / 1000, RECEIVED + n);
                with(trade, &[("seq", &format!("00000000000000aa:{n}"))])
            });
            // The candle of a minute is revised each time.
            let candle = candles(&[(DAY, &format!("{}.5", sent % 9))], RECEIVED + sent);
            pipeline.produce(some.chain([candle]).collect()).await;
            sent += 50;
            // A rate that the pipeline keeps up with: how far it is behind must not grow.
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    };
    let audits = async {
        for _ in 0..4 {
            pipeline.audit(&["--settle", "60s"]).await.assert_balanced();
        }
        stop.store(true, Ordering::Relaxed);
    };
    tokio::join!(produce, audits);
    pipeline.caught_up().await;
    pipeline.stop_sink().await;
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    assert_eq!(audited.count("ticks", "matched"), u64::try_from(sent).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_cluster_in_the_same_tables_are_told_apart_as_far_as_can_be() {
    let database = testing::database().await;
    let mut other = Pipeline::start(&database, &[]).await;
    let shared = || trade("Kraken", "1", 1.0, DAY, RECEIVED);
    other.write(vec![shared(), trade("Kraken", "2", 1.0, DAY, RECEIVED)]).await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    let again = Record { timestamp: trade("", "", 1.0, 0, RECEIVED + 9).timestamp, ..shared() };
    pipeline.write(vec![again, trade("Kraken", "3", 1.0, DAY, RECEIVED)]).await;
    let audited = pipeline.audit(&[]).await;
    audited.assert_balanced();
    let ticks = |name| audited.count("ticks", name);
    assert_eq!((ticks("matched"), ticks("not_attributed")), (2, 1), "{}", audited.text);
    let cluster = other.broker.cluster_id();
    assert!(
        audited.text.contains(&cluster) && audited.text.contains("can't be told"),
        "{}",
        audited.text
    );
    pipeline.sql("UPDATE ticks SET price = 2 WHERE trade_id = '3'").await;
    assert_eq!(pipeline.audit(&[]).await.count("ticks", "different"), 1);
    pipeline.sql("DELETE FROM ticks WHERE trade_id = '3'").await;
    assert_eq!(pipeline.audit(&[]).await.count("ticks", "missing"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_end_with_2_and_are_named() {
    let database = testing::database().await;
    let pipeline = Pipeline::start(&database, &[]).await;
    for (args, name) in [
        (["--raw-topic", "nowhere"], "nowhere"),
        (["--database-url", "mysql://u:hunter2@h/d"], "DATABASE_URL"),
        (["--since", "yesterday"], "--since"),
    ] {
        let audited = pipeline.audit(&args).await;
        assert_eq!(audited.code, 2, "{args:?}: {}", audited.log);
        assert!(audited.log.contains(name) && !audited.log.contains("hunter2"), "{}", audited.log);
    }
    pipeline.audit(&[]).await.assert_balanced();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_it_from_comparing_is_told_apart_from_a_difference() {
    let database = testing::database().await;
    let pipeline = Pipeline::start(&database, &[]).await;
    let empty = testing::database().await;
    let audited = pipeline.audit(&["--database-url", &empty.url]).await;
    assert_eq!(audited.code, 3, "{}\n{}", audited.text, audited.log);
    assert!(audited.log.contains("has no table ticks"), "{}", audited.log);
}
