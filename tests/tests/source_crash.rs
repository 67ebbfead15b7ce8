//! The source as a user starts it, killed with `kill -9` under load, with its broker away, with its
//! spool full, and two of it at once: what had reached the spool is on the raw topic, and what was
//! due while there was no socket is in `gap-events`.
//!
//! What is compared: the synthetic market says which trades were due and when
//! ([`tickpanda_tests::account`]). `TICKPANDA_KILLS=100 cargo xtask test --test source_crash` kills more
//! often; `TICKPANDA_AWAY=300` keeps the broker away for five minutes; `TICKPANDA_KAFKA=host:port` kills before
//! a Kafka that somebody has started (an empty one).

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use sqlx::PgPool;
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_database::testing;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Limits, Pair, Rate};
use tickpanda_kafka::{Client, ClientConfig, Creation, TopicSpec};
use tickpanda_model::topic;
use tickpanda_source::{ledger, spool};
use tickpanda_tests::account::{Account, Market, Missed, gap_events};
use tickpanda_tests::demo::{PATIENCE, program};
use tickpanda_tests::process::Process;
use tickpanda_tests::sink::{Sink, number, reaches};
use tickpanda_tests::source::{KEY, Source, command, read, until};

const PARTITIONS: i32 = 3;
/// Events of the market a second, of which seven in ten are trades: 5,000 a second.
const RATE: u32 = 7_200;
/// The vendor's rule, across restarts too.
const RECONNECT: u64 = 5_000;
/// Trades on their way when the process died may have been due for so long (ms): how far before a gap
/// they may be. An idle machine takes a few milliseconds.
const TRANSIT: i64 = 1_000;
/// A gap may hold trades that were received for so long (ms).
const EXCESS: i64 = 1_000;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

async fn broker(folder: &Path, listen: Option<std::net::SocketAddr>) -> Broker {
    let config = BrokerConfig::new(folder.join("broker"));
    let config = BrokerConfig { listen: listen.unwrap_or(config.listen), ..config };
    let broker = Broker::start(config).await.unwrap();
    broker.create_topic(topic::RAW, PARTITIONS, &[]).unwrap();
    broker
}

fn exchange(rate: u32) -> ExchangeConfig {
    let feed = Feed::Synthetic { seed: 1, pairs: Pair::catalogue() };
    let rate = Rate::PerSecond(NonZeroU32::new(rate).unwrap());
    // A process that is killed every few seconds is more than a free key is for.
    ExchangeConfig { rate, socket_limits: Limits::NONE, ..ExchangeConfig::new(KEY, feed) }
}

/// The trades of all pairs.
fn trades() -> Vec<String> {
    let of = |pair: Pair| format!("0~{}~{}~{}", pair.market, pair.base, pair.quote);
    Pair::catalogue().into_iter().map(of).collect()
}

fn start(work: &Path, brokers: &str, exchange: &Exchange, more: &[&str]) -> Source {
    let subs = trades().join(",");
    let args = [&["--subs", &subs, "--history", "none"], more].concat();
    Source::start(work, brokers, &exchange.ws_url(), &exchange.rest_url(), &args)
}

fn records(broker: &Broker) -> i64 {
    broker.watermarks(topic::RAW).iter().map(|(_, next)| next).sum()
}

/// Waits until so many more records are on the raw topic.
async fn flows(broker: &Broker, more: i64) {
    let before = records(broker);
    until("frames flow", || records(broker) >= before + more).await;
}

/// Waits until this run of the source has published so many.
async fn publishes(source: &Source, records: f64) {
    let published = || source.metric("tickpanda_source_published_records_total");
    until("it publishes", || published() >= records).await;
}

/// The brokers that `TICKPANDA_KAFKA` names, with an empty raw topic.
async fn kafka() -> String {
    let brokers = std::env::var("TICKPANDA_KAFKA").unwrap();
    let client =
        Client::connect(std::slice::from_ref(&brokers), ClientConfig::default()).await.unwrap();
    let (name, partitions) = (topic::RAW.to_owned(), PARTITIONS);
    let settings = BTreeMap::from([("max.message.bytes".to_owned(), "524288".to_owned())]);
    let spec = TopicSpec { name, partitions, replication_factor: 1, settings };
    let made = client.create_topics(&[spec]).await.unwrap();
    assert_eq!(made, [Creation::Created], "it has been used before: an empty cluster, please");
    brokers
}

