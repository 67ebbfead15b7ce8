//! Frames that nobody asked for.

use tickpanda_exchange::{Fault, Garbage, Order};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::busy;
use crate::common::{Client, eventually, start, type_of};
use crate::raw::Raw;

const TRADES: &str = "0~Coinbase~BTC~USD";

#[tokio::test]
async fn each_kind_of_garbage_comes_once_and_at_once_on_a_quiet_socket() {
    let exchange = start(busy()).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    for what in [
        Garbage::NotJson,
        Garbage::Truncated,
        Garbage::Nothing,
        Garbage::Binary,
        Garbage::InvalidUtf8,
    ] {
        exchange.fault(Fault::Garbage { what }).unwrap();
        match (what, client.message().await.unwrap().unwrap()) {
            (Garbage::InvalidUtf8, Message::Binary(bytes)) => {
                assert!(std::str::from_utf8(&bytes).is_err());
            }
            (Garbage::Binary, Message::Binary(bytes)) => assert!(!bytes.is_empty()),
            (_, Message::Text(text)) => {
                assert!(serde_json::from_str::<serde_json::Value>(&text).is_err(), "{text}");
                assert_eq!(text.is_empty(), what == Garbage::Nothing);
            }
            (what, other) => panic!("{what:?}: {other:?}"),
        }
    }
    // This one a client may not take, and the library doesn't.
    exchange.fault(Fault::Garbage { what: Garbage::InvalidText }).unwrap();
    let error = client.message().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Utf8(_)), "{error:?}");
    assert_eq!(exchange.stats().extra_frames, 6);
    assert_eq!(exchange.stats().frames, 0);
}

#[tokio::test]
async fn a_text_frame_with_bytes_that_are_no_utf_8_is_on_the_wire() {
    let exchange = start(busy()).await;
    let mut raw = Raw::connect(&exchange).await;
    raw.frame().await.unwrap();
    exchange.fault(Fault::Garbage { what: Garbage::InvalidText }).unwrap();
    let (last, opcode, payload) = raw.frame().await.unwrap();
    assert!(last && opcode == 1 && std::str::from_utf8(&payload).is_err());
}

#[tokio::test]
async fn garbage_among_the_data_comes_as_often_as_it_is_ordered() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::EmptyFrame).on_subs([TRADES]).times(25)).unwrap();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&[TRADES]).await;
    let frames = client.until("3").await;
    // The market has some of its own, but none in a snapshot: one before each of the 20 trades.
    assert_eq!(frames.iter().filter(|frame| *frame == "{}").count(), 20);
    eventually(|| exchange.stats().extra_frames == 25).await;
    assert!(exchange.faults().is_empty());
}

#[tokio::test]
async fn a_frame_is_larger_than_any_topic_takes() {
    let exchange = start(busy()).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    exchange.fault(Fault::Oversized { bytes: 5_000_000 }).unwrap();
    let frame = client.next().await.unwrap();
    assert_eq!((frame.len(), type_of(&frame).as_str()), (5_000_000, "0"));
}

#[tokio::test]
async fn any_text_can_be_sent() {
    let exchange = start(busy()).await;
    let mut client = Client::connect(&exchange).await;
    client.next().await.unwrap();
    let text = r#"{"TYPE":"77","NEWS":"of a kind that nobody knows"}"#;
    exchange.fault(Fault::Frame { text: text.to_owned() }).unwrap();
    assert_eq!(client.next().await.unwrap(), text);
}
