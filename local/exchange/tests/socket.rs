//! The WebSocket as a client sees it: order of frames, and each refusal.

#[allow(dead_code, reason = "each test program uses its part")]
mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Client, KEY, eventually, start, synthetic, type_of, types, until_it_waits};
use serde_json::Value;
use tickpanda_exchange::{Clock, Limits};

#[tokio::test]
async fn a_connection_begins_as_the_vendors_does() {
    let exchange = start(synthetic(1)).await;
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
    client.subscribe(&["0~Coinbase~BTC~USD", "2~Coinbase~BTC~USD", "5~CCCAGG~BTC~USD"]).await;
    let loaded = client.until("3").await;
    // Data first, then 16, for each sub; then one 3.
    assert_eq!(types(&loaded), "0 16 2 16 5 16 3");
    assert_eq!(loaded.iter().filter(|frame| type_of(frame) == "0").count(), 20);
    let live = client.take(50).await;
    assert!(
        live.iter().all(|frame| ["0", "2", "5", ""].contains(&type_of(frame).as_str())),
        "{live:?}"
    );

    client.send(r#"{"action":"SubRemove","subs":["0~Coinbase~BTC~USD"]}"#).await;
    let removed = client.until("18").await;
    assert!(removed.contains(
        &r#"{"TYPE":"17","MESSAGE":"UNSUBSCRIBECOMPLETE","SUB":"0~Coinbase~BTC~USD"}"#.to_owned()
    ));
    let live = client.take(30).await;
    assert!(live.iter().all(|frame| type_of(frame) != "0"), "{live:?}");
    exchange.shutdown().await;
}

#[tokio::test]
async fn without_a_valid_key_there_is_one_401_and_the_end() {
    let exchange = start(synthetic(1)).await;
    let url = exchange.ws_url();
    for (url, key) in [
        (url.clone(), None),
        (url.clone(), Some("wrong")),
        (format!("{url}?api_key=wrong"), None),
        (format!("{url}?apiKey={KEY}"), None),
    ] {
        let mut client = Client::connect_with(&url, key).await;
        assert_eq!(
            client.next().await.unwrap(),
            r#"{"TYPE":"401", "MESSAGE":"UNAUTHORIZED","PARAMETER": "format","INFO":"We only support JSON format with a valid api_key."}"#
        );
        assert_eq!(client.next().await, None);
    }
    let mut client = Client::connect_with(&format!("{url}?api_key={KEY}"), None).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
    eventually(|| exchange.stats().refused_sockets == 4).await;
    exchange.shutdown().await;
}

#[tokio::test]
async fn a_second_socket_is_turned_away_until_the_first_is_gone() {
    let exchange = start(synthetic(1)).await;
    let mut first = Client::connect(&exchange).await;
    first.next().await.unwrap();
    let mut second = Client::connect(&exchange).await;
    assert_eq!(
        second.next().await.unwrap(),
        r#"{"TYPE": "429","MESSAGE": "TOO_MANY_SOCKETS_MAX_1_PER_CLIENT","INFO": "You have reached your maximum sockets open for your subscription"}"#
    );
    assert_eq!(second.next().await, None);
    first.close().await;
    eventually(|| exchange.stats().open_sockets == 0).await;
    let mut third = Client::connect(&exchange).await;
    assert_eq!(type_of(&third.next().await.unwrap()), "20");
    // A client that vanishes without a goodbye frees its slot too.
    drop(third);
    eventually(|| exchange.stats().open_sockets == 0).await;
    exchange.shutdown().await;
}

#[tokio::test]
async fn sockets_opened_too_often_are_turned_away() {
    let mut config = synthetic(1);
    config.socket_limits = Limits { month: 1, ..Limits::SOCKETS };
    let exchange = start(config).await;
    let mut first = Client::connect(&exchange).await;
    let welcome: Value = serde_json::from_str(&first.next().await.unwrap()).unwrap();
    assert_eq!(welcome["RATELIMIT_REMAINING_MONTH"], 0);
    first.close().await;
    let mut second = Client::connect(&exchange).await;
    let frame: Value = serde_json::from_str(&second.next().await.unwrap()).unwrap();
    assert_eq!(frame["MESSAGE"], "RATE_LIMIT_OPENING_SOCKETS_TOO_FAST");
    exchange.shutdown().await;
}

#[tokio::test]
async fn bad_messages_are_answered_and_the_socket_lives_on() {
    let mut config = synthetic(1);
    config.max_subs = 2;
    let exchange = start(config).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    client.send("not json").await;
    client.subscribe(&["5~CCCAGG~NULL~USD", "8~Coinbase~BTC~USD"]).await;
    let errors: Vec<String> = client
        .until("3")
        .await
        .iter()
        .map(|frame| {
            let frame: Value = serde_json::from_str(frame).unwrap();
            format!(
                "{} {}",
                frame["MESSAGE"].as_str().unwrap(),
                frame["PARAMETER"].as_str().unwrap_or_default()
            )
        })
        .collect();
    assert_eq!(
        errors,
        [
            "INVALID_JSON not json",
            "INVALID_SUB 5~CCCAGG~NULL~USD",
            "INVALID_SUB 8~Coinbase~BTC~USD",
            "LOADCOMPLETE "
        ]
    );
    client
        .subscribe(&[
            "2~Coinbase~BTC~USD",
            "2~Coinbase~BTC~USD",
            "2~Kraken~BTC~USD",
            "2~Kraken~BTC~EUR",
        ])
        .await;
    let frames = client.until("3").await;
    assert_eq!(types(&frames), "2 16 500 2 16 429 3");
    let full = &frames[frames.len() - 2];
    assert!(full.contains("TOO_MANY_SUBSCRIPTIONS_MAX_2_PER_SOCKET"), "{full}");
    exchange.shutdown().await;
}

/// A clock that stands still until it is moved.
fn manual_clock() -> (Arc<AtomicU64>, Clock) {
    let millis = Arc::new(AtomicU64::new(1_753_190_418_000));
    let read = Arc::clone(&millis);
    (millis, Clock::new(move || Duration::from_millis(read.load(Ordering::SeqCst))))
}

/// All that a client gets in ten seconds of market time.
async fn session(seed: u64) -> Vec<String> {
    let (millis, clock) = manual_clock();
    let mut config = synthetic(seed);
    config.clock = clock;
    let exchange = start(config).await;
    let subs: Vec<&str> = exchange.subs().iter().map(String::as_str).collect();
    let mut client = Client::connect(&exchange).await;
    let mut frames = vec![client.next().await.unwrap()];
    client.subscribe(&subs).await;
    frames.extend(client.until("3").await);
    millis.fetch_add(10_000, Ordering::SeqCst);
    // 1,000 a second, all of them subscribed to.
    frames.extend(client.take(10_000).await);
    exchange.shutdown().await;
    frames
}

#[tokio::test]
async fn the_same_seed_and_clock_give_the_same_frames_on_the_wire() {
    let first = session(7).await;
    assert_eq!(first, session(7).await);
    assert_ne!(first, session(8).await);
}

#[tokio::test]
async fn a_reconnect_is_told_the_latest_twenty_trades_again() {
    let (millis, clock) = manual_clock();
    let mut config = synthetic(1);
    config.clock = clock;
    let exchange = start(config).await;
    let sub = "0~Coinbase~BTC~USD";
    let trades = |frames: Vec<String>| -> Vec<String> {
        frames.into_iter().filter(|frame| type_of(frame) == "0").collect()
    };
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[sub]).await;
    let mut seen = trades(client.until("3").await);
    // Fewer events than a batch holds, so they are sent, and counted, at once.
    millis.fetch_add(1_000, Ordering::SeqCst);
    eventually(|| exchange.stats().frames > 20).await;
    let live = usize::try_from(exchange.stats().frames - 20).unwrap();
    assert!(live > 30, "{live}");
    seen.extend(trades(client.take(live).await));
    client.close().await;
    eventually(|| exchange.stats().open_sockets == 0).await;

    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[sub]).await;
    let replay = trades(client.until("16").await);
    assert_eq!(replay, seen[seen.len() - 20..]);
    let id = |frame: &String| serde_json::from_str::<Value>(frame).unwrap()["ID"].clone();
    let ids: Vec<u64> = replay.iter().map(|f| id(f).as_str().unwrap().parse().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "oldest first: {ids:?}");
    exchange.shutdown().await;
}