/// The runs whose numbers a state folder knows, with how many each had drawn: looked at in a copy, as the next
/// start will find them.
fn spooled(work: &Path) -> Vec<(u64, u64)> {
    let copy = tempfile::tempdir().unwrap();
    copy_all(&work.join("state").join(spool::FOLDER), copy.path());
    let (_, found) = spool::Spool::open(copy.path(), spool::Limits::default(), 0).unwrap();
    found.runs.into_iter().collect()
}

fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// What was in the spool when processes were killed is on the topic, neither more nor less; the ledger
/// says so too.
fn all_that_was_spooled_is_there(account: &Account, spooled: &[(u64, u64)], work: &Path) {
    let endings = ledger::endings(&work.join("state")).unwrap();
    for (run, drawn) in spooled {
        let there = account.runs.iter().find(|there| there.id == *run).map(|there| there.numbers);
        assert_eq!(there.unwrap_or(0), *drawn, "run {run:016x}");
        assert_eq!(endings.get(run).copied().flatten(), Some(*drawn), "run {run:016x}");
    }
    for run in &account.runs {
        assert_eq!(endings.get(&run.id).copied().flatten(), Some(run.numbers), "{run:?}");
    }
}

async fn all_gaps(brokers: &str) -> Vec<tickpanda_model::gap::GapEvent> {
    gap_events(&read(brokers, topic::GAPS).await)
}

fn stop(source: Source) -> Duration {
    let (status, after) = source.stop();
    assert!(status.success(), "{status}");
    after
}

