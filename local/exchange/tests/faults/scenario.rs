//! A scenario, played.

use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use tickpanda_exchange::{Exchange, Fault, Scenario};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::common::{Client, DEADLINE, KEY, eventually, start, synthetic, type_of};

fn bad_day() -> Scenario {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/a-bad-day.yaml");
    Scenario::read(Path::new(file)).expect("a sound scenario")
}

/// A client without patience or rules: reconnects at once, for ever, and makes a call now and then.
async fn drive(exchange: &Exchange) {
    use futures_util::{SinkExt, StreamExt};
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    loop {
        pause.tick().await;
        let mut request = exchange.ws_url().into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Apikey {KEY}").parse().unwrap());
        let connecting = tokio::time::timeout(Duration::from_millis(50), connect_async(request));
        let Ok(Ok((mut socket, _))) = connecting.await else { continue };
        let subs = r#"{"action":"SubAdd","subs":["0~Coinbase~BTC~USD","2~Coinbase~BTC~USD"]}"#;
        if socket.send(Message::text(subs)).await.is_err() {
            continue;
        }
        while let Some(Ok(_)) = socket.next().await {}
    }
}

async fn call(exchange: &Exchange) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(Duration::from_millis(30)).build().unwrap();
    let url = format!("{}/data/v2/histominute?fsym=BTC&tsym=USD&limit=2", exchange.rest_url());
    let mut pause = tokio::time::interval(Duration::from_millis(5));
    loop {
        pause.tick().await;
        if let Ok(response) = client.get(&url).send().await {
            let _ = response.bytes().await;
        }
    }
}

#[tokio::test]
async fn a_bad_day_strikes_with_all_its_faults_and_ends_well() {
    let mut config = synthetic(1);
    config.scenario = Some(bad_day());
    config.time_scale = NonZeroU32::new(60).unwrap();
    config.socket_limits = tickpanda_exchange::Limits::NONE;
    config.rest_limits = tickpanda_exchange::Limits::NONE;
    let exchange = start(config).await;
    let over = async {
        // The last step comes five seconds after the start.
        eventually(|| exchange.report().now_ms > 5_050).await;
    };
    tokio::select! {
        () = drive(&exchange) => {}
        () = call(&exchange) => {}
        () = over => {}
    }
    let struck = exchange.report().struck;
    let expected = [
        "silent",
        "heartbeats_only",
        "not_reading",
        "duplicate_trades",
        "out_of_order",
        "missing_trades",
        "garbage",
        "oversized",
        "fragments",
        "chopped_writes",
        "rest.status",
        "rest.rate_limit",
        "rest.half_body",
        "rest.no_answer",
        "upgrade_status",
        "half_open",
        "cut",
        "opening_too_fast",
        "reset",
        "too_many_sockets",
        "force_disconnect",
        "welcome_budget",
        "cut_mid_frame",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !struck.contains_key(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} did not strike: {struck:?}");
    assert!(exchange.faults().is_empty());
    eventually(|| exchange.stats().open_sockets == 0).await;
    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "20");
    tokio::time::timeout(DEADLINE, exchange.shutdown()).await.expect("shuts down");
}

#[tokio::test]
async fn times_of_a_scenario_are_kept_and_what_is_named_is_cleared() {
    let mut config = synthetic(1);
    let text = "- {at: 1s, name: a, fault: unauthorized}\n- {at: 2s, fault: no_heartbeats}\n- {at: 20s, clear: a}";
    config.scenario = Some(Scenario::parse(text).unwrap());
    config.time_scale = NonZeroU32::new(100).unwrap();
    let exchange = start(config).await;
    eventually(|| exchange.faults().iter().any(|it| it.order.fault == Fault::Unauthorized)).await;
    assert!(exchange.report().now_ms >= 10);
    eventually(|| exchange.faults().len() == 1 && exchange.report().now_ms >= 200).await;
    assert_eq!(exchange.faults()[0].order.fault, Fault::NoHeartbeats);
}

#[tokio::test]
async fn heartbeats_keep_the_scale() {
    let mut config = synthetic(1);
    config.time_scale = NonZeroU32::new(3000).unwrap();
    let exchange = start(config).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    // Every 10 ms instead of 30 s.
    assert!(client.take(5).await.iter().all(|frame| type_of(frame) == "999"));
}
