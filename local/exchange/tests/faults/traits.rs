//! What lies on a socket while an order stands.

use std::time::{Duration, Instant};

use futures_util::SinkExt;
use tickpanda_exchange::{Fault, Order, Rate};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::busy;
use crate::common::{Client, DEADLINE, eventually, start, synthetic, type_of};
use crate::raw::Raw;

const TRADES: &str = "0~Coinbase~BTC~USD";
/// So long nothing comes where something would come every few milliseconds.
const A_WHILE: Duration = Duration::from_millis(300);

/// The next message within [`A_WHILE`], if any.
async fn anything(client: &mut Client) -> Option<Message> {
    match timeout(A_WHILE, client.message()).await {
        Ok(message) => Some(message.expect("the socket is open").expect("and sound")),
        Err(_) => None,
    }
}

/// Heartbeats and pings every 10 ms.
fn lively() -> tickpanda_exchange::ExchangeConfig {
    let mut config = synthetic(1);
    (config.heartbeat, config.ping) = (Duration::from_millis(10), Duration::from_millis(10));
    config
}

#[tokio::test]
async fn a_silent_socket_stays_open_and_nothing_comes_not_even_a_pong() {
    let exchange = start(lively()).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    client.until("3").await;
    let id = exchange.fault(Fault::Silent).unwrap();
    // What was under way.
    while anything(&mut client).await.is_some() {}
    client.stream().send(Message::Ping("hello".into())).await.unwrap();
    client.subscribe(&["2~Coinbase~BTC~USD"]).await;
    assert_eq!(anything(&mut client).await, None);
    assert_eq!(exchange.stats().open_sockets, 1);
    exchange.clear(id);
    // What was due comes now, what was sent is answered, and nobody is disconnected for it.
    let mut kinds = Vec::new();
    let mut pong = false;
    while !(pong && ["0", "3", "999"].iter().all(|kind| kinds.contains(&kind.to_string()))) {
        match client.message().await.unwrap().unwrap() {
            Message::Text(text) => kinds.push(type_of(&text)),
            Message::Pong(payload) => pong |= payload == "hello",
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_silent_socket_can_be_silent_before_its_welcome_and_for_a_time() {
    let exchange = start(lively()).await;
    exchange.fault(Order::new(Fault::Silent).lasting(A_WHILE)).unwrap();
    let begun = Instant::now();
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
    assert!(begun.elapsed() >= A_WHILE / 2, "{:?}", begun.elapsed());
    assert!(exchange.faults().is_empty());
}

#[tokio::test]
async fn the_exchange_notices_when_the_client_leaves_a_silent_socket() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Fault::Silent).unwrap();
    let client = Client::connect(&exchange).await;
    eventually(|| exchange.stats().open_sockets == 1).await;
    drop(client);
    eventually(|| exchange.stats().open_sockets == 0).await;
}

#[tokio::test]
async fn a_silent_socket_can_be_kicked() {
    let exchange = start(synthetic(1)).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    exchange.fault(Fault::Silent).unwrap();
    eventually(|| exchange.report().struck.contains_key("silent")).await;
    assert_eq!(exchange.kick(), 1);
    assert_eq!(client.next().await, None);
    // Also one that has not even been welcomed.
    eventually(|| exchange.stats().open_sockets == 0).await;
    let mut client = Client::connect(&exchange).await;
    eventually(|| exchange.stats().open_sockets == 1).await;
    assert_eq!(exchange.kick(), 1);
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn an_exchange_that_does_not_read_still_sends_and_answers_later() {
    let exchange = start(lively()).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    client.until("3").await;
    let id = exchange.fault(Fault::NotReading).unwrap();
    eventually(|| exchange.report().struck.contains_key("not_reading")).await;
    client.subscribe(&["2~Coinbase~BTC~USD"]).await;
    // Longer than two pings are given.
    let until = Instant::now() + A_WHILE;
    while Instant::now() < until {
        let frame = client.next().await.expect("it is not disconnected");
        assert_ne!(type_of(&frame), "16");
    }
    exchange.clear(id);
    client.until("16").await;
}

#[tokio::test]
async fn heartbeats_come_without_data() {
    let mut config = lively();
    config.max_sockets = 2;
    let exchange = start(config).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES, "2~Coinbase~BTC~USD"]).await;
    client.until("3").await;
    // All of it: what is under way comes, and then only heartbeats.
    let id = exchange.fault(Fault::HeartbeatsOnly).unwrap();
    let mut beats = 0;
    while beats < 20 {
        beats = if type_of(&client.next().await.unwrap()) == "999" { beats + 1 } else { 0 };
    }
    assert!(exchange.stats().withheld_frames > 0);
    exchange.clear(id);
    client.until("0").await;

    // One subscription is silent from the start, the other flows.
    exchange.fault(Order::new(Fault::HeartbeatsOnly).on_subs([TRADES]).on_sockets([2])).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES, "2~Coinbase~BTC~USD"]).await;
    let mut frames = client.until("3").await;
    assert_eq!(frames.iter().filter(|frame| type_of(frame) == "16").count(), 2);
    frames.extend(client.take(100).await);
    assert!(frames.iter().any(|frame| type_of(frame) == "2"));
    assert!(frames.iter().all(|frame| type_of(frame) != "0"), "{frames:?}");
}

