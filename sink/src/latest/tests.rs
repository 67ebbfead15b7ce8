//! The cache against a real Redis server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Parser as _;
use redis::AsyncTypedCommands as _;
use redis::aio::MultiplexedConnection;
use tickpanda_database::redis::Redis;
use tokio::task::JoinHandle;

use super::*;
use crate::Settings;
use crate::decode::Feed;
use crate::record::Record;
use crate::tests::{batch, bench, counts, record, tick};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cache that writes to a port of this machine.
struct Cache {
    latest: Latest,
    stats: Arc<Stats>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Cache {
    fn to(port: u16, more: &[&str]) -> Self {
        let port = port.to_string();
        let mut args = vec!["sink", "--redis-host", "127.0.0.1", "--redis-port", &port];
        args.extend(more);
        let stats = Arc::new(Stats::default());
        let settings = Settings::try_parse_from(args).unwrap().redis;
        let (latest, task) = Latest::new(&settings, &stats).unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(task.unwrap().run(stop.clone()));
        Cache { latest, stats, stop, task }
    }

    fn offer(&self, records: &[Record]) {
        let rows: Vec<_> = records.iter().map(|record| TickRow::read(record).unwrap()).collect();
        self.latest.offer(&rows.iter().collect::<Vec<_>>());
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn connect(port: u16) -> MultiplexedConnection {
    let client = redis::Client::open(("127.0.0.1", port)).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

async fn hash(port: u16, key: &str) -> BTreeMap<String, String> {
    let hash = connect(port).await.hgetall(key).await.unwrap();
    hash.into_iter().collect()
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn field_is(port: u16, key: &str, field: &str, value: &str) {
    let what = format!("{field} of {key} is {value}");
    eventually(&what, async || hash(port, key).await.get(field).is_some_and(|it| it == value))
        .await;
}

/// A trade; what it has besides is given as JSON.
fn trade(base: &str, time: &str, received_at: i64, id: u128, more: &str) -> Record {
    record(
        0,
        format!(
            r#"{{"symbol":"{base}USD","price":30000.10,"timestamp":{time},"volume":null,"kind":"trade","market":"Kraken","base":"{base}","quote":"USD","received_at":{received_at},"id":"{id:032x}"{more}}}"#
        ),
    )
}

const BTC: &str = "tick:trade:Kraken:BTC:USD";

#[tokio::test]
async fn the_hash_has_the_ticks_fields_in_the_topics_digits_and_loses_those_that_are_absent() {
    let redis = Redis::start(&[]).await.unwrap();
    let cache = Cache::to(redis.port(), &[]);
    let more = r#","side":"sell","trade_id":"77","ccseq":5"#;
    let first = trade("BTC", "1700000000.1234567", 1_700_000_000_123, 0xabc, more);
    let first = String::from_utf8(first.value.unwrap()).unwrap().replace("null", "0.50");
    cache.offer(&[record(0, first)]);
    field_is(redis.port(), BTC, "trade_id", "77").await;
    let expected = [
        ("base", "BTC"),
        ("ccseq", "5"),
        ("id", "00000000000000000000000000000abc"),
        ("kind", "trade"),
        ("market", "Kraken"),
        ("price", "30000.10"),
        ("quote", "USD"),
        ("received_at", "1700000000123"),
        ("side", "sell"),
        ("symbol", "BTCUSD"),
        ("time", "1700000000123456"),
        ("timestamp", "1700000000.1234567"),
        ("trade_id", "77"),
        ("volume", "0.50"),
    ];
    let expected = expected.map(|(field, value)| (field.to_owned(), value.to_owned()));
    assert_eq!(hash(redis.port(), BTC).await, expected.clone().into());

    cache.offer(&[trade("BTC", "1700000001", 1_700_000_001_000, 1, "")]);
    field_is(redis.port(), BTC, "time", "1700000001000000").await;
    let fields: Vec<_> = hash(redis.port(), BTC).await.into_keys().collect();
    let mut left: Vec<_> = expected.map(|(field, _)| field).into();
    left.retain(|field| !["ccseq", "side", "trade_id", "volume"].contains(&field.as_str()));
    assert_eq!(fields, left);
    cache.stop().await;
}

#[tokio::test]
async fn the_newest_tick_wins_whatever_the_order_and_whoever_writes() {
    let redis = Redis::start(&[]).await.unwrap();
    let writers: Vec<_> = (0..4).map(|_| Cache::to(redis.port(), &[])).collect();
    // Event times that differ in the last of 16 digits, ties that received_at and then id decide.
    let mut ticks = Vec::new();
    for micro in [0u32, 1, 9, 10, 999_999] {
        for received_at in [1_700_000_000_999, 1_700_000_000_998] {
            for id in [u128::MAX, 7, u128::MAX - 1] {
                let time = format!("1700000000.{micro:06}");
                ticks.push(trade("BTC", &time, received_at, id, ""));
            }
        }
    }
    for (n, record) in ticks.iter().enumerate() {
        // One at a time, so that each is a decision of Redis' own, by another writer each time.
        let cache = &writers[n % writers.len()];
        let before = decided(&writers);
        cache.offer(std::slice::from_ref(record));
        eventually("the tick is decided on", async || decided_or_waits(&writers, before)).await;
    }
    let found = hash(redis.port(), BTC).await;
    assert_eq!(found["time"], "1700000000999999");
    assert_eq!(found["received_at"], "1700000000999");
    assert_eq!(found["id"], "f".repeat(32));
    for cache in writers {
        cache.stop().await;
    }
}

fn decided(caches: &[Cache]) -> u64 {
    let sums = caches.iter().map(|cache| {
        let counters = cache.stats.latest();
        counters.written.get() + counters.outdone.get()
    });
    sums.sum()
}

/// A writer that has written a newer tick itself does not ask Redis about an older one.
fn decided_or_waits(caches: &[Cache], before: u64) -> bool {
    decided(caches) > before || caches.iter().all(|cache| cache.stats.latest().pending.get() == 0)
}

/// The script alone, against the order of the numbers themselves.
#[tokio::test]
async fn the_script_orders_exactly_as_integers_do_also_beyond_a_doubles_digits() {
    let redis = Redis::start(&[]).await.unwrap();
    let mut connection = connect(redis.port()).await;
    let script = redis::Script::new(include_str!("newest_wins.lua"));
    let times = [
        i64::MIN,
        -9_007_199_254_740_993,
        -9_007_199_254_740_992,
        -10,
        -9,
        -1,
        0,
        1,
        9,
        10,
        1_700_000_000_123_456,
        1_700_000_000_123_457,
        9_007_199_254_740_992,
        9_007_199_254_740_993,
        i64::MAX - 1,
        i64::MAX,
    ];
    let mut orders = Vec::new();
    for time in times {
        for received_at in [-1i64, 0, 1_700_000_000_123] {
            orders.extend([0, 1, 10, u128::MAX].map(|id| (time, received_at, id)));
        }
    }
    for (n, old) in orders.iter().enumerate() {
        // Against each neighbour and some far away.
        for new in orders.iter().skip(n.saturating_sub(3)).take(7).chain(orders.iter().step_by(17))
        {
            let key = format!("k{n}");
            let mut answers = Vec::new();
            for (time, received_at, id) in [old, new] {
                let mut call = script.key(&key);
                call.arg("time").arg(time).arg("received_at").arg(received_at);
                call.arg("id").arg(format!("{id:032x}"));
                answers.push(call.invoke_async::<i64>(&mut connection).await.unwrap());
            }
            assert_eq!(answers, [1, i64::from(new > old)], "{new:?} after {old:?}");
            connection.del(&key).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_redis_that_was_killed_and_comes_back_empty_gets_the_newest_values() {
    let mut redis = Redis::start(&[]).await.unwrap();
    let port = redis.port();
    let cache = Cache::to(port, &[]);
    cache.offer(&[trade("BTC", "1700000000", 1, 1, ""), trade("ETH", "1700000000", 1, 1, "")]);
    field_is(port, BTC, "id", &format!("{:032x}", 1)).await;
    redis.kill().unwrap();
    cache.offer(&[trade("BTC", "1700000005", 1, 5, ""), trade("BTC", "1700000003", 1, 3, "")]);
    eventually("the outage is seen", async || cache.stats.latest().up.get() == 0).await;
    redis.start_again().await.unwrap();
    field_is(port, BTC, "id", &format!("{:032x}", 5)).await;
    field_is(port, "tick:trade:Kraken:ETH:USD", "id", &format!("{:032x}", 1)).await;
    // Also where nothing is offered meanwhile.
    redis.kill().unwrap();
    redis.start_again().await.unwrap();
    field_is(port, BTC, "id", &format!("{:032x}", 5)).await;
    cache.stop().await;
}

#[tokio::test]
async fn a_redis_that_comes_later_gets_what_waited() {
    let mut redis = Redis::start(&[]).await.unwrap();
    let port = redis.port();
    redis.kill().unwrap();
    let cache = Cache::to(port, &[]);
    cache.offer(&[trade("BTC", "1700000000", 1, 1, "")]);
    let retries = cache.stats.retries("redis", "unavailable");
    eventually("it is tried again", async || retries.get() >= 2).await;
    assert_eq!(cache.stats.latest().pending.get(), 1);
    redis.start_again().await.unwrap();
    field_is(port, BTC, "id", &format!("{:032x}", 1)).await;
    cache.stop().await;
}

#[tokio::test]
async fn what_waits_is_written_before_a_stop() {
    let redis = Redis::start(&[]).await.unwrap();
    let cache = Cache::to(redis.port(), &[]);
    eventually("it is connected", async || cache.stats.latest().up.get() == 1).await;
    cache.offer(&[trade("BTC", "1700000000", 1, 1, "")]);
    cache.stop().await;
    assert_eq!(hash(redis.port(), BTC).await["id"], format!("{:032x}", 1));
}

#[tokio::test]
async fn refusals_of_redis_are_an_outage_that_ends_with_them() {
    let redis = Redis::start(&["--requirepass", "hunter2"]).await.unwrap();
    let wrong = Cache::to(redis.port(), &["--redis-password", "hunter3"]);
    let right = Cache::to(redis.port(), &["--redis-password", "hunter2"]);
    for cache in [&wrong, &right] {
        cache.offer(&[trade("BTC", "1700000000", 1, 1, "")]);
    }
    let written =
        |cache: &Cache| cache.stats.latest().written.get() + cache.stats.latest().outdone.get();
    eventually("it is written", async || written(&right) == 1).await;
    let retries = wrong.stats.retries("redis", "unavailable");
    eventually("it is tried again", async || retries.get() >= 2).await;
    assert_eq!(written(&wrong), 0);

    let client =
        redis::Client::open(format!("redis://:hunter2@127.0.0.1:{}", redis.port())).unwrap();
    let mut admin = client.get_multiplexed_async_connection().await.unwrap();
    // Read-only, as a replica is; and without memory, where a key that is there may still be renewed.
    let command = |words: &str| {
        let mut command = redis::Cmd::new();
        words.split(' ').for_each(|word| _ = command.arg(word));
        command
    };
    for (refuse, allow, base) in [
        ("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "BTC"),
        ("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "ETH"),
    ] {
        let retries = right.stats.retries("redis", "unavailable");
        let (tried, before) = (retries.get(), written(&right));
        command(refuse).exec_async(&mut admin).await.unwrap();
        right.offer(&[trade(base, "1700000009", 1, 2, "")]);
        eventually("it is refused", async || retries.get() > tried).await;
        assert_eq!(right.stats.latest().up.get(), 0, "{refuse}");
        command(allow).exec_async(&mut admin).await.unwrap();
        eventually("it is written", async || written(&right) > before).await;
        let key = format!("tick:trade:Kraken:{base}:USD");
        let there = admin.hget(key, "timestamp").await.unwrap();
        assert_eq!(there.as_deref(), Some("1700000009"));
    }
    wrong.stop().await;
    right.stop().await;
}

#[tokio::test]
async fn a_key_that_is_no_hash_is_counted_and_left_alone_and_keeps_nothing_else_back() {
    let redis = Redis::start(&[]).await.unwrap();
    connect(redis.port()).await.set(BTC, "somebody's").await.unwrap();
    let cache = Cache::to(redis.port(), &[]);
    cache.offer(&[trade("BTC", "1700000000", 1, 1, ""), trade("ETH", "1700000000", 1, 1, "")]);
    field_is(redis.port(), "tick:trade:Kraken:ETH:USD", "price", "30000.10").await;
    eventually("it is counted", async || cache.stats.latest().refused.get() == 1).await;
    let there = connect(redis.port()).await.get(BTC).await.unwrap();
    assert_eq!(there.as_deref(), Some("somebody's"));
    cache.stop().await;
}

#[tokio::test]
async fn a_redis_that_never_answers_delays_no_batch() {
    let bench = bench().await;
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cache = Cache::to(deaf.local_addr().unwrap().port(), &[]);
    let (connection, _) = deaf.accept().await.unwrap(); // and that is all it ever does
    let mut writer = bench.writer(Feed::Ticks).offering(cache.latest.clone());
    writer.open(0).await.unwrap();
    let began = Instant::now();
    for n in 0..50 {
        let written = writer.put(n, &batch(vec![tick(n, n)])).await.unwrap();
        assert_eq!(written, counts(1, 0, 0));
    }
    // One wait for an answer of Redis would be two seconds.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(cache.stats.latest().pending.get(), 1);
    drop(connection);
    cache.stop().await;
}

#[tokio::test]
async fn the_writer_offers_what_it_has_committed_also_what_was_there_already() {
    let bench = bench().await;
    let redis = Redis::start(&[]).await.unwrap();
    for run in 0..2 {
        let cache = Cache::to(redis.port(), &[]);
        let mut writer = bench.writer(Feed::Ticks).offering(cache.latest.clone());
        let from = writer.open(0).await.unwrap().next_offset;
        let ticks = [5, 9, 2].map(|event| tick(from, event)).into();
        let written = writer.put(from, &batch(ticks)).await.unwrap();
        assert_eq!(written, if run == 0 { counts(3, 0, 0) } else { counts(0, 3, 0) });
        field_is(redis.port(), BTC, "trade_id", "9").await;
        connect(redis.port()).await.flushall().await.unwrap();
        cache.stop().await;
    }
}
