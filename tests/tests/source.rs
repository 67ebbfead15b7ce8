//! What the source promises, with the fake exchange before it and the local broker behind it, all
//! over real sockets: every frame is on the raw topic as it was sent.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rskafka::client::ClientBuilder;
use rskafka::client::partition::UnknownTopicHandling;
use rskafka::record::Record;
use serde_json::Value;
use tickpanda_broker::{Broker, BrokerConfig, StartFrom};
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair, Rate, make_trades, scan_replay};
use tickpanda_kafka::murmur2_partition;
use tickpanda_model::header::Seq;
use tickpanda_model::limit::RAW_RECORD;
use tickpanda_model::topic;
use tickpanda_source::{Args, Settings, SourceError, Summary};
use tickpanda_tests::wasm;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const PARTITIONS: i32 = 3;
const KEY: &str = "a-key";
const DEADLINE: Duration = Duration::from_secs(60);

struct Source {
    shutdown: CancellationToken,
    task: JoinHandle<Result<Summary, SourceError>>,
}

impl Source {
    fn start(settings: Settings) -> Self {
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(tickpanda_source::run(settings, shutdown.clone()));
        Source { shutdown, task }
    }

    async fn stop(self) -> Result<Summary, SourceError> {
        self.shutdown.cancel();
        tokio::time::timeout(DEADLINE, self.task).await.expect("it does not stop").unwrap()
    }
}

fn settings(broker: SocketAddr, exchange: &Exchange, state: &Path, more: &[&str]) -> Settings {
    use clap::Parser as _;
    let (broker, ws, rest) = (broker.to_string(), exchange.ws_url(), exchange.rest_url());
    let args = ["tickpanda-source", "--brokers", &broker, "--ws-url", &ws, "--rest-url", &rest];
    let state = ["--state-dir", state.to_str().unwrap()];
    let args = args.into_iter().chain(state).chain(more.iter().copied());
    Args::parse_from(args).check(Some(KEY)).unwrap()
}

async fn broker(dir: &Path, topic_settings: &[(&str, &str)]) -> Broker {
    let broker = Broker::start(BrokerConfig::new(dir)).await.unwrap();
    broker.create_topic(topic::RAW, PARTITIONS, topic_settings).unwrap();
    broker
}

/// A replay of these lines, and their subs for the source.
async fn replay(dir: &Path, lines: &[u8], rate: Rate) -> (Exchange, String) {
    let path = dir.join("frames.jsonl");
    std::fs::File::create(&path).unwrap().write_all(lines).unwrap();
    let scan = scan_replay(&path).unwrap();
    let subs = scan.subs.join(",");
    let config = ExchangeConfig { rate, ..ExchangeConfig::new(KEY, Feed::Replay(scan)) };
    (Exchange::start(config).await.unwrap(), subs)
}

fn trades(count: u64) -> (Vec<u8>, Vec<String>) {
    let mut bytes = Vec::new();
    make_trades(count, 7, &mut bytes).unwrap();
    let lines = std::str::from_utf8(&bytes).unwrap().lines().map(String::from).collect();
    (bytes, lines)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "it takes too long until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn records(broker: &Broker) -> i64 {
    broker.watermarks(topic::RAW).iter().map(|(_, next)| next).sum()
}

/// What was published beside raw records: what the source tells of gaps, such as the one at its own end.
fn told(broker: &Broker) -> u64 {
    broker.watermarks(topic::GAPS).iter().map(|(_, next)| u64::try_from(*next).unwrap()).sum()
}

/// All records of the raw topic, by partition.
async fn read(broker: &Broker) -> Vec<Vec<Record>> {
    read_topic(broker, topic::RAW).await
}

async fn read_topic(broker: &Broker, name: &str) -> Vec<Vec<Record>> {
    let client = ClientBuilder::new(vec![broker.addr().to_string()]).build().await.unwrap();
    let mut topic = Vec::new();
    for (partition, (first, end)) in (0..).zip(broker.watermarks(name)) {
        let client =
            client.partition_client(name, partition, UnknownTopicHandling::Error).await.unwrap();
        let (mut records, mut next) = (Vec::new(), first);
        while next < end {
            let (fetched, _) = client.fetch_records(next, 1..4_000_000, 1000).await.unwrap();
            let fetched = fetched.into_iter().filter(|record| record.offset >= next);
            records.extend(fetched.map(|record| record.record));
            next = first + i64::try_from(records.len()).unwrap();
        }
        topic.push(records);
    }
    topic
}

