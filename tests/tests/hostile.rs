//! What a stranger may send to the raw topic of a running demo: each record is one dead letter with
//! its reason and its bytes, a larger one is refused by the broker, nothing stops, and the sums
//! balance.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row};
use tickpanda_database::testing;
use tickpanda_host::Record;
use tickpanda_kafka::{At, Client, ClientConfig};
use tickpanda_model::limit::RAW_RECORD;
use tickpanda_model::topic;
use tickpanda_tests::demo::{PATIENCE, Running, demo, sums};
use tickpanda_tests::hostile::{MESSAGE_TOO_LARGE, batch, garbage_batch, payload, produce};

/// A record, and what its dead letter must be besides its verbatim key and value.
struct Hostile<'a> {
    record: Record<'a>,
    reason: &'a str,
    /// The headers that stay, as the table has them.
    headers: Value,
}

fn hostile<'a>(record: Record<'a>, reason: &'a str, headers: Value) -> Hostile<'a> {
    Hostile { record, reason, headers }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Dead letters on the display's line: `… candles  2,054  dead  7  rows …`.
fn dead_shown(line: &str) -> Option<usize> {
    line.split_once("  dead ")?.1.split_whitespace().next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_stranger_sends_is_one_dead_letter_and_stops_nothing() {
    let work = tempfile::tempdir().unwrap();
    let database = testing::database().await;
    let sums_file = work.path().join("sums.json");
    let mut command = demo(work.path(), Some(&database.url));
    let mut running = Running::start(command.args(["--rate", "200", "--json"]).arg(&sums_file));
    let broker = running.wait_for("the broker's address", |line| {
        Some(line.strip_prefix("broker")?.split_whitespace().next()?.to_owned())
    });
    running.wait_for("frames", |line| line.contains(" s  frames ").then_some(()));

    let since = now_ms();
    let (largest, largest_batch) = garbage_batch(since, RAW_RECORD);
    let garbage: Vec<u8> = (0..=255).collect();
    let key = Some(&b"\xffkey"[..]);
    let odd = [(&b"a\xffb"[..], Some(&b"odd"[..])), (b"null", None)];
    let cases = [
        hostile(Record::new(key, Some(&garbage)), "not_json", json!({})),
        hostile(Record::value(b""), "empty", json!({})),
        hostile(Record::new(key, None), "empty", json!({})),
        hostile(
            Record { headers: odd.to_vec(), ..Record::value(b"garbage") },
            "not_json",
            json!({"a%FFb": "odd", "null": ""}),
        ),
        hostile(
            Record::value(b"repeated")
                .header("twice", Some(b"1"))
                .header("reason", Some(b"mine"))
                .header("twice", Some(b"2")),
            "not_json",
            json!({"twice": "2"}),
        ),
        hostile(Record::value(br#"{"TYPE":"0","M":"Coinbase""#), "not_json", json!({})),
        hostile(Record::value(&largest), "not_json", json!({})),
    ];
    for case in &cases[..6] {
        let sent = produce(&broker, topic::RAW, 0, batch(since, &[payload(&case.record)]));
        assert_eq!(sent.unwrap(), 0);
    }
    assert_eq!(produce(&broker, topic::RAW, 1, largest_batch).unwrap(), 0);
    let (_, too_large) = garbage_batch(since, RAW_RECORD + 1);
    assert_eq!(produce(&broker, topic::RAW, 2, too_large).unwrap(), MESSAGE_TOO_LARGE);

    running.wait_for("the dead letters", |line| (dead_shown(line)? >= cases.len()).then_some(()));
    check_topic(&broker, &cases, since).await;
    running.interrupt();
    assert!(running.wait().success(), "the sums balance");
    let sums = sums(&sums_file);
    assert_eq!(sums["balanced"].as_bool(), Some(true), "{sums}");
    assert_eq!(sums["dead_letters"].as_u64(), Some(cases.len() as u64), "{sums}");
    assert!(sums["tick_rows"].as_u64().unwrap() > 0, "{sums}");
    let pool = PgPoolOptions::new().max_connections(1).connect(&database.url).await.unwrap();
    check_table(&pool, &cases).await;
}

/// Each case is on the topic once, with its bytes and readable headers.
async fn check_topic(broker: &str, cases: &[Hostile<'_>], since: i64) {
    let client = Client::connect(&[broker.to_owned()], ClientConfig::default()).await.unwrap();
    let mut letters = Vec::new();
    let ends = client.offsets(topic::DEAD_LETTERS, At::Latest).await.unwrap();
    for (partition, end) in ends {
        let mut next = 0;
        while next < end {
            let wait = Duration::from_millis(10);
            let read = client.read(topic::DEAD_LETTERS, partition, next, 4 << 20, wait);
            let read = tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
            next = read.next_offset;
            letters.extend(read.records);
        }
    }
    assert_eq!(letters.len(), cases.len());
    for (n, case) in cases.iter().enumerate() {
        let same = letters.iter().filter(|letter| {
            (letter.key.as_deref(), letter.value.as_deref()) == (case.record.key, case.record.value)
        });
        let [letter] = same.collect::<Vec<_>>()[..] else { panic!("case {n} is not there once") };
        let mut headers = serde_json::Map::new();
        for (name, value) in &letter.headers {
            let name = std::str::from_utf8(name).unwrap();
            let value = std::str::from_utf8(value.as_deref().expect("no null value")).unwrap();
            assert!(headers.insert(name.into(), value.into()).is_none(), "{name} is repeated");
        }
        assert_eq!(headers.remove("reason").unwrap(), case.reason, "case {n}");
        assert_eq!(headers.remove("received_at").unwrap(), since.to_string());
        assert!(!headers.remove("detail").unwrap().as_str().unwrap().is_empty());
        assert_eq!(Value::from(headers), case.headers, "case {n}");
    }
}

/// Each case is one row.
async fn check_table(pool: &PgPool, cases: &[Hostile<'_>]) {
    let query = "select stage, reason, key, value, headers::text as headers from dead_letters";
    let rows = sqlx::query(query).fetch_all(pool).await.unwrap();
    assert_eq!(rows.len(), cases.len());
    for (n, case) in cases.iter().enumerate() {
        let same = rows.iter().filter(|row| {
            let there = (row.get::<Option<&[u8]>, _>("key"), row.get::<Option<&[u8]>, _>("value"));
            there == (case.record.key, case.record.value)
        });
        let [row] = same.collect::<Vec<_>>()[..] else { panic!("case {n} is not there once") };
        assert_eq!((row.get::<&str, _>("stage"), row.get("reason")), ("transform", case.reason));
        let headers: Value = serde_json::from_str(row.get("headers")).unwrap();
        for (name, value) in case.headers.as_object().unwrap() {
            assert_eq!(&headers[name], value, "case {n}");
        }
    }
}