#[tokio::test]
async fn data_come_without_heartbeats() {
    let exchange = start(lively()).await;
    exchange.fault(Fault::NoHeartbeats).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    let until = Instant::now() + A_WHILE;
    while Instant::now() < until {
        match client.message().await.unwrap().unwrap() {
            Message::Text(text) => assert_ne!(type_of(&text), "999"),
            Message::Ping(_) => panic!("a ping"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn every_message_comes_in_as_many_frames_as_ordered_and_whole_again() {
    let mut config = synthetic(1);
    config.heartbeat = Duration::from_millis(10);
    config.max_sockets = 2;
    let exchange = start(config).await;
    exchange.fault(Fault::Fragments { parts: 3 }).unwrap();
    let mut raw = Raw::connect(&exchange).await;
    raw.send(&format!(r#"{{"action":"SubAdd","subs":["{TRADES}"]}}"#)).await;
    let (mut frames, mut text) = (Vec::new(), Vec::new());
    while frames.len() < 200 {
        let (last, opcode, payload) = raw.frame().await.expect("a frame");
        if opcode < 8 {
            frames.push((last, opcode));
            text.extend(payload);
        }
    }
    let parts = [(false, 1), (false, 0), (true, 0)];
    assert!(frames.chunks_exact(3).all(|message| message == parts), "{frames:?}");
    assert!(text.starts_with(br#"{"TYPE":"20""#));

    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    assert_eq!(client.until("3").await.iter().filter(|it| type_of(it) == "0").count(), 20);
    // Every one is whole, or it would be no JSON.
    client.take(100).await.iter().for_each(|frame| drop(type_of(frame)));
}

#[tokio::test]
async fn writes_are_cut_short_and_nothing_is_lost() {
    let mut config = busy();
    config.max_sockets = 2;
    let exchange = start(config).await;
    exchange.fault(Fault::ChoppedWrites { bytes: 1 }).unwrap();
    let mut raw = Raw::connect(&exchange).await;
    // On one thread the exchange writes some sixty times before the client gets a turn.
    let before = raw.reads;
    raw.frame().await.expect("the welcome");
    assert!(raw.reads - before >= 5, "{} reads", raw.reads - before);

    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    assert_eq!(client.until("3").await.iter().filter(|it| type_of(it) == "0").count(), 20);
    client.take(50).await;
    exchange.clear_all();
    client.take(500).await;
}

#[tokio::test]
async fn more_subscriptions_than_ordered_are_refused() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Fault::TooManySubscriptions { max: 1 }).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES, "2~Coinbase~BTC~USD"]).await;
    let frames = client.until("3").await;
    let full = &frames[frames.len() - 2];
    assert!(full.contains("TOO_MANY_SUBSCRIPTIONS_MAX_1_PER_SOCKET"), "{full}");
    exchange.clear_all();
    client.subscribe(&["2~Coinbase~BTC~USD"]).await;
    client.until("16").await;
}

#[tokio::test]
async fn a_count_is_of_sockets_and_a_silent_one_keeps_its_silence() {
    let mut config = synthetic(1);
    config.max_sockets = 2;
    config.rate = Rate::PerSecond(std::num::NonZeroU32::new(1000).unwrap());
    let exchange = start(config).await;
    exchange.fault(Order::new(Fault::Silent).times(1)).unwrap();
    let mut one = Client::connect(&exchange).await;
    eventually(|| exchange.report().struck.contains_key("silent")).await;
    let mut two = Client::connect(&exchange).await;
    assert_eq!(type_of(&two.next().await.unwrap()), "20");
    assert_eq!(anything(&mut one).await, None);
    timeout(DEADLINE, exchange.shutdown()).await.expect("shuts down");
}
