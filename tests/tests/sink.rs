//! The sink as a user runs it, when what is before or behind it goes away, is replaced, or is not there.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rskafka::client::partition::{OffsetAt, UnknownTopicHandling};
use sqlx::PgPool;
use tickpanda_broker::Broker;
use tickpanda_database::testing::{self, TestDatabase};
use tickpanda_host::Record;
use tickpanda_model::gap::GapEvent;
use tickpanda_model::topic;
use tickpanda_tests::demo::PATIENCE;
use tickpanda_tests::hostile::{batch, payload, produce};
use tickpanda_tests::proxy::Proxy;
use tickpanda_tests::sink::{Publisher, Sink, broker, client, number, reaches};

const TICKS: &str = "SELECT count(*) FROM ticks";
/// What an outage may cost after its end.
const DRAINED: Duration = Duration::from_secs(5);

/// A broker with the transform, a database, and trades for both.
struct Bench {
    folder: tempfile::TempDir,
    test: TestDatabase,
    pool: PgPool,
    broker: Broker,
    brokers: String,
    publisher: Publisher,
}

async fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let test = testing::database().await;
    let pool = PgPool::connect(&test.url).await.unwrap();
    let broker = broker(folder.path(), None).await;
    let brokers = broker.addr().to_string();
    let publisher = Publisher::new(&brokers, 20_000, 1).await;
    Bench { folder, test, pool, broker, brokers, publisher }
}

impl Bench {
    fn sink(&self, more: &[&str]) -> Sink {
        Sink::start(self.folder.path(), &self.brokers, &self.test.url, more)
    }