fn text(bytes: Option<&Vec<u8>>) -> &str {
    std::str::from_utf8(bytes.expect("present")).unwrap()
}

fn seq(record: &Record) -> Seq {
    text(record.headers.get("seq")).parse().unwrap()
}

/// The key of the contract, worked out another way than the source does.
fn key_of(frame: &str) -> String {
    let frame: Value = serde_json::from_str(frame).unwrap();
    let field = |short: &str, long: &str| {
        frame.get(short).or_else(|| frame.get(long)).and_then(Value::as_str).unwrap().to_owned()
    };
    [("M", "MARKET"), ("FSYM", "FROMSYMBOL"), ("TSYM", "TOSYMBOL")]
        .map(|(s, l)| field(s, l))
        .join("~")
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// Every line once by sequence number, with the key, partition and order of the contract. Returns
/// how many records were there twice.
fn check(topic: &[Vec<Record>], lines: &[String], since: i64) -> usize {
    let mut by_number = BTreeMap::new();
    let mut repeated = 0;
    for (partition, records) in (0i32..).zip(topic) {
        for record in records {
            let (key, value) = (text(record.key.as_ref()), text(record.value.as_ref()));
            assert_eq!(key, key_of(value));
            assert_eq!(partition, murmur2_partition(key.as_bytes(), PARTITIONS));
            assert_eq!(record.headers.len(), 1, "a WebSocket frame has no header but seq");
            let received = record.timestamp.timestamp_millis();
            assert!((since..=now_ms()).contains(&received), "{received}");
            let before = by_number.insert(seq(record).n, value.to_owned());
            assert!(before.as_deref().is_none_or(|before| before == value));
            repeated += usize::from(before.is_some());
        }
        // Order of a partition is order of receipt, but for what was sent again.
        let mut newest = None;
        for n in records.iter().map(|record| seq(record).n) {
            if repeated == 0 {
                assert!(newest < Some(n), "{n} after {newest:?}");
            }
            newest = newest.max(Some(n));
        }
    }
    // Numbers are drawn a partition after the other; within one they are in the order of the recording.
    let numbers: Vec<u64> = by_number.keys().copied().collect();
    assert_eq!(numbers, (0..lines.len() as u64).collect::<Vec<_>>());
    let partition = |frame: &String| murmur2_partition(key_of(frame).as_bytes(), PARTITIONS);
    for wanted in 0..PARTITIONS {
        let sent = lines.iter().filter(|line| partition(line) == wanted);
        let came = by_number.values().filter(|value| partition(value) == wanted);
        assert!(came.eq(sent), "a frame of partition {wanted} differs from what was sent");
    }
    repeated
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_frame_is_on_the_raw_topic_verbatim_and_once() {
    let work = tempfile::tempdir().unwrap();
    let broker = broker(&work.path().join("broker"), &[]).await;
    let (bytes, lines) = trades(20_000);
    let (exchange, subs) = replay(work.path(), &bytes, Rate::Unlimited).await;
    let state = work.path().join("state");
    let since = now_ms();
    let args = ["--subs", &subs, "--history", "none"];
    let source = Source::start(settings(broker.addr(), &exchange, &state, &args));
    until("every frame is published", || records(&broker) >= 20_000).await;
    let summary = source.stop().await.unwrap();
    let raw = summary.published - told(&broker);
    assert_eq!((summary.frames, raw, summary.bodies), (20_000, 20_000, 0));
    assert_eq!(check(&read(&broker).await, &lines, since), 0);

    let ledger = std::fs::read_to_string(state.join("runs.jsonl")).unwrap();
    let lines: Vec<Value> = ledger.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let run = format!("{:016x}", summary.run);
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["run"] == run.as_str()), "{ledger}");
    assert!(lines[0]["started_at"].as_i64().unwrap() >= since);
    assert_eq!(lines[1]["published"], 20_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_goes_and_comes_back_costs_no_frame_and_no_order() {
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("broker");
    let first = broker(&data, &[]).await;
    let addr = first.addr();
    let (bytes, lines) = trades(20_000);
    let rate = Rate::PerSecond(NonZeroU32::new(10_000).unwrap());
    let (exchange, subs) = replay(work.path(), &bytes, rate).await;
    let since = now_ms();
    let args = ["--subs", &subs, "--history", "none"];
    let source = Source::start(settings(addr, &exchange, &work.path().join("state"), &args));
    until("frames flow", || records(&first) >= 2_000).await;
    first.shutdown().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let config = BrokerConfig { listen: addr, ..BrokerConfig::new(&data) };
    let second = Broker::start(config).await.unwrap();
    until("every frame is published", || records(&second) >= 20_000).await;
    let summary = source.stop().await.unwrap();
    assert_eq!((summary.frames, summary.published - told(&second)), (20_000, 20_000));
    assert!(summary.publish_retries > 0, "{summary:?}");
    check(&read(&second).await, &lines, since);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_fetched_beside_the_stream_and_says_what_it_is_about() {
    let work = tempfile::tempdir().unwrap();
    let broker = broker(&work.path().join("broker"), &[]).await;
    let feed = Feed::Synthetic { seed: 1, pairs: Pair::catalogue() };
    let exchange = Exchange::start(ExchangeConfig::new(KEY, feed)).await.unwrap();
    let args = ["--subs", "0~Coinbase~BTC~USD,5~CCCAGG~BTC~USD", "--history-limit", "10"];
    let state = work.path().join("state");
    let source = Source::start(settings(broker.addr(), &exchange, &state, &args));
    until("all is asked for", || exchange.stats().rest_calls >= 6).await;
    until("frames flow", || records(&broker) >= 50).await;
    let summary = source.stop().await.unwrap();
    assert_eq!(summary.bodies, 6);
    let topic = read(&broker).await;
    let all: Vec<&Record> = topic.iter().flatten().collect();
    let published = summary.published - told(&broker);
    assert_eq!(all.len() as u64, published);
    let numbers: BTreeSet<u64> = all.iter().map(|record| seq(record).n).collect();
    assert!(numbers.into_iter().eq(0..published), "a number is missing");
    let mut about = BTreeSet::new();
    for record in all.iter().filter(|record| record.headers.contains_key("feed")) {
        let header = |name: &str| text(record.headers.get(name)).to_owned();
        assert_eq!(header("feed"), "rest");
        let pair = [header("market"), header("base"), header("quote")].join("~");
        assert_eq!(text(record.key.as_ref()), pair);
        let body: Value = serde_json::from_str(text(record.value.as_ref())).unwrap();
        assert_eq!(body["Response"], "Success");
        assert_eq!(body["Data"]["Data"].as_array().unwrap().len(), 11);
        about.insert(format!("{pair} {}", header("interval")));
    }
    let expected = ["CCCAGG~BTC~USD", "Coinbase~BTC~USD"];
    let expected = expected.map(|pair| ["1d", "1h", "1m"].map(|i| format!("{pair} {i}")));
    assert_eq!(about.into_iter().collect::<Vec<_>>(), expected.concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_larger_than_a_record_may_be_is_a_too_large_dead_letter_and_never_refused() {
    let work = tempfile::tempdir().unwrap();
    let limit = RAW_RECORD.to_string();
    let broker = broker(&work.path().join("broker"), &[("max.message.bytes", &limit)]).await;
    for output in topic::OUTPUTS {
        broker.create_topic(output, PARTITIONS, &[("max.message.bytes", "16777216")]).unwrap();
    }
    broker.deploy(wasm::spec(StartFrom::Earliest)).await.unwrap();
    let frame = |id: &str| {
        format!(
            r#"{{"TYPE":"0","M":"M","FSYM":"F","TSYM":"T","F":"1","ID":"{id}","TS":1618335982,"Q":1,"P":2}}"#
        )
    };
    // Two that fit, but not together, and one that does not.
    let fits = frame(&"y".repeat(RAW_RECORD - 1_000));
    let large = frame(&"x".repeat(RAW_RECORD));
    let lines =
        [frame("1"), fits.clone(), large.clone(), fits.clone(), frame("2")].join("\n") + "\n";
    let (exchange, subs) = replay(work.path(), lines.as_bytes(), Rate::Unlimited).await;
    let args = ["--subs", &subs, "--history", "none"];
    let state = work.path().join("state");
    let source = Source::start(settings(broker.addr(), &exchange, &state, &args));
    until("every frame is published", || records(&broker) >= 5).await;
    let letters =
        || -> i64 { broker.watermarks(topic::DEAD_LETTERS).iter().map(|(_, next)| next).sum() };
    until("the dead letters are there", || letters() >= 3).await;
    let summary = source.stop().await.unwrap();
    let published = summary.published - told(&broker);
    assert_eq!((published, summary.too_large, summary.publish_retries), (5, 1, 0));

    let raw: Vec<Record> = read(&broker).await.concat();
    let values: Vec<&str> = raw.iter().map(|record| text(record.value.as_ref())).collect();
    assert_eq!(values, [frame("1").as_str(), &fits, "", &fits, &frame("2")]);
    let letters = read_topic(&broker, topic::DEAD_LETTERS).await.concat();
    let reasons: Vec<&str> = letters.iter().map(|l| text(l.headers.get("reason"))).collect();
    // A trade's id may not be that long either.
    assert_eq!(reasons, ["bad_field", "too_large", "bad_field"]);
    assert_eq!(text(letters[1].headers.get("too_large")), large.len().to_string());
    assert_eq!(text(letters[1].headers.get("xxh128")).len(), 32);
    assert!(text(letters[1].headers.get("detail")).contains(&large.len().to_string()));
    assert_eq!(text(letters[0].value.as_ref()), fits);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_larger_than_the_topic_takes_leaves_its_size_and_hash_and_holds_up_nothing() {
    let work = tempfile::tempdir().unwrap();
    let broker = broker(&work.path().join("broker"), &[("max.message.bytes", "2000")]).await;
    let frame = |id: &str| {
        format!(
            r#"{{"TYPE":"0","M":"M","FSYM":"F","TSYM":"T","F":"1","ID":"{id}","TS":1618335982,"Q":1,"P":2}}"#
        )
    };
    let large = frame(&"x".repeat(3000));
    let lines = [frame("1"), large.clone(), frame("2")].join("\n") + "\n";
    let (exchange, subs) = replay(work.path(), lines.as_bytes(), Rate::Unlimited).await;
    let args = ["--subs", &subs, "--history", "none"];
    let state = work.path().join("state");
    let source = Source::start(settings(broker.addr(), &exchange, &state, &args));
    until("every frame is published", || records(&broker) >= 3).await;
    source.stop().await.unwrap();
    let topic = read(&broker).await;
    let all: Vec<&Record> = topic.iter().flatten().collect();
    let values: Vec<&str> = all.iter().map(|record| text(record.value.as_ref())).collect();
    assert_eq!(values, [frame("1").as_str(), "", frame("2").as_str()]);
    assert_eq!(text(all[1].headers.get("too_large")), large.len().to_string());
    assert_eq!(text(all[1].headers.get("xxh128")).len(), 32);
    assert_eq!(text(all[1].key.as_ref()), "M~F~T");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_cured_ends_it_with_an_exit_code_of_its_own() {
    let work = tempfile::tempdir().unwrap();
    let broker = broker(&work.path().join("broker"), &[]).await;
    let feed = Feed::Synthetic { seed: 1, pairs: Pair::catalogue() };
    let exchange = Exchange::start(ExchangeConfig::new("another-key", feed)).await.unwrap();
    let state = work.path().join("state");
    let refused = Source::start(settings(broker.addr(), &exchange, &state, &["--history", "none"]));
    let error = tokio::time::timeout(DEADLINE, refused.task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");

    let mut missing = settings(broker.addr(), &exchange, &state, &["--raw-topic", "no-such-topic"]);
    missing.rules.topic_patience = Duration::from_millis(100);
    let error = Source::start(missing);
    let error = tokio::time::timeout(DEADLINE, error.task).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("rpk topic create no-such-topic"), "{error}");
}