fn told_exactly(missed: &Missed) {
    println!("{missed:?}");
    assert!(missed.transit_ms <= TRANSIT, "{missed:?}");
    assert!(missed.excess_ms <= EXCESS, "{missed:?}");
    assert!(missed.late_ms <= 50, "a gap begins with the last frame: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_under_load_it_loses_nothing_that_was_spooled_and_tells_the_rest_as_gaps()
{
    let kills = variable("TICKPANDA_KILLS").unwrap_or(5);
    let seed: u64 = rand::random();
    println!("seed {seed}, {kills} kills");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let work = tempfile::tempdir().unwrap();
    let config = exchange(RATE);
    let exchange = Exchange::start(config.clone()).await.unwrap();
    let local = match std::env::var("TICKPANDA_KAFKA") {
        Ok(_) => None,
        Err(_) => Some(broker(work.path(), None).await),
    };
    let brokers = match &local {
        Some(broker) => broker.addr().to_string(),
        None => kafka().await,
    };
    let (since, mut in_spool, mut killed_at) = (now_ms(), BTreeMap::new(), Vec::new());
    for kill in 0..kills {
        let mut source = start(work.path(), &brokers, &exchange, &[]);
        // Mostly under load; else while it waits for its five seconds to be over.
        if kill % 3 < 2 {
            publishes(&source, 100.0).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
            killed_at.push(exchange.report().now_ms);
        } else {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..4000))).await;
        }
        source.kill();
        for (run, drawn) in spooled(work.path()) {
            // Once the ledger knows of it, it is nobody's concern how many of its records lie around.
            in_spool.entry(run).or_insert(drawn);
        }
    }
    let in_spool: Vec<_> = in_spool.into_iter().collect();
    let source = start(work.path(), &brokers, &exchange, &[]);
    publishes(&source, 2000.0).await;
    let after = stop(source);

    let topic = read(&brokers, topic::RAW).await;
    let market = Market::of(&config, &trades(), since, now_ms());
    let account = Account::of(&market, &topic);
    all_that_was_spooled_is_there(&account, &in_spool, work.path());
    let missed = account.missed(&market, &all_gaps(&brokers).await);
    println!(
        "{} trades in {} runs, {} records repeated; stopped in {after:?}",
        account.trades,
        account.runs.len(),
        account.repeated
    );
    told_exactly(&missed);
    assert_eq!(missed.gaps, killed_at.len() * trades().len(), "one for each pair and outage");

    let report = exchange.report();
    let mut killed_at = killed_at.into_iter();
    for two in report.openings.windows(2) {
        let (killed, next) = (killed_at.next().unwrap(), two[1].at_ms);
        println!("opened {} ms after the kill", next - killed);
        assert!(next >= killed + RECONNECT, "{next} after {killed}: {two:?}");
    }
    exchange.shutdown().await;
    if let Some(broker) = local {
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_away_while_the_source_is_killed_costs_no_frame_that_was_spooled() {
    let away = Duration::from_secs(variable("TICKPANDA_AWAY").unwrap_or(8));
    let work = tempfile::tempdir().unwrap();
    let config = exchange(RATE);
    let exchange = Exchange::start(config.clone()).await.unwrap();
    let first = broker(work.path(), None).await;
    let address = first.addr();
    let brokers = address.to_string();
    let since = now_ms();
    let mut source = start(work.path(), &brokers, &exchange, &[]);
    flows(&first, 2000).await;
    until("it is ready", || source.get("/ready").0 == 200).await;

    first.shutdown().await.unwrap();
    let gone = Instant::now();
    until("it is not ready", || source.get("/ready").0 == 503).await;
    println!("not ready {:?} after the broker went", gone.elapsed());
    tokio::time::sleep((away / 2).saturating_sub(gone.elapsed())).await;
    assert_eq!(source.get("/ready").0, 503);
    assert_eq!(source.lines_with("no broker takes records"), 1);
    source.kill();
    let in_spool = spooled(work.path());
    let source = start(work.path(), &brokers, &exchange, &[]);
    tokio::time::sleep(away.saturating_sub(gone.elapsed())).await;
    let (code, why) = source.get("/ready");
    assert_eq!(code, 503);
    println!("while it is away: {why}");
    let waiting = source.state()["spool"].clone();
    assert!(waiting["unpublished_records"].as_u64().unwrap() > in_spool[0].1 / 4, "{waiting}");

    let second = broker(work.path(), Some(address)).await;
    let back = Instant::now();
    let is_empty =
        || source.state()["spool"]["oldest_seconds"].as_f64().is_none_or(|age| age < 0.25);
    until("the spool is empty", is_empty).await;
    let emptied = back.elapsed();
    println!("{waiting} are published {emptied:?} after the broker's return");
    assert!(emptied <= Duration::from_secs(10), "{emptied:?}");
    until("it is ready", || source.get("/ready").0 == 200).await;
    flows(&second, 2000).await;
    assert_eq!(source.lines_with("no broker takes records"), 1);
    assert_eq!(source.lines_with("the broker takes records again"), 1);
    println!("warnings: {}", source.lines_with(" WARN "));
    println!("stopped in {:?}", stop(source));

    let market = Market::of(&config, &trades(), since, now_ms());
    let account = Account::of(&market, &read(&brokers, topic::RAW).await);
    all_that_was_spooled_is_there(&account, &in_spool, work.path());
    println!("{} trades, {} records repeated", account.trades, account.repeated);
    let missed = account.missed(&market, &all_gaps(&brokers).await);
    told_exactly(&missed);
    assert_eq!(missed.gaps, trades().len(), "one for each pair");
    exchange.shutdown().await;
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_full_spool_the_oldest_goes_and_each_record_lost_is_counted_once_in_a_gap() {
    let work = tempfile::tempdir().unwrap();
    // 16 MiB, the least, are full within seconds.
    let config = exchange(6 * RATE);
    let exchange = Exchange::start(config.clone()).await.unwrap();
    let first = broker(work.path(), None).await;
    let address = first.addr();
    let brokers = address.to_string();
    let since = now_ms();
    let source = start(work.path(), &brokers, &exchange, &["--spool-bytes", "16MiB"]);
    flows(&first, 2000).await;
    first.shutdown().await.unwrap();
    let lost = || source.metric("tickpanda_source_spool_lost_records_total");
    until("the spool overflows", || lost() > 20_000.0).await;
    let spool = source.state()["spool"].clone();
    assert!(spool["bytes"].as_u64() <= spool["limit_bytes"].as_u64(), "{spool}");
    let second = broker(work.path(), Some(address)).await;
    flows(&second, 2000).await;
    let is_empty =
        || source.state()["spool"]["oldest_seconds"].as_f64().is_none_or(|age| age < 0.25);
    until("the spool is empty", is_empty).await;
    let lost = lost();
    println!("{lost} records lost; stopped in {:?}", stop(source));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let lost = lost as u64;

    let market = Market::of(&config, &trades(), since, now_ms());
    // What is not lost is there, in its order.
    let account = Account::with_lost(&market, &read(&brokers, topic::RAW).await, lost);
    let gaps = all_gaps(&brokers).await;
    let told = account.lost_in_spool(&market, &gaps);
    println!("{} trades there, {told:?}", account.trades);
    assert_eq!(told.counted, lost);
    assert!(told.transit_ms <= TRANSIT, "{told:?}");
    exchange.shutdown().await;
    second.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sources_at_once_double_nothing_and_when_one_is_killed_nothing_is_missing() {
    let work = tempfile::tempdir().unwrap();
    let folders = ["a", "b"].map(|name| work.path().join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let test = testing::database().await;
    // The sink writes each trade twice, so to say, beside everything else on two cores.
    let config = ExchangeConfig { max_sockets: 2, ..exchange(RATE / 4) };
    let exchange = Exchange::start(config.clone()).await.unwrap();
    let broker = tickpanda_tests::sink::broker(work.path(), None).await;
    let brokers = broker.addr().to_string();
    let sink = Sink::start(work.path(), &brokers, &test.url, &[]);
    let since = now_ms();
    let subs = trades().join(",") + ",24~CCCAGG~BTC~USD~m";
    let args = ["--subs", &subs, "--history", "minute,hour", "--history-limit", "50"];
    let start = |folder: &Path| {
        Source::start(folder, &brokers, &exchange.ws_url(), &exchange.rest_url(), &args)
    };
    let mut first = start(&folders[0]);
    let second = start(&folders[1]);
    let sends =
        |source: &Source| source.metric("tickpanda_source_published_records_total") > 2000.0;
    until("both send frames", || sends(&first) && sends(&second)).await;
    first.kill();
    flows(&broker, 500).await; // one is enough
    let first = start(&folders[0]);
    until("both send frames", || sends(&first)).await;
    println!("stopped in {:?} and {:?}", stop(first), stop(second));

    let raw = read(&brokers, topic::RAW).await;
    let market = Market::of(&config, &trades(), since, now_ms());
    let distinct = market.whole(&raw);
    let on_topic = |name: &str| -> i64 { broker.watermarks(name).iter().map(|(_, end)| end).sum() };
    let pool = PgPool::connect(&test.url).await.unwrap();
    until("the transform has read everything", || {
        let status = broker.transform_status();
        status.iter().flat_map(|transform| &transform.partitions).all(|it| it.lag == 0)
    })
    .await;
    for (topic, sql) in [
        (
            topic::TICKS,
            "SELECT (SELECT count(*) FROM ticks) + sum(duplicates + refused)::bigint
             FROM sink_offsets WHERE topic = 'tick-data'",
        ),
        (
            topic::CANDLES,
            "SELECT coalesce(sum(next_offset), 0)::bigint FROM sink_offsets WHERE topic = 'ohlcv-data'",
        ),
    ] {
        reaches(&pool, sql, on_topic(topic), PATIENCE).await;
    }
    let count = async |sql| number(&pool, sql).await.unwrap();
    let rows = count("SELECT count(*) FROM ticks").await;
    println!("{distinct} trades, {} ticks on the topic, {rows} rows", on_topic(topic::TICKS));
    assert!(on_topic(topic::TICKS) > rows + 1000, "many came twice");
    assert_eq!(rows, i64::try_from(distinct).unwrap());
    let candles = count("SELECT count(*) FROM ohlcv").await;
    let each = "SELECT count(*) FROM (SELECT DISTINCT market, base, quote, interval, bucket FROM ohlcv) AS it";
    assert_eq!(candles, count(each).await);
    // 16 pairs and an index, 51 minutes and 51 hours each, as a limit of 50 gives; minutes that began meanwhile besides.
    assert!(candles >= 17 * 2 * 51 && on_topic(topic::CANDLES) > candles, "{candles}");

    let mut audit = Command::new(program("tickpanda"));
    audit.args(["audit", "--brokers", &brokers]).current_dir(work.path());
    let audit = audit.env("DATABASE_URL", &test.url).output().unwrap();
    let said = String::from_utf8_lossy(&audit.stdout);
    assert!(audit.status.success(), "{said}\n{}", String::from_utf8_lossy(&audit.stderr));
    drop(sink);
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_is_killed_goes_on_where_it_was_and_fetches_no_page_twice() {
    const HOUR: i64 = 3600;
    let work = tempfile::tempdir().unwrap();
    let exchange = Exchange::start(exchange(1)).await.unwrap();
    let broker = broker(work.path(), None).await;
    let brokers = broker.addr().to_string();
    let pairs = ["Coinbase~BTC~USD", "Coinbase~ETH~USD", "Kraken~BTC~EUR", "CCCAGG~BTC~USD"];
    let to = now_ms() / 1000 / HOUR * HOUR - 2 * HOUR;
    let from = to - 9_999 * HOUR;
    let (begin, end) = (from.to_string(), to.to_string());
    let backfill = || {
        let mut command = command(work.path());
        command.args(["backfill", "--brokers", &brokers, "--rest-url", &exchange.rest_url()]);
        command.args(["--pairs", &pairs.join(","), "--interval", "hour"]);
        // Eight pages a second, so that there is a middle.
        command.args(["--from", &begin, "--to", &end, "--backfill-per-minute", "120"]);
        Process::start("backfill", command)
    };
    for pages in [5, 12] {
        let mut running = backfill();
        until("it is in the middle", || exchange.stats().rest_calls >= pages).await;
        running.kill();
        println!("killed after {} calls", exchange.stats().rest_calls);
    }
    let mut running = backfill();
    let status = running.wait();
    let log = running.log();
    let last = log.last().unwrap();
    println!("{last}");
    assert_eq!(status.code(), Some(0), "{last}");
    assert!(last.contains("backfill is finished: 4 of 4 came, 20 pages with 40000 rows"), "{last}");
    assert_eq!(running.lines_with("resuming: "), 1);

    let mut calls = BTreeMap::<String, usize>::new();
    for call in exchange.report().calls {
        *calls.entry(call.path).or_default() += 1;
    }
    let twice = calls.values().filter(|times| **times > 1).count();
    println!("{} pages, {twice} of them twice", calls.len());
    assert_eq!(calls.len(), 20, "{calls:?}");
    assert!(
        calls.values().all(|times| *times <= 2) && twice <= 2,
        "one in flight a kill: {calls:?}"
    );

    let mut rows = BTreeMap::<String, BTreeSet<i64>>::new();
    for record in read(&brokers, topic::RAW).await.iter().flatten() {
        let key = String::from_utf8(record.key.as_deref().unwrap().to_vec()).unwrap();
        let body: Value = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
        let times = body["Data"]["Data"].as_array().unwrap().iter().map(|row| &row["time"]);
        rows.entry(key).or_default().extend(times.map(|time| time.as_i64().unwrap()));
    }
    for pair in pairs {
        let wanted: BTreeSet<i64> = (0..10_000).map(|n| from + n * HOUR).collect();
        let missing: Vec<_> = wanted.difference(&rows[pair]).collect();
        assert_eq!(missing, Vec::<&i64>::new(), "{pair}");
    }
    // All of it is there: the same command has nothing to do.
    let mut again = backfill();
    assert_eq!(again.wait().code(), Some(0));
    assert_eq!(again.lines_with("all of it is there"), 1);
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}
