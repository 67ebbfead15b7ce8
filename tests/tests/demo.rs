//! The promises of README's first command, through the outside: the real programs, sockets, the
//! real `.wasm`, real TimescaleDB.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_database::{Server, ServerConfig, testing};
use tickpanda_model::header::Seq;
use tickpanda_model::topic;
use tickpanda_tests::demo::{Running, demo, succeed, sums};
use tickpanda_tests::source::{header, read};

const TRADES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/trades-eth-usdt.jsonl");

async fn connect(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(2).connect(url).await.expect("the test's database")
}

fn field(sums: &Value, name: &str) -> u64 {
    sums[name].as_u64().unwrap_or_else(|| panic!("{name} in {sums}"))
}

/// Frames on the display's line: `   3 s  frames     1,234 (+500/s) …`.
fn frames_shown(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(" s  frames ")?;
    rest.split_whitespace().next()?.replace(',', "").parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_trade_is_one_row_equal_to_its_frame_also_when_replayed_again() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let (dir, json) = (work.path().join("data"), work.path().join("sums.json"));
    for run in 1..=2u64 {
        let mut command = demo(work.path(), Some(&database.url));
        command.args(["--replay", TRADES, "--data-dir"]).arg(&dir).arg("--json").arg(&json);
        succeed(&mut command);
        let sums = sums(&json);
        assert_eq!(field(&sums, "frames"), 1000);
        assert_eq!(field(&sums, "raw_records"), 1000 * run);
        assert_eq!(field(&sums, "with_rows"), 1000 * run);
        assert_eq!(field(&sums, "tick_rows"), 1000);
        assert_eq!(field(&sums, "duplicates"), 1000 * (run - 1));
        assert_eq!((field(&sums, "lost"), sums["balanced"].as_bool()), (0, Some(true)));
    }
    let pool = connect(&database.url).await;
    compare_with_frames(&pool).await;
}

