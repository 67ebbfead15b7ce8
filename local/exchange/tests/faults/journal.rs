//! What was sent, and what would have been.

use std::collections::BTreeMap;
use std::time::Duration;

use tickpanda_exchange::{
    Exchange, Fault, Feed, JournalEvent, JournalLine, Order, Rate, make_trades, market_frames,
    read_journal, scan_replay,
};
use xxhash_rust::xxh3::xxh3_128;

use crate::busy;
use crate::common::{Client, KEY, eventually, start, type_of, until_it_waits};

const SUBS: [&str; 2] = ["0~Coinbase~BTC~USD", "5~CCCAGG~BTC~USD"];

fn hash(frame: &str) -> String {
    format!("{:032x}", xxh3_128(frame.as_bytes()))
}

fn is_data(frame: &str) -> bool {
    ["0", "2", "5", "24", ""].contains(&type_of(frame).as_str())
}

/// Data frames until the socket ends, as hashes.
async fn listen(exchange: &Exchange) -> Vec<String> {
    let mut client = Client::connect(exchange).await;
    client.subscribe(&SUBS).await;
    let mut frames = Vec::new();
    while let Some(frame) = client.next().await {
        if is_data(&frame) {
            frames.push(hash(&frame));
        }
    }
    frames
}

fn hashes(lines: &[JournalLine], socket: u64, events: &[JournalEvent]) -> Vec<String> {
    let is = |line: &&JournalLine| line.socket == socket && events.contains(&line.event);
    lines.iter().filter(is).map(|line| line.xxh128.clone().unwrap()).collect()
}

#[tokio::test]
async fn what_a_client_got_before_a_goodbye_is_what_the_journal_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = busy();
    let path = dir.path().join("journal");
    config.journal = Some(path.clone());
    let exchange = start(config.clone()).await;
    let from = now_ms();
    let mut got = Vec::new();
    for round in 1..=3 {
        let (frames, ()) = tokio::join!(listen(&exchange), async {
            eventually(|| exchange.stats().frames > round * 200).await;
            exchange.kick();
        });
        got.push(frames);
        eventually(|| exchange.stats().open_sockets == 0).await;
    }
    let to = now_ms();
    let lines = read_journal(&path).unwrap();
    let data = [JournalEvent::Snapshot, JournalEvent::Frame];
    for (at, frames) in got.iter().enumerate() {
        assert_eq!(*frames, hashes(&lines, at as u64 + 1, &data), "socket {}", at + 1);
        assert!(frames.len() > 100);
    }
    let sockets: Vec<_> = lines
        .iter()
        .filter(|line| matches!(line.event, JournalEvent::Opened | JournalEvent::Closed))
        .map(|line| (line.socket, line.event))
        .collect();
    let both = [JournalEvent::Opened, JournalEvent::Closed];
    assert_eq!(sockets, (1..=3).flat_map(|n| both.map(|event| (n, event))).collect::<Vec<_>>());

    // Each live frame is one of the market's, and what is missing is what no socket was open for.
    let mut market: BTreeMap<String, u64> = BTreeMap::new();
    for frame in market_frames(&config, SUBS, from - 1000, to + 1000) {
        *market.entry(hash(&frame.frame)).or_default() += 1;
    }
    let all: u64 = market.values().sum();
    for socket in 1..=3 {
        for hash in hashes(&lines, socket, &[JournalEvent::Frame]) {
            let left = market.get_mut(&hash).expect("a frame of the market");
            *left = left.checked_sub(1).expect("not more often than it is in the market");
        }
    }
    let missed: u64 = market.values().sum();
    assert!(missed > 0 && missed < all, "{missed} of {all}");
}

