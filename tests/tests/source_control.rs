//! What operators ask of a source, by the program's own `ctl` and by whatever else is put onto the control
//! topic; stopping it; and that no key is in anything that it writes. All with the real binary.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use serde_json::{Value, json};
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_exchange::{
    Exchange, ExchangeConfig, Fault, Feed, Order, Pair, Rate, RestError, RestFault,
};
use tickpanda_kafka::Record;
use tickpanda_model::topic;
use tickpanda_tests::demo::program;
use tickpanda_tests::process::Process;
use tickpanda_tests::source::{KEY, Source, command, header, read, until};
use tickpanda_tests::wasm;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

const PARTITIONS: i32 = 3;
const BTC: &str = "0~Coinbase~BTC~USD";
const ETH: &str = "0~Coinbase~ETH~USD";

async fn broker(folder: &Path) -> Broker {
    let broker = Broker::start(BrokerConfig::new(folder.join("broker"))).await.unwrap();
    broker.create_topic(topic::RAW, PARTITIONS, &[]).unwrap();
    broker
}

async fn exchange(key: &str, rate: u32) -> Exchange {
    let feed = Feed::Synthetic { seed: 1, pairs: Pair::catalogue() };
    let rate = Rate::PerSecond(NonZeroU32::new(rate).unwrap());
    Exchange::start(ExchangeConfig { rate, ..ExchangeConfig::new(key, feed) }).await.unwrap()
}

fn start(work: &Path, brokers: &str, exchange: &Exchange) -> Source {
    let args = ["--subs", BTC, "--history", "none", "--name", "it"];
    Source::start(work, brokers, &exchange.ws_url(), &exchange.rest_url(), &args)
}

/// What `ctl` said, and its exit code.
#[derive(Debug)]
struct Said {
    code: i32,
    answers: String,
    log: String,
}