/// Symbol, price, volume, time to the millisecond, side and trade id of each frame.
async fn compare_with_frames(pool: &PgPool) {
    let rows = sqlx::query(
        "select symbol, price, volume, (extract(epoch from time) * 1000)::bigint as ms, side, trade_id, \
         kind, market from ticks order by trade_id",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let text = std::fs::read_to_string(TRADES).unwrap();
    let mut frames: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    frames.sort_by_key(|frame| frame["ID"].as_str().unwrap().to_owned());
    assert_eq!(rows.len(), frames.len());
    for (row, frame) in rows.iter().zip(&frames) {
        let ms = frame["TS"].as_i64().unwrap() * 1000 + frame["TSNS"].as_i64().unwrap() / 1_000_000;
        let side = match frame["F"].as_str().unwrap() {
            "1" => "sell",
            "2" => "buy",
            other => panic!("the fixture has no flags {other}"),
        };
        let there = (
            row.get::<String, _>("symbol"),
            row.get::<f64, _>("price"),
            row.get::<f64, _>("volume"),
            row.get::<i64, _>("ms"),
            row.get::<String, _>("side"),
            row.get::<String, _>("trade_id"),
        );
        let expected = (
            "ETHUSDT".to_owned(),
            frame["P"].as_f64().unwrap(),
            frame["Q"].as_f64().unwrap(),
            ms,
            side.to_owned(),
            frame["ID"].as_str().unwrap().to_owned(),
        );
        assert_eq!(there, expected);
        assert_eq!(row.get::<String, _>("kind"), "trade");
        assert_eq!(row.get::<String, _>("market"), "Binance");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_synthetic_market_fills_both_tables_and_the_sums_balance() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let json = work.path().join("sums.json");
    let mut command = demo(work.path(), Some(&database.url));
    let output = succeed(command.args(["--for", "8s", "--rate", "400", "--json"]).arg(&json));
    let sums = sums(&json);
    assert!(field(&sums, "tick_rows") > 100, "{sums}");
    assert!(field(&sums, "candle_rows") > 100, "{sums}");
    assert_eq!(field(&sums, "dead_letters"), 0, "{sums}");
    assert_eq!((field(&sums, "lost"), sums["balanced"].as_bool()), (0, Some(true)));
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.lines().filter_map(frames_shown).any(|frames| frames > 0), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_loses_nothing_and_doubles_nothing() {
    let work = tempfile::tempdir().unwrap();
    let (dir, json) = (work.path().join("data"), work.path().join("sums.json"));
    let start = || {
        // A database of its own: broker, database and children all lose their parent.
        let mut command = demo(work.path(), None);
        command.args(["--replay", TRADES, "--rate", "200", "--data-dir"]).arg(&dir);
        command.arg("--json").arg(&json);
        command
    };
    let mut killed = Running::start(&mut start());
    killed.wait_for("200 frames", |line| frames_shown(line).filter(|frames| *frames >= 200));
    killed.kill();
    succeed(&mut start());
    let sums = sums(&json);
    // The second run publishes its own frames, and before them what the killed one had received.
    let broker = Broker::start(BrokerConfig::new(dir.join("broker"))).await.unwrap();
    let mut repeated = 0;
    let mut runs = BTreeMap::<u64, BTreeSet<u64>>::new();
    for record in read(&broker.addr().to_string(), topic::RAW).await.concat() {
        let Seq { run, n } = header(&record, "seq").unwrap().parse().unwrap();
        // What was under way to the broker at the kill may be there twice.
        repeated += u64::from(!runs.entry(run).or_default().insert(n));
    }
    broker.shutdown().await.unwrap();
    let whole = |numbers: &BTreeSet<u64>| numbers.iter().copied().eq(0..numbers.len() as u64);
    assert!(runs.values().all(whole), "a number is missing: {runs:?}");
    let lengths: Vec<usize> = runs.values().map(BTreeSet::len).collect();
    let [shorter, longer] =
        [lengths.iter().min(), lengths.iter().max()].map(|n| *n.unwrap() as u64);
    assert_eq!((lengths.len(), longer), (2, 1000));
    assert!((200..1000).contains(&shorter), "{lengths:?}");
    assert_eq!(field(&sums, "raw_records"), shorter + longer + repeated);
    assert!((1000..=1000 + shorter - 200 + repeated).contains(&field(&sums, "frames")), "{sums}");
    assert_eq!(field(&sums, "tick_rows"), 1000);
    assert_eq!((field(&sums, "lost"), sums["balanced"].as_bool()), (0, Some(true)));
    let kept = ServerConfig { data_dir: Some(dir.join("database")), ..ServerConfig::default() };
    let server = Server::start(kept).await.unwrap();
    let database = server.create_database("ticks").await.unwrap();
    let pool = connect(&database.socket_url).await;
    compare_with_frames(&pool).await;
    pool.close().await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_at_a_terminal_drains_and_balances() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let json = work.path().join("sums.json");
    let mut command = demo(work.path(), Some(&database.url));
    let mut running = Running::start(command.arg("--json").arg(&json));
    running.wait_for("a frame", |line| frames_shown(line).filter(|frames| *frames > 0));
    running.interrupt();
    assert!(running.wait().success());
    assert_eq!(sums(&json)["balanced"].as_bool(), Some(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_somebody_else_is_refused_without_into_existing() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let pool = connect(&database.url).await;
    sqlx::query("create table payroll (id int)").execute(&pool).await.unwrap();
    let refused = demo(work.path(), Some(&database.url)).args(["--for", "1s"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert!(said.contains("payroll") && said.contains("--into-existing"), "{said}");
    let tables: i64 = sqlx::query_scalar("select count(*) from pg_class where relname = 'ticks'")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(tables, 0, "a refused database is not touched");
    succeed(demo(work.path(), Some(&database.url)).args(["--for", "3s", "--into-existing"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_another_broker_are_refused_and_counted_apart_when_wanted() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let json = work.path().join("sums.json");
    let replay =
        |command: &mut std::process::Command| command.args(["--replay", TRADES]).output().unwrap();
    assert!(replay(&mut demo(work.path(), Some(&database.url))).status.success());
    let refused = replay(&mut demo(work.path(), Some(&database.url)));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && said.contains("another broker"), "{said}");
    let mut again = demo(work.path(), Some(&database.url));
    again.arg("--into-existing").arg("--json").arg(&json);
    assert!(replay(&mut again).status.success());
    let sums = sums(&json);
    assert_eq!((field(&sums, "tick_rows"), field(&sums, "duplicates")), (0, 1000), "{sums}");
}

fn refusal(work: &Path, arguments: &[&str]) -> String {
    let output = demo(work, None).args(arguments).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.trim_end().lines().count(), 1, "one clear line: {said}");
    said
}

#[test]
fn live_without_a_key_is_said_in_one_line() {
    let work = tempfile::tempdir().unwrap();
    let said = refusal(work.path(), &["--live"]);
    assert!(said.contains("CRYPTOCOMPARE_API_KEY"), "{said}");
}

#[test]
fn a_line_that_is_no_frame_is_refused_by_number() {
    let work = tempfile::tempdir().unwrap();
    let file: PathBuf = work.path().join("frames.jsonl");
    std::fs::write(&file, "{\"TYPE\":\"999\"}\n{\"type\":\"0\",\"raw\":\"{}\"}\n").unwrap();
    let said = refusal(work.path(), &["--replay", file.to_str().unwrap()]);
    assert!(said.contains("line 2"), "{said}");
}