#[tokio::test]
async fn a_goodbye_comes_after_everything_that_was_under_way_also_for_a_slow_client() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut config = busy();
    config.rate = Rate::Unlimited;
    config.journal = Some(path.clone());
    let exchange = start(config).await;
    let subs: Vec<&str> = exchange.subs().iter().map(String::as_str).collect();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&subs).await;
    let mut got: Vec<String> =
        client.until("3").await.iter().filter(|it| is_data(it)).map(|it| hash(it)).collect();
    // The exchange is in the middle of a batch when it is kicked.
    until_it_waits(&exchange).await;
    exchange.kick();
    while let Some(frame) = client.next().await {
        if is_data(&frame) {
            got.push(hash(&frame));
        }
    }
    eventually(|| exchange.stats().open_sockets == 0).await;
    let lines = read_journal(&path).unwrap();
    let sent = hashes(&lines, 1, &[JournalEvent::Snapshot, JournalEvent::Frame]);
    assert_eq!(got.len(), sent.len());
    assert!(got == sent);
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn trades_left_out_are_not_in_the_journal_and_those_that_come_twice_are_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let mut config = busy();
    config.journal = Some(path.clone());
    let exchange = start(config).await;
    exchange.fault(Fault::MissingTrades { every: 3 }).unwrap();
    let again = Fault::DuplicateTrades { probability: 0.3, window: 3, seed: 1 };
    exchange.fault(again).unwrap();
    exchange.fault(Fault::OutOfOrder { window: 4, seed: 1 }).unwrap();
    exchange.fault(Order::new(Fault::EmptyFrame).on_subs([SUBS[0]]).times(40)).unwrap();
    let (got, ()) = tokio::join!(listen(&exchange), async {
        eventually(|| exchange.stats().frames > 300).await;
        exchange.kick();
    });
    let events = [JournalEvent::Snapshot, JournalEvent::Frame, JournalEvent::Extra];
    let lines = read_journal(&path).unwrap();
    assert_eq!(got, hashes(&lines, 1, &events));
    let extras = lines.iter().filter(|line| line.event == JournalEvent::Extra);
    assert_eq!(extras.count(), 40);
}

#[tokio::test]
async fn a_replay_is_journaled_with_its_subs_and_survives_faults() {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = (dir.path().join("trades"), dir.path().join("journal"));
    let mut out = std::fs::File::create(&file).unwrap();
    make_trades(5_000, 1, &mut out).unwrap();
    let scan = scan_replay(&file).unwrap();
    let mut config = tickpanda_exchange::ExchangeConfig::new(KEY, Feed::Replay(scan));
    config.rate = Rate::Unlimited;
    config.journal = Some(path.clone());
    let exchange = start(config).await;
    exchange.fault(Order::new(Fault::Fragments { parts: 2 })).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["all"]).await;
    client.until("3").await;
    let got = client.take(5_000).await;
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(got, text.lines().collect::<Vec<_>>());
    let lines = read_journal(&path).unwrap();
    let sent: Vec<_> = lines.iter().filter(|it| it.event == JournalEvent::Frame).collect();
    assert_eq!(sent.len(), 5_000);
    for (line, frame) in sent.iter().zip(&got) {
        assert_eq!(line.xxh128.as_deref(), Some(hash(frame).as_str()));
        assert!(line.sub.as_ref().is_some_and(|sub| exchange.subs().contains(sub)));
    }
    let report = exchange.report();
    assert_eq!(report.sent.values().sum::<u64>(), 5_000);
}

#[tokio::test]
async fn a_journal_that_can_not_be_begun_is_refused_at_the_start() {
    let mut config = busy();
    config.journal = Some("/no/such/folder/journal".into());
    let error = Exchange::start(config).await.expect_err("no folder").to_string();
    assert!(error.contains("/no/such/folder/journal"), "{error}");
}

#[tokio::test]
async fn frames_that_a_fault_holds_back_when_the_socket_ends_are_counted() {
    let exchange = start(busy()).await;
    exchange.fault(Fault::OutOfOrder { window: 10_000, seed: 1 }).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[SUBS[0]]).await;
    client.until("3").await;
    eventually(|| exchange.report().struck.contains_key("out_of_order")).await;
    client.take(2).await;
    exchange.kick();
    while client.next().await.is_some() {}
    eventually(|| exchange.stats().withheld_frames >= 20).await;
    tokio::time::timeout(Duration::from_secs(20), exchange.shutdown()).await.unwrap();
}