    /// Publishes and waits until the transform has put all so far on the tick topic.
    async fn publish(&mut self, count: usize) {
        // In requests that the topic takes.
        for first in (0..count).step_by(1000) {
            self.publisher.publish((count - first).min(1000)).await;
        }
        let deadline = Instant::now() + PATIENCE;
        while ends(&self.broker).iter().sum::<i64>() < self.published() {
            assert!(Instant::now() < deadline, "the transform does not come after");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn published(&self) -> i64 {
        i64::try_from(self.publisher.published()).unwrap()
    }

    async fn written(&self, within: Duration) {
        reaches(&self.pool, TICKS, self.published(), within).await;
    }
}

fn ends(broker: &Broker) -> Vec<i64> {
    broker.watermarks(topic::TICKS).into_iter().map(|(_, end)| end).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_caught_up_writes_what_is_there_and_ends() {
    let mut bench = bench().await;
    bench.publish(5000).await;
    let mut sink = bench.sink(&["--until-caught-up"]);
    assert!(sink.wait().success());
    assert_eq!(number(&bench.pool, TICKS).await, Some(5000), "all of it, before it ends");
    assert_eq!(sink.lines_with("caught up: 5000 records"), 1);
    // Nothing new: it ends as well. Two at once share what is new.
    assert!(bench.sink(&["--until-caught-up"]).wait().success());
    bench.publish(5000).await;
    let mut both = [bench.sink(&["--until-caught-up"]), bench.sink(&["--until-caught-up"])];
    assert!(both.iter_mut().all(|sink| sink.wait().success()));
    assert_eq!(number(&bench.pool, TICKS).await, Some(10_000));
    // Stopped before its goal, it does not pretend.
    bench.broker.shutdown().await.unwrap();
    let work = bench.folder.path();
    let sink = Sink::start(work, &bench.brokers, &bench.test.url, &["--until-caught-up"]);
    sink.says("does not serve").await;
    assert_eq!(sink.stop().0.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_away_is_caught_up_within_five_seconds_of_its_return() {
    let mut bench = bench().await;
    let server: SocketAddr = {
        let options: sqlx::postgres::PgConnectOptions = bench.test.tcp_url.parse().unwrap();
        format!("{}:{}", options.get_host(), options.get_port()).parse().unwrap()
    };
    let proxy = Proxy::start(server).await;
    let url = bench.test.tcp_url.replace(&server.to_string(), &proxy.address.to_string());
    assert_ne!(url, bench.test.tcp_url, "the sink connects through the proxy");
    let sink = Sink::start(bench.folder.path(), &bench.brokers, &url, &[]);
    bench.publish(1000).await;
    bench.written(PATIENCE).await;
    for outage in 1..=2 {
        proxy.cut();
        bench.publish(3000).await;
        // Long enough for the claims' session to be ended by the server, and for the longest pause.
        tokio::time::sleep(Duration::from_secs(6)).await;
        let before = number(&bench.pool, TICKS).await;
        assert_eq!(before, Some(bench.published() - 3000), "nothing gets through");
        proxy.mend();
        bench.written(DRAINED).await;
        // Until all of its connections have seen that it is back, it is the same outage.
        let deadline = Instant::now() + PATIENCE;
        while sink.lines_with("serves again") < outage {
            assert!(Instant::now() < deadline, "outage {outage} does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert_eq!(sink.lines_with("does not serve"), 2, "one line an outage");
    // Away while it should stop: still within a second.
    proxy.cut();
    bench.publish(100).await;
    let (status, took) = sink.stop();
    assert!(status.success());
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_was_away_is_caught_up_within_five_seconds_of_its_return() {
    let mut bench = bench().await;
    let sink = bench.sink(&[]);
    bench.publish(1000).await;
    bench.written(PATIENCE).await;
    let address = bench.broker.addr();
    bench.broker.shutdown().await.unwrap();
    // So long that the sink leaves its partitions to others.
    sink.says("leaving 13 partitions").await;
    bench.broker = broker(bench.folder.path(), Some(address)).await;
    let back = Instant::now();
    bench.publisher = Publisher::new(&bench.brokers, 20_000, 2).await;
    bench.publisher.publish(2000).await;
    reaches(&bench.pool, TICKS, 3000, DRAINED.saturating_sub(back.elapsed())).await;
    assert_eq!(sink.lines_with("does not serve"), 1, "one outage");
    assert!(sink.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_database_is_waited_out() {
    let mut bench = bench().await;
    let sink = bench.sink(&[]);
    bench.publish(1000).await;
    bench.written(PATIENCE).await;
    // The very error that PostgreSQL gives when a write finds no space.
    for sql in [
        "CREATE FUNCTION no_space() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE EXCEPTION 'could not extend file: No space left on device'
               USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER no_space BEFORE INSERT ON ticks FOR EACH ROW EXECUTE FUNCTION no_space()",
    ] {
        sqlx::query(sql).execute(&bench.pool).await.unwrap();
    }
    bench.publish(3000).await;
    sink.says("No space left on device").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(number(&bench.pool, TICKS).await, Some(1000));
    assert_eq!(sink.lines_with("does not serve"), 1, "one line, though all else is served");
    sqlx::query("DROP TRIGGER no_space ON ticks").execute(&bench.pool).await.unwrap();
    bench.written(DRAINED).await;
    assert_eq!(number(&bench.pool, "SELECT count(*) FROM dead_letters").await, Some(0));
    assert!(sink.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_hangs_in_the_middle_of_its_work_holds_nobody_up() {
    let mut bench = bench().await;
    bench.publish(20_000).await;
    let hung = bench.sink(&["--fetch-bytes", "65536"]);
    reaches(&bench.pool, "SELECT least(count(*), 1) FROM ticks", 1, PATIENCE).await;
    hung.signal(rustix::process::Signal::STOP);
    let left = number(&bench.pool, TICKS).await.unwrap();
    assert!(left < 20_000, "something was left to do");
    let hangs = Instant::now();
    let mut other = bench.sink(&["--until-caught-up"]);
    assert!(other.wait().success());
    assert!(hangs.elapsed() < Duration::from_secs(20), "{:?}", hangs.elapsed());
    assert_eq!(number(&bench.pool, TICKS).await, Some(20_000));
    // When it goes on it finds out, and doubles nothing.
    hung.signal(rustix::process::Signal::CONT);
    bench.publisher = Publisher::new(&bench.brokers, 1000, 2).await;
    bench.publisher.publish(1000).await;
    reaches(&bench.pool, TICKS, 21_000, PATIENCE).await;
    let doubled = "SELECT sum(duplicates + refused)::bigint FROM sink_offsets";
    assert_eq!(number(&bench.pool, doubled).await, Some(0));
    assert!(hung.stop().0.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_cluster_at_the_same_address_never_inherits_an_offset() {
    let mut bench = bench().await;
    let sink = bench.sink(&[]);
    bench.publish(3000).await;
    bench.written(PATIENCE).await;
    let address = bench.broker.addr();
    bench.broker.shutdown().await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let broker = broker(other.path(), Some(address)).await;
    // More than the first had, so that every offset of the first is there too.
    Publisher::new(&bench.brokers, 6000, 99).await.publish(6000).await;
    reaches(&bench.pool, TICKS, 9000, PATIENCE).await;
    assert_eq!(sink.lines_with("reading it from its beginning"), 4, "said once for each topic");
    assert!(sink.stop().0.success());
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_a_gap_in_the_table_and_on_the_topic() {
    let mut bench = bench().await;
    let sink = bench.sink(&[]);
    bench.publish(1000).await;
    bench.written(PATIENCE).await;
    assert!(sink.stop().0.success());
    let before = ends(&bench.broker);
    bench.publish(2000).await;
    let kafka = client(&bench.brokers).await;
    let partition = kafka.partition_client(topic::TICKS, 0, UnknownTopicHandling::Error);
    let partition = partition.await.unwrap();
    let end = partition.get_offset(OffsetAt::Latest).await.unwrap();
    assert!(end > before[0] + 10, "the partition has new records");
    partition.delete_records(end - 5, 5000).await.unwrap();
    let taken = end - 5 - before[0];

    let mut sink = bench.sink(&["--until-caught-up"]);
    assert!(sink.wait().success());
    assert_eq!(number(&bench.pool, TICKS).await, Some(bench.published() - taken));
    let row: (i64, i64, i64, String) = sqlx::query_as(
        "SELECT first_offset, last_offset, missing, state FROM gaps
         WHERE kind = 'offsets' AND topic = 'tick-data' AND partition = 0",
    )
    .fetch_one(&bench.pool)
    .await
    .unwrap();
    assert_eq!(row, (before[0], end - 6, taken, "unrepairable".to_owned()));

    let gaps = kafka.partition_client(topic::GAPS, 0, UnknownTopicHandling::Error).await.unwrap();
    let (events, _) = gaps.fetch_records(0, 1..1_000_000, 1000).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].record.key.as_deref(), Some(&b"tick-data~0"[..]));
    let event: GapEvent = serde_json::from_slice(events[0].record.value.as_ref().unwrap()).unwrap();
    assert_eq!((event.first_offset, event.missing), (Some(before[0]), Some(taken)));
    // The sink reads its own event too: it is the same row.
    assert!(bench.sink(&["--until-caught-up"]).wait().success());
    assert_eq!(number(&bench.pool, "SELECT count(*) FROM gaps").await, Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_under_load_stops_within_a_second_and_loses_nothing() {
    let mut bench = bench().await;
    bench.publish(10_000).await;
    let sink = bench.sink(&["--fetch-bytes", "65536"]);
    reaches(&bench.pool, "SELECT least(count(*), 1) FROM ticks", 1, PATIENCE).await;
    let (status, took) = sink.stop();
    assert!(status.success());
    assert!(took < Duration::from_secs(1), "{took:?}");
    let accounted =
        "SELECT sum(next_offset)::bigint - (SELECT count(*) FROM ticks) FROM sink_offsets
                     WHERE topic = 'tick-data'";
    assert_eq!(number(&bench.pool, accounted).await, Some(0), "rows and offsets stopped together");
    assert!(bench.sink(&["--until-caught-up"]).wait().success());
    assert_eq!(number(&bench.pool, TICKS).await, Some(10_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_kafka_clients_refuse_loses_nothing_that_is_good_in_it() {
    let mut bench = bench().await;
    let tick = |n: u32| {
        format!(
            r#"{{"symbol":"BTCUSD","price":1.5,"timestamp":1700000000,"volume":1,"kind":"trade","market":"M","base":"BTC","quote":"USD","received_at":1700000000123,"id":"{n:032x}","side":"sell"}}"#
        )
    };
    let [first, second, third] = [tick(1), tick(2), tick(3)];
    // rskafka fails on a null header value, every client on headers that are announced and not there.
    let null = [(&b"h"[..], None)];
    let honest = payload(&Record::value(second.as_bytes()));
    let payloads = [
        payload(&Record { headers: null.to_vec(), ..Record::value(first.as_bytes()) }),
        honest.clone(),
        payload(&Record::value(third.as_bytes())),
    ];
    let batch = batch(1_700_000_000_000, &payloads);
    assert_eq!(produce(&bench.brokers, topic::TICKS, 1, batch).unwrap(), 0, "the broker takes it");
    // Our broker takes no lie, others do: it is put into its file.
    let address = bench.broker.addr();
    bench.broker.shutdown().await.unwrap();
    let lying = [&honest[..honest.len() - 1], &[14]].concat();
    assert_eq!(rewrite(bench.folder.path(), &honest, &lying), 1);
    bench.broker = broker(bench.folder.path(), Some(address)).await;
    assert!(bench.sink(&["--until-caught-up"]).wait().success());
    assert_eq!(number(&bench.pool, TICKS).await, Some(2), "the good ones");
    let (offset, value, reason): (i64, Vec<u8>, String) = sqlx::query_as(
        "SELECT \"offset\", value, reason FROM dead_letters WHERE stage = 'sink' AND partition = 1",
    )
    .fetch_one(&bench.pool)
    .await
    .unwrap();
    assert_eq!((offset, &*reason), (1, "unreadable"));
    assert!(value.ends_with(&lying), "its bytes are kept");
    let counted = "SELECT refused FROM sink_offsets WHERE topic = 'tick-data' AND partition = 1
                   AND next_offset = 3 AND duplicates = 0";
    assert_eq!(number(&bench.pool, counted).await, Some(1));
}

/// Replaces a part of the first batch in the broker's files, and sets that batch's checksum right; in how
/// many files.
fn rewrite(folder: &Path, part: &[u8], by: &[u8]) -> usize {
    let mut rewritten = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rewritten += rewrite(&path, part, by);
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let Some(at) = bytes.windows(part.len()).position(|window| window == part) else {
            continue;
        };
        bytes[at..at + by.len()].copy_from_slice(by);
        let length = u32::from_be_bytes(bytes[8..12].try_into().unwrap());
        let end = 12 + usize::try_from(length).unwrap();
        let checksum = crc32c::crc32c(&bytes[21..end]);
        bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
        rewritten += 1;
    }
    rewritten
}

#[tokio::test]
async fn wrong_settings_and_missing_rights_end_it_with_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let test = testing::database().await;
    let start =
        |url: &str, more: &[&str]| Sink::start(Path::new(folder.path()), "127.0.0.1:1", url, more);
    let mut sink = start("mysql://u:hunter2@h/d", &[]);
    assert_eq!(sink.wait().code(), Some(2));
    assert_eq!((sink.lines_with("DATABASE_URL"), sink.lines_with("hunter2")), (1, 0));

    let pool = PgPool::connect(&test.url).await.unwrap();
    let role = format!("reader_{}", uuid::Uuid::new_v4().simple());
    let create = sqlx::AssertSqlSafe(format!("CREATE ROLE {role} LOGIN"));
    sqlx::query(create).execute(&pool).await.unwrap();
    let url = test.tcp_url.replace("postgres@", &format!("{role}@"));
    let mut sink = start(&url, &[]);
    assert_eq!(sink.wait().code(), Some(1));
    assert_eq!(sink.lines_with("permission denied"), 1);
    let drop = sqlx::AssertSqlSafe(format!("DROP ROLE {role}"));
    sqlx::query(drop).execute(&pool).await.unwrap();
}