#[tokio::test]
async fn heartbeats_come_on_a_silent_socket() {
    let mut config = synthetic(1);
    config.heartbeat = Duration::from_millis(20);
    let exchange = start(config).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    for frame in client.take(3).await {
        let frame: Value = serde_json::from_str(&frame).unwrap();
        assert_eq!(
            (frame["TYPE"].as_str(), frame["MESSAGE"].as_str()),
            (Some("999"), Some("HEARTBEAT"))
        );
        assert!(frame["TIMEMS"].as_u64().unwrap() > 1_700_000_000_000);
    }
    exchange.shutdown().await;
}

#[tokio::test]
async fn a_client_that_answers_no_pings_is_disconnected() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut config = synthetic(1);
    config.ping = Duration::from_millis(20);
    let exchange = start(config).await;
    // A client that answers stays.
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["0~Coinbase~BTC~USD"]).await;
    client.take(200).await;
    client.close().await;
    eventually(|| exchange.stats().open_sockets == 0).await;
    // One that only listens does not.
    let mut socket = tokio::net::TcpStream::connect(exchange.address()).await.unwrap();
    let request = format!(
        "GET /v2?api_key={KEY} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    tokio::time::timeout(common::DEADLINE, socket.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&received).contains("FORCE_DISCONNECT"));
    exchange.shutdown().await;
}

#[tokio::test]
async fn shutdown_closes_open_sockets_even_of_a_client_that_does_not_read() {
    let mut config = synthetic(1);
    config.rate = tickpanda_exchange::Rate::Unlimited;
    let exchange = start(config).await;
    let subs: Vec<&str> = exchange.subs().iter().map(String::as_str).collect();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&subs).await;
    client.until("3").await;
    // The client reads no more; the exchange fills the socket and waits.
    until_it_waits(&exchange).await;
    tokio::time::timeout(common::DEADLINE, exchange.shutdown()).await.expect("shuts down");
}
