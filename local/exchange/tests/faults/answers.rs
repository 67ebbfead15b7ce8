//! Answers that a client's messages do not deserve.

use serde_json::Value;
use tickpanda_exchange::{Exchange, Fault, Order};

use crate::busy;
use crate::common::{Client, start, type_of};

const TRADES: &str = "0~Coinbase~BTC~USD";
const TICKER: &str = "2~Coinbase~BTC~USD";

/// `MESSAGE SUB-or-PARAMETER` of control frames.
fn answers(frames: &[String]) -> Vec<String> {
    let field = |frame: &Value, key| frame[key].as_str().unwrap_or_default().to_owned();
    frames
        .iter()
        .map(|frame| serde_json::from_str::<Value>(frame).expect("JSON"))
        .filter(|frame| frame["MESSAGE"].is_string())
        .map(|frame| {
            let about = [field(&frame, "SUB"), field(&frame, "PARAMETER")].concat();
            format!("{} {about}", field(&frame, "MESSAGE"))
        })
        .collect()
}

async fn welcomed(exchange: &Exchange) -> Client {
    let mut client = Client::connect(exchange).await;
    client.next().await.expect("the welcome");
    client
}

#[tokio::test]
async fn a_sub_that_is_ordered_to_be_invalid_is_refused_and_the_others_load() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::InvalidSub).on_subs([TRADES])).unwrap();
    let mut client = welcomed(&exchange).await;
    client.subscribe(&[TRADES, TICKER]).await;
    assert_eq!(
        answers(&client.until("3").await),
        [
            format!("INVALID_SUB {TRADES}"),
            format!("SUBSCRIBECOMPLETE {TICKER}"),
            "LOADCOMPLETE ".to_owned()
        ]
    );
}

#[tokio::test]
async fn a_sub_that_is_said_to_be_active_already_brings_data() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::AlreadyActive).times(1)).unwrap();
    let mut client = welcomed(&exchange).await;
    client.subscribe(&[TRADES]).await;
    let frames = client.until("3").await;
    let expected = [format!("SUBSCRIPTION_ALREADY_ACTIVE {TRADES}"), "LOADCOMPLETE ".to_owned()];
    assert_eq!(answers(&frames), expected);
    client.until("0").await;
}

#[tokio::test]
async fn a_sub_that_is_given_up_is_unrecognized_and_gone() {
    let exchange = start(busy()).await;
    exchange.fault(Fault::Unrecognized).unwrap();
    let mut client = welcomed(&exchange).await;
    client.subscribe(&[TRADES, TICKER]).await;
    client.until("3").await;
    client.send(&format!(r#"{{"action":"SubRemove","subs":["{TRADES}"]}}"#)).await;
    let frames = client.until("18").await;
    assert!(answers(&frames).contains(&format!("SUBSCRIPTION_UNRECOGNIZED {TRADES}")));
    assert!(client.take(30).await.iter().all(|frame| type_of(frame) != "0"));
}

#[tokio::test]
async fn a_sound_message_is_called_invalid_and_has_no_effect() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::InvalidJson).times(1)).unwrap();
    exchange.fault(Order::new(Fault::InvalidParameter).times(1)).unwrap();
    let mut client = welcomed(&exchange).await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        client.subscribe(&[TRADES]).await;
        seen.extend(client.take(1).await);
    }
    assert_eq!(answers(&seen), ["INVALID_JSON ", "INVALID_PARAMETER subs"]);
    client.subscribe(&[TRADES]).await;
    assert!(answers(&client.until("16").await).contains(&format!("SUBSCRIBECOMPLETE {TRADES}")));
    assert_eq!(exchange.report().messages.len(), 3);
}