/// `tickpanda-source ctl`, without a key.
fn ctl(work: &Path, brokers: &str, words: &str) -> Said {
    let mut command = command(work);
    command.env_remove("CRYPTOCOMPARE_API_KEY").args(["ctl", "--brokers", brokers]);
    let output = command.args(words.split(' ')).output().unwrap();
    Said {
        code: output.status.code().unwrap(),
        answers: String::from_utf8(output.stdout).unwrap(),
        log: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Records of a topic, of all partitions.
async fn all(brokers: &str, topic: &str) -> Vec<Record> {
    read(brokers, topic).await.concat()
}

async fn of_key(brokers: &str, topic: &str, key: &str) -> usize {
    let all = all(brokers, topic).await;
    all.iter().filter(|record| record.key.as_deref() == Some(key.as_bytes())).count()
}

/// Waits until there are records with this key.
async fn arrives(brokers: &str, topic: &str, key: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while of_key(brokers, topic, key).await == 0 {
        assert!(Instant::now() < deadline, "nothing of {key} on {topic}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often clients asked for a sub by `action`.
fn asked(exchange: &Exchange, action: &str, sub: &str) -> usize {
    let messages = exchange.report().messages;
    let of = messages.iter().filter(|message| message.action == action);
    of.filter(|message| message.subs.iter().any(|it| it == sub)).count()
}

/// REST calls with this in their path.
fn calls(exchange: &Exchange, part: &str) -> usize {
    exchange.report().calls.iter().filter(|call| call.path.contains(part)).count()
}

/// Puts records straight onto the control topic.
async fn send(brokers: &str, values: &[Option<&str>]) {
    let client = tickpanda_tests::sink::client(brokers).await;
    let unknown = UnknownTopicHandling::Error;
    let partition = client.partition_client(topic::CONTROL, 0, unknown).await.unwrap();
    let record = |value: &Option<&str>| rskafka::record::Record {
        key: None,
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: [].into(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(0).unwrap(),
    };
    let records = values.iter().map(record).collect();
    partition.produce(records, Compression::NoCompression).await.unwrap();
}

/// All answers so far.
async fn replies(brokers: &str) -> Vec<Value> {
    let all = all(brokers, topic::CONTROL_REPLIES).await;
    all.iter().map(|it| serde_json::from_slice(it.value.as_deref().unwrap()).unwrap()).collect()
}

/// The statuses in the answers to a command, once the last one is there.
async fn answered(brokers: &str, id: &str) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let replies = replies(brokers).await;
        let of = replies.iter().filter(|reply| reply["id"] == id);
        let of: Vec<_> = of.map(|it| it["status"].as_str().unwrap().to_owned()).collect();
        if of.iter().any(|status| status != "accepted") {
            return of;
        }
        assert!(Instant::now() < deadline, "{id} is not answered: {replies:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn connected(source: &Source) {
    until("it is connected", || source.state()["sockets"][0]["connected"] == true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_command_of_ctl_is_done_and_answered_with_its_exit_code() {
    let work = tempfile::tempdir().unwrap();
    let (exchange, broker) = (exchange(KEY, 1000).await, broker(work.path()).await);
    let brokers = broker.addr().to_string();
    // Before there is a source, there are no topics for commands.
    let said = ctl(work.path(), &brokers, "retry");
    assert!(said.code == 4 && said.log.contains("control-topic does not exist"), "{said:?}");
    let source = start(work.path(), &brokers, &exchange);
    connected(&source).await;
    source.says("control-topic is new to this state folder").await;

    let said = ctl(work.path(), &brokers, &format!("subscribe {ETH}"));
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.answers.contains(&format!("it: SUBSCRIBE ok: subscribed: {ETH}")), "{said:?}");
    arrives(&brokers, topic::RAW, "Coinbase~ETH~USD").await;
    let state = source.state();
    assert_eq!(state["control"]["added_subs"], 1, "{state}");
    let regions = state["regions"].as_array().unwrap().iter();
    let regions: Vec<_> = regions.map(|it| [&it["region"], &it["state"]]).collect();
    assert_eq!(
        json!(regions),
        json!([["streaming/0", "publishingMessage"], ["history", "idle"], ["topics", "idle"]])
    );

    let said = ctl(work.path(), &brokers, &format!("unsubscribe {ETH} --json"));
    assert_eq!(said.code, 0, "{said:?}");
    let answer: Value = serde_json::from_str(said.answers.trim()).unwrap();
    assert_eq!((&answer["status"], &answer["source"]), (&json!("ok"), &json!("it")));
    until("the vendor is told", || asked(&exchange, "SubRemove", ETH) == 1).await;
    let sent = |sub: &str| exchange.report().sent.get(sub).copied().unwrap_or(0);
    let (eth, btc) = (sent(ETH), sent(BTC));
    until("others flow on", || sent(BTC) > btc + 100).await;
    assert_eq!(sent(ETH), eth, "it is off");

    let said = ctl(work.path(), &brokers, "subscribe 0~Nowhere~AAA~BBB");
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.answers.contains("SUBSCRIBE error: refused: 0~Nowhere~AAA~BBB: INVALID_SUB"),
        "{said:?}"
    );

    let said = ctl(work.path(), &brokers, "fetch Kraken~BTC~EUR --interval 1h --limit 10");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.answers.contains("FETCH_HISTORICAL_DATA ok: 10 candles in 1 pages"), "{said:?}");
    arrives(&brokers, topic::RAW, "Kraken~BTC~EUR").await;
    let fetched = all(&brokers, topic::RAW).await;
    let fetched = fetched.iter().find(|it| it.key.as_deref() == Some(b"Kraken~BTC~EUR")).unwrap();
    assert_eq!((header(fetched, "feed"), header(fetched, "interval")), (Some("rest"), Some("1h")));

    let said = ctl(work.path(), &brokers, "create-topic raw-9");
    assert_eq!(said.code, 0, "{said:?}");
    // Nothing in this broker reads it, so that the command that is owed is named.
    assert!(
        said.answers.contains("raw-9 created with 3 partitions; no transform is known"),
        "{said:?}"
    );
    assert_eq!(broker.watermarks("raw-9").len(), 3);
    assert_eq!(ctl(work.path(), &brokers, "create-topic gap-events").code, 1);
    assert_eq!(ctl(work.path(), &brokers, "retry").code, 0);

    let said = ctl(work.path(), &brokers, "retry --to-source nobody --timeout 1s");
    assert!(said.code == 6 && said.log.contains("no source has answered within 1s"), "{said:?}");
    assert_eq!(ctl(work.path(), &brokers, "subscribe BTC").code, 2);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    assert_eq!(ctl(work.path(), &closed, "retry --timeout 2s").code, 1);
    assert!(source.stop().0.success());
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_command_is_answered_with_what_is_wrong_and_the_next_one_is_done() {
    let work = tempfile::tempdir().unwrap();
    let (exchange, broker) = (exchange(KEY, 100).await, broker(work.path()).await);
    let brokers = broker.addr().to_string();
    let source = start(work.path(), &brokers, &exchange);
    connected(&source).await;
    source.says("control-topic is new to this state folder").await;
    let many = json!({"id": "many", "action": "SUBSCRIBE", "subs": vec![BTC; 1001]}).to_string();
    let large = json!({"id": "large", "action": "RETRY", "more": "x".repeat(70_000)}).to_string();
    let bad = [
        (None, "this has none"),
        (Some(""), "not JSON"),
        (Some("hello"), "not JSON"),
        (Some("\u{1}\u{2}"), "not JSON"),
        (Some("[1, 2]"), "a JSON object"),
        (Some("null"), "a JSON object"),
        (Some("{}"), "has an action"),
        (Some(r#"{"action":7}"#), "has an action"),
        (Some(r#"{"id":"x","action":"SELL_EVERYTHING"}"#), "unknown variant"),
        (Some(r#"{"id":7,"action":"RETRY"}"#), "an id is text"),
        (Some(r#"{"action":"SUBSCRIBE"}"#), "missing field `subs`"),
        (Some(r#"{"action":"SUBSCRIBE","subs":[]}"#), "0 subs"),
        (Some(r#"{"action":"SUBSCRIBE","subs":["BTC"]}"#), "is no sub"),
        (Some(r#"{"action":"SUBSCRIBE","subs":["0~A~B~C"],"topic":"a/b"}"#), "a topic is"),
        (
            Some(r#"{"action":"SUBSCRIBE","subs":["0~A~B~C"],"topic":"tick-data"}"#),
            "not for raw records",
        ),
        (Some(r#"{"action":"CREATE_TOPIC","topicName":"__offsets"}"#), "not for raw records"),
        (
            Some(
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"BTC","tsym":"USD","e":"A~B","interval":"1h"}"#,
            ),
            "e is 1 to",
        ),
        (Some(many.as_str()), "1001 subs"),
        (Some(large.as_str()), "at most"),
    ];
    let mut values: Vec<Option<&str>> = bad.iter().map(|(value, _)| *value).collect();
    values.push(Some(r#"{"source":"another","id":"not mine","action":"RETRY"}"#));
    values.push(Some(r#"{"source":"it","id":"last","action":"RETRY"}"#));
    send(&brokers, &values).await;
    assert_eq!(answered(&brokers, "last").await, ["ok"]);
    let replies = replies(&brokers).await;
    assert_eq!(replies.len(), bad.len() + 1, "one answer each, none for another: {replies:?}");
    for ((value, why), reply) in bad.iter().zip(&replies) {
        assert_eq!(
            (&reply["status"], &reply["source"]),
            (&json!("error"), &json!("it")),
            "{reply}"
        );
        assert!(reply["detail"].as_str().unwrap().contains(why), "{value:?}: {reply}");
    }
    assert!(source.stop().0.success());
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_done_once_however_often_the_source_is_killed() {
    let work = tempfile::tempdir().unwrap();
    let (exchange, broker) = (exchange(KEY, 1000).await, broker(work.path()).await);
    let brokers = broker.addr().to_string();
    let mut source = start(work.path(), &brokers, &exchange);
    connected(&source).await;
    source.says("control-topic is new to this state folder").await;
    let fetch = |id: &str, market: &str| {
        json!({"id": id, "action": "FETCH_HISTORICAL_DATA", "fsym": "BTC", "tsym": "USD", "e": market,
               "interval": "1h", "limit": 10})
        .to_string()
    };
    // Done, when it is killed.
    let subscribe = json!({"id": "sub", "action": "SUBSCRIBE", "subs": [ETH]}).to_string();
    let end = json!({"id": "end", "action": "UNSUBSCRIBE", "subs": [BTC]}).to_string();
    let (done, waiting) = (fetch("done", "Coinbase"), fetch("waiting", "Kraken"));
    send(&brokers, &[Some(&subscribe), Some(&done), Some(&end)]).await;
    for id in ["sub", "done", "end"] {
        answered(&brokers, id).await;
    }
    // Under way, when it is killed: the vendor does not answer.
    let stuck = Order::new(Fault::Rest(RestFault::NoAnswer)).on_paths(["e=Kraken"]);
    let stuck = exchange.fault(stuck).unwrap();
    send(&brokers, &[Some(&waiting)]).await;
    until("the vendor is asked", || calls(&exchange, "e=Kraken") == 1).await;
    source.kill();
    exchange.clear(stuck);
    let mut source = start(work.path(), &brokers, &exchange);
    assert_eq!(answered(&brokers, "waiting").await.last().unwrap(), "ok");
    connected(&source).await;
    arrives(&brokers, topic::RAW, "Coinbase~ETH~USD").await;
    source.kill(); // and once more, with nothing to do
    let source = start(work.path(), &brokers, &exchange);
    connected(&source).await;
    let said = ctl(work.path(), &brokers, "retry");
    assert_eq!(said.code, 0, "{said:?}");

    let replies = replies(&brokers).await;
    for (id, expected) in [
        ("sub", &["accepted", "ok"][..]),
        ("done", &["accepted", "ok"]),
        ("end", &["ok"]),
        ("waiting", &["accepted", "ok"]),
    ] {
        let mut of: Vec<_> =
            replies.iter().filter(|it| it["id"] == id).map(|it| &it["status"]).collect();
        of.dedup(); // what was said when it was killed may be said again
        assert_eq!(json!(of), json!(expected), "{id}: {replies:?}");
    }
    assert_eq!(
        calls(&exchange, "histohour?fsym=BTC&tsym=USD&e=Coinbase"),
        1,
        "{:?}",
        exchange.report().calls
    );
    let all = exchange.report().calls;
    assert_eq!(calls(&exchange, "e=Kraken"), 2, "the one that was struck, and one more: {all:?}");
    // Each socket asks once for what is wanted, and the first of them for what was added.
    let sockets = exchange.report().openings.len();
    assert_eq!((sockets, asked(&exchange, "SubAdd", ETH)), (3, 3));
    assert_eq!((asked(&exchange, "SubAdd", BTC), asked(&exchange, "SubRemove", BTC)), (1, 1));
    assert!(source.stop().0.success());
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_to_a_topic_of_its_own_gets_the_topic_and_a_transform_that_reads_it() {
    let work = tempfile::tempdir().unwrap();
    let exchange = exchange(KEY, 1000).await;
    let mut broker = Command::new(program("tickpanda"));
    broker.args(["broker", "--data-dir", "broker", "--listen", "127.0.0.1:0", "--wasm"]);
    broker.arg(wasm::path()).current_dir(work.path()).env_remove("RUST_LOG");
    let broker = Process::start("broker", broker);
    broker.says("broker is listening").await;
    let log = broker.log().join("\n");
    let brokers =
        log.split("addr=").nth(1).and_then(|rest| rest.split([' ', '\n']).next()).unwrap();
    let source = start(work.path(), brokers, &exchange);
    connected(&source).await;
    arrives(brokers, topic::TICKS, "Coinbase~BTC~USD").await;
    let said = ctl(work.path(), brokers, &format!("subscribe {ETH} --topic raw-2"));
    assert_eq!(said.code, 0, "{said:?}");
    let expected = format!(
        "subscribed: {ETH}; raw-2 created with 4 partitions; the transform tickpanda-transform-raw-2 reads it"
    );
    assert!(said.answers.contains(&expected), "{said:?}");
    arrives(brokers, "raw-2", "Coinbase~ETH~USD").await;
    arrives(brokers, topic::TICKS, "Coinbase~ETH~USD").await;
    assert_eq!(of_key(brokers, topic::RAW, "Coinbase~ETH~USD").await, 0, "it is on its own topic");
    assert_eq!(of_key(brokers, "raw-2", "Coinbase~BTC~USD").await, 0, "and nothing else is");
    assert!(source.stop().0.success());
    assert!(broker.stop().0.success());
    exchange.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_under_load_it_ends_within_a_second_with_everything_published() {
    let exchange = exchange(KEY, 7_200).await;
    let subs: Vec<_> =
        exchange.subs().iter().filter(|sub| sub.starts_with("0~")).cloned().collect();
    for _ in 0..3 {
        let work = tempfile::tempdir().unwrap();
        let broker = broker(work.path()).await;
        let brokers = broker.addr().to_string();
        let args = ["--subs", &subs.join(","), "--history", "none"];
        let source =
            Source::start(work.path(), &brokers, &exchange.ws_url(), &exchange.rest_url(), &args);
        let records = || -> i64 { broker.watermarks(topic::RAW).iter().map(|(_, end)| end).sum() };
        until("frames flow", || records() > 5_000).await;
        let (status, after) = source.stop();
        println!("stopped after {after:?}");
        assert_eq!(status.code(), Some(0));
        assert!(after <= Duration::from_secs(1), "{after:?}");
        let ledger = std::fs::read_to_string(work.path().join("state/runs.jsonl")).unwrap();
        let ended: Value = serde_json::from_str(ledger.lines().last().unwrap()).unwrap();
        assert_eq!(ended["published"], records(), "{ledger}");
        broker.shutdown().await.unwrap();
    }
    exchange.shutdown().await;
}

/// A key that nothing else holds, also in part.
const SECRET: &str = "Zq7Xv3Kp9Wm2Rt8Yb5Nc4Hd6Jf1Ls0GqZq7Xv3Kp9Wm2Rt8Yb5Nc4Hd6Jf1Ls0Gq";
/// So much of it is too much.
const PART: usize = 10;

/// Everything that was written, and where.
#[derive(Default)]
struct Written(Vec<(String, Vec<u8>)>);

impl Written {
    fn add(&mut self, place: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.push((place.into(), bytes.into()));
    }

    fn output(&mut self, place: &str, output: &Output) {
        self.add(format!("{place}: standard output"), output.stdout.clone());
        self.add(format!("{place}: standard error"), output.stderr.clone());
    }

    fn folder(&mut self, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => self.folder(&path),
                false => self.add(path.display().to_string(), std::fs::read(&path).unwrap()),
            }
        }
    }

    fn pages(&mut self, source: &Source) {
        for page in ["/state", "/ready", "/live", "/metrics"] {
            self.add(page, source.get(page).1);
        }
    }

    async fn topics(&mut self, broker: &Broker) {
        let brokers = broker.addr().to_string();
        for topic in broker.topics() {
            for record in all(&brokers, &topic.name).await {
                let place = format!("topic {}", topic.name);
                self.add(&place, record.key.as_deref().unwrap_or_default());
                self.add(&place, record.value.as_deref().unwrap_or_default());
                for (name, value) in &record.headers {
                    self.add(&place, name.as_ref());
                    self.add(&place, value.as_deref().unwrap_or_default());
                }
            }
        }
    }

    /// What has any part of the secret in it.
    fn hits(&self) -> Vec<String> {
        let parts: Vec<&[u8]> = SECRET.as_bytes().windows(PART).collect();
        let has = |bytes: &[u8]| bytes.windows(PART).any(|window| parts.contains(&window));
        let hits = self.0.iter().filter(|(_, bytes)| has(bytes));
        hits.map(|(place, bytes)| format!("{place}: {}", String::from_utf8_lossy(bytes))).collect()
    }

    fn contains(&self, text: &str) -> bool {
        let has = |bytes: &[u8]| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        self.0.iter().any(|(_, bytes)| has(bytes))
    }
}

/// A REST API that repeats the key it was shown, in one answer after the other.
fn rest_that_repeats_the_key() -> SocketAddr {
    let bodies = [
        (
            "401 Unauthorized",
            format!(r#"{{"Response":"Error","Message":"{SECRET} is no key of ours","Type":1}}"#),
        ),
        (
            "200 OK",
            format!(
                r#"{{"Response":"Error","Message":"You need a valid key, not {SECRET}","HasWarning":false,"Type":2,"RateLimit":{{}},"Data":{{}},"ParamWithError":"{SECRET}"}}"#
            ),
        ),
        (
            "200 OK",
            format!(
                r#"{{"Response":"Error","Message":"e param {SECRET} is not valid the market does not exist for this coin pair","Type":2,"ParamWithError":"e"}}"#
            ),
        ),
        ("502 Bad Gateway", format!("<html>authorization: Apikey {SECRET}</html>")),
        (
            "200 OK",
            format!(r#"{{"Response":"Error","Message":"{}{SECRET}","Type":99}}"#, "x".repeat(190)),
        ),
        (
            "200 OK",
            format!(
                r#"{{"Err":{{"type":1,"message":"{SECRET}","other_info":{{"param":"{SECRET}"}}}}}}"#
            ),
        ),
        (
            "200 OK",
            format!(r#"{{"Response":"Success","Type":100,"Data":{{"Data":[],"Key":"{SECRET}"}}}}"#),
        ),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (socket, (status, body)) in listener.incoming().zip(bodies.iter().cycle()) {
            let mut socket = socket.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(socket.try_clone().unwrap());
            while reader.read_line(&mut head).unwrap_or(0) > 2 {}
            assert!(head.is_empty() || head.contains(SECRET), "the key is in the header: {head}");
            let length = body.len();
            let _ = write!(
                socket,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

/// A streamer that repeats the key it was shown: in errors, in data, in its goodbye, and last in a 401.
async fn streamer_that_repeats_the_key() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let long = format!("{}{SECRET}", "x".repeat(190));
    let frames = [
        r#"{"TYPE":"20","MESSAGE":"STREAMERWELCOME","SOCKETS_REMAINING":1}"#.to_owned(),
        format!(r#"{{"TYPE":"16","MESSAGE":"SUBSCRIBECOMPLETE","SUB":"{BTC}"}}"#),
        r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"1","TS":1618335982,"Q":1,"P":2}"#.to_owned(),
        format!(r#"{{"TYPE":"500","MESSAGE":"INVALID_PARAMETER","PARAMETER":"{SECRET}","INFO":"what is {SECRET}?"}}"#),
        format!(r#"{{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"0~{SECRET}~BTC~USD","INFO":"{SECRET}"}}"#),
        format!(r#"{{"TYPE":"500","MESSAGE":"INVALID_SUB","PARAMETER":"{BTC}","INFO":"{long}"}}"#),
        format!(r#"{{"TYPE":"500","MESSAGE":"{SECRET}"}}"#),
        format!(r#"{{"TYPE":"17","MESSAGE":"UNSUBSCRIBECOMPLETE","SUB":"{SECRET}"}}"#),
        format!(r#"{{"TYPE":"999","MESSAGE":"HEARTBEAT {SECRET}"}}"#),
        format!(r#"{{"Response":"Error","Message":"{SECRET} is no key of ours"}}"#),
        format!(r#"{{"TYPE":"4711","MESSAGE":"{SECRET}"}}"#),
        format!("cannot parse api_key={SECRET}"),
    ];
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        for (at, frame) in frames.iter().enumerate() {
            socket.send(Message::text(frame.clone())).await.unwrap();
            if at == 0 {
                socket.next().await.unwrap().unwrap(); // the SubAdd
            }
        }
        let reason = format!("no more for {SECRET}").into();
        let close = CloseFrame { code: CloseCode::Policy, reason };
        socket.close(Some(close)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
        let (socket, _) = listener.accept().await.unwrap();
        let mut socket = tokio_tungstenite::accept_async(socket).await.unwrap();
        let refused = format!(
            r#"{{"TYPE":"401","MESSAGE":"UNAUTHORIZED","PARAMETER":"{SECRET}","INFO":"{SECRET} is not valid"}}"#
        );
        socket.send(Message::text(refused)).await.unwrap();
        while let Some(Ok(_)) = socket.next().await {}
    });
    address
}

/// A command of the program with the log at its loudest and no key.
fn loud(work: &Path) -> Command {
    let mut command = command(work);
    command.env_remove("CRYPTOCOMPARE_API_KEY").env("RUST_LOG", "trace");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_in_nothing_that_is_written_whatever_happens_and_however_loud_the_log() {
    let work = tempfile::tempdir().unwrap();
    let (exchange, broker) = (exchange(SECRET, 50).await, broker(work.path()).await);
    let brokers = broker.addr().to_string();
    let mut written = Written::default();
    let folder = |name: &str| {
        let folder = work.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        folder
    };
    let run = |work: &Path, ws: &str, rest: &str| {
        let mut command = loud(work);
        command.args(["--brokers", &brokers, "--ws-url", ws, "--rest-url", rest, "--subs", BTC]);
        command.args([
            "--state-dir",
            "state",
            "--http-listen",
            "127.0.0.1:0",
            "--history-limit",
            "5",
        ]);
        command
    };

    // By the environment: streaming, an operator, REST errors of each kind, then the vendor goes.
    let env = folder("env");
    let mut command = run(&env, &exchange.ws_url(), &exchange.rest_url());
    command.env("CRYPTOCOMPARE_API_KEY", SECRET);
    let source = Source::of(Process::start("env", command));
    connected(&source).await;
    arrives(&brokers, topic::RAW, "Coinbase~BTC~USD").await;
    for error in RestError::ALL {
        exchange.fault(Order::new(Fault::Rest(RestFault::Error(error))).times(1)).unwrap();
        let mut ctl = loud(&env);
        ctl.args(["ctl", "--brokers", &brokers, "fetch", "Kraken~BTC~EUR", "--interval", "1h"]);
        ctl.args(["--limit", "3", "--timeout", "2s"]);
        written.output("ctl", &ctl.output().unwrap());
    }
    written.pages(&source);
    exchange.kick();
    until("it is disconnected", || source.get("/ready").0 == 503).await;
    written.pages(&source);
    written.add("log", source.log().join("\n"));
    assert!(source.stop().0.success());

    // By .env: a vendor that repeats what it is shown, REST and WebSocket, up to its 401.
    let dotenv = folder("dotenv");
    std::fs::write(dotenv.join(".env"), format!("CRYPTOCOMPARE_API_KEY={SECRET}\n")).unwrap();
    let (ws, rest) = (streamer_that_repeats_the_key().await, rest_that_repeats_the_key());
    let source = Source::of(Process::start(
        "dotenv",
        run(&dotenv, &format!("ws://{ws}/v2"), &format!("http://{rest}")),
    ));
    let http = source.http();
    until("it says that the key is refused", || {
        for page in ["/state", "/ready", "/metrics"] {
            if let Some(text) = try_get(&http, page) {
                written.add(page, text);
            }
        }
        source.log().iter().any(|line| line.contains("refused this socket's API key"))
    })
    .await;
    written.add("log", source.log().join("\n"));
    assert!(source.stop().0.success());
    written.output("--help", &loud(&dotenv).arg("--help").output().unwrap());

    // By a file: a key that is refused, and one that a backfill uses.
    let file = folder("file");
    std::fs::write(file.join("key"), format!("{SECRET}\n")).unwrap();
    exchange.clear_all(); // what no call has met
    let another = self::exchange("another", 50).await;
    let mut command = run(&file, &another.ws_url(), &another.rest_url());
    let refused = command.args(["--api-key-file", "key"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    written.output("refused", &refused);
    let mut backfill = loud(&file);
    backfill.args(["backfill", "--brokers", &brokers, "--api-key-file", "key", "--pairs", BTC]);
    backfill.args(["--interval", "day", "--from", "2024-01-01", "--to", "2024-01-09"]);
    let output = backfill.args(["--rest-url", &exchange.rest_url()]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    written.output("backfill", &output);

    // Settings that are wrong, and have the key where it does not belong.
    let wrong = folder("wrong");
    let with_key = |url: &str| url.replace("KEY", SECRET);
    for args in [
        ["--ws-url", "ws://localhost/v2?api_key=KEY"],
        ["--ws-url", "ws://KEY@localhost/v2"],
        ["--ws-url", "KEY"],
        ["--rest-url", "http://KEY:KEY@localhost/"],
        ["--rest-url", "http://localhost/#KEY"],
        ["--api-key-file", "KEY"],
        ["--api-key", "KEY"],
        ["--history-limit", "0"],
    ] {
        let mut command = loud(&wrong);
        command.env("CRYPTOCOMPARE_API_KEY", SECRET).args(args.map(with_key));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {output:?}");
        written.output(&args.join(" "), &output);
    }
    for (variable, value) in [
        ("CRYPTOCOMPARE_API_KEY", format!("{SECRET} {SECRET}")),
        ("CRYPTOCOMPARE_API_KEY", format!("{SECRET}\u{1}")),
        ("CRYPTOCOMPARE_WS_URL", format!("wss://streamer.cryptocompare.com/v2?api_key={SECRET}")),
        ("CRYPTOCOMPARE_API_KEY_FILE", SECRET.to_owned()),
    ] {
        let mut command = loud(&wrong);
        command.env("CRYPTOCOMPARE_API_KEY", SECRET).env(variable, value);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{variable}: {output:?}");
        written.output(variable, &output);
    }
    for line in [format!("CRYPTOCOMPARE_API_KEY={SECRET} junk"), SECRET.to_owned()] {
        std::fs::write(wrong.join(".env"), line).unwrap();
        let output = loud(&wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        written.output("a broken .env", &output);
    }

    for folder in ["env", "dotenv", "file"] {
        written.folder(&work.path().join(folder).join("state"));
    }
    written.folder(&file.join("tickpanda-backfill-state"));
    written.topics(&broker).await;
    let bytes: usize = written.0.iter().map(|(_, bytes)| bytes.len()).sum();
    println!("{bytes} bytes in {} places", written.0.len());
    // It is what it should be: the log is loud, and the vendor's words are in it, with the key hidden.
    assert!(written.contains("TRACE") && written.contains("(hidden) is not valid"));
    assert_eq!(written.hits(), Vec::<String>::new());
    exchange.shutdown().await;
    broker.shutdown().await.unwrap();
}

/// A page, of a source that may have ended.
fn try_get(address: &str, path: &str) -> Option<String> {
    let mut socket = std::net::TcpStream::connect(address).ok()?;
    write!(socket, "GET {path} HTTP/1.0\r\nhost: test\r\n\r\n").ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    Some(answer)
}
