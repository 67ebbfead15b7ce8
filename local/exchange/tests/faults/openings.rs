//! Sockets that do not open as they should.

use serde_json::Value;
use tickpanda_exchange::{Fault, KeyShown, Limits, Order};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Error;

use crate::common::{Client, DEADLINE, eventually, start, synthetic, type_of};
use crate::raw::Raw;

#[tokio::test]
async fn a_half_open_connection_is_accepted_and_never_answered_until_the_fault_ends() {
    let exchange = start(synthetic(1)).await;
    let id = exchange.fault(Order::new(Fault::HalfOpen).times(1)).unwrap();
    let mut raw = Raw::ask(&exchange).await;
    eventually(|| exchange.report().openings.len() == 1).await;
    // The next one opens as ever.
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
    assert_eq!(exchange.report().openings[0].ended_ms, None);
    assert!(exchange.clear(id));
    let mut rest = Vec::new();
    let ended = timeout(DEADLINE, raw.stream.read_to_end(&mut rest)).await.expect("an end");
    assert!(ended.is_err() || rest.is_empty(), "not a byte: {rest:?}");
    let report = exchange.report();
    assert_eq!(report.openings[0].outcome, "half_open");
    assert!(report.openings[0].ended_ms.is_some());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_half_open_connections() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Fault::HalfOpen).unwrap();
    let _raw = Raw::ask(&exchange).await;
    eventually(|| exchange.report().openings.len() == 1).await;
    timeout(DEADLINE, exchange.shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn a_client_that_gives_up_on_a_half_open_connection_is_forgotten() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Order::new(Fault::HalfOpen).times(1)).unwrap();
    let raw = Raw::ask(&exchange).await;
    eventually(|| exchange.faults().len() == 1 && exchange.faults()[0].struck == 1).await;
    drop(raw);
    eventually(|| exchange.faults().is_empty()).await;
    assert_eq!(exchange.report().struck["half_open"], 1);
}

#[tokio::test]
async fn a_connection_is_dropped_without_a_word() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Order::new(Fault::DropAtOnce).times(2)).unwrap();
    for _ in 0..2 {
        let error = Client::refused(&exchange).await;
        assert!(matches!(error, Error::Io(_) | Error::Protocol(_)), "{error:?}");
    }
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
}

#[tokio::test]
async fn the_upgrade_is_answered_with_a_status() {
    let exchange = start(synthetic(1)).await;
    for status in [401, 429, 502] {
        exchange.fault(Order::new(Fault::UpgradeStatus { status }).times(1)).unwrap();
        match Client::refused(&exchange).await {
            Error::Http(response) => {
                assert_eq!(response.status().as_u16(), status);
                let body = response.body().clone().unwrap_or_default();
                assert!(body.starts_with(b"<html>"), "{body:?}");
            }
            other => panic!("{status}: {other:?}"),
        }
    }
    let outcomes: Vec<_> = exchange.report().openings.into_iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, ["upgrade_status"; 3]);
}

#[tokio::test]
async fn a_good_key_is_turned_away_with_each_frame_of_refusal() {
    let exchange = start(synthetic(1)).await;
    for (fault, kind, message) in [
        (Fault::Unauthorized, "401", "UNAUTHORIZED"),
        (Fault::TooManySockets, "429", "TOO_MANY_SOCKETS_MAX_1_PER_CLIENT"),
        (Fault::OpeningTooFast, "429", "RATE_LIMIT_OPENING_SOCKETS_TOO_FAST"),
    ] {
        exchange.fault(Order::new(fault).times(1)).unwrap();
        let mut client = Client::connect(&exchange).await;
        let frame: Value = serde_json::from_str(&client.next().await.unwrap()).unwrap();
        assert_eq!(
            (frame["TYPE"].as_str(), frame["MESSAGE"].as_str()),
            (Some(kind), Some(message))
        );
        assert_eq!(client.next().await, None);
    }
    eventually(|| exchange.stats().refused_sockets == 3).await;
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
}

#[tokio::test]
async fn without_a_welcome_heartbeats_come_and_subscriptions_are_answered() {
    let mut config = synthetic(1);
    config.heartbeat = std::time::Duration::from_millis(10);
    let exchange = start(config).await;
    exchange.fault(Fault::NoWelcome).unwrap();
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "999");
    client.subscribe(&["0~Coinbase~BTC~USD"]).await;
    let frames = client.until("3").await;
    assert!(frames.iter().any(|frame| type_of(frame) == "0"), "{frames:?}");
    assert!(frames.iter().all(|frame| type_of(frame) != "20"), "{frames:?}");
}

#[tokio::test]
async fn a_welcome_tells_of_budgets_that_are_used_up() {
    let exchange = start(synthetic(1)).await;
    let fault: Fault =
        serde_json::from_str(r#"{"welcome_budget":{"minute":0,"sockets":0}}"#).unwrap();
    exchange.fault(fault).unwrap();
    let mut client = Client::connect(&exchange).await;
    let welcome: Value = serde_json::from_str(&client.next().await.unwrap()).unwrap();
    assert_eq!(welcome["RATELIMIT_REMAINING_MINUTE"], 0);
    assert_eq!(welcome["SOCKETS_REMAINING"], 0);
    assert_eq!(welcome["RATELIMIT_REMAINING_HOUR"], Limits::SOCKETS.hour - 1);
}

#[tokio::test]
async fn only_the_sockets_that_are_named_are_struck() {
    let mut config = synthetic(1);
    config.max_sockets = 3;
    let exchange = start(config).await;
    exchange.fault(Order::new(Fault::Unauthorized).on_sockets([2])).unwrap();
    let mut kinds = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(&exchange).await;
        kinds.push(type_of(&client.next().await.unwrap()));
        clients.push(client);
    }
    assert_eq!(kinds, ["20", "401", "20"]);
    let openings = exchange.report().openings;
    let numbers: Vec<_> = openings.iter().map(|it| (it.socket, it.outcome.as_str())).collect();
    assert_eq!(numbers, [(1, "welcomed"), (2, "UNAUTHORIZED"), (3, "welcomed")]);
    assert!(openings.iter().all(|it| it.key == KeyShown::Header));
}
