//! Sockets that end.

use std::time::Duration;

use tickpanda_exchange::{Exchange, Fault, Order, Rate};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::busy;
use crate::common::{Client, eventually, start, type_of, until_it_waits};
use crate::raw::Raw;

/// A client that gets trades.
async fn streaming(exchange: &Exchange) -> Client {
    let mut client = Client::connect(exchange).await;
    client.subscribe(&["0~Coinbase~BTC~USD"]).await;
    client.until("3").await;
    client
}

/// How the socket ends: the texts until then, and `close` or the error.
async fn ending(client: &mut Client) -> (Vec<String>, String) {
    let mut texts = Vec::new();
    loop {
        match client.message().await {
            Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
            Some(Ok(Message::Close(_))) => return (texts, "close".to_owned()),
            Some(Ok(_)) => {}
            Some(Err(error)) => return (texts, error.to_string()),
            None => return (texts, "end".to_owned()),
        }
    }
}

#[tokio::test]
async fn the_weekly_kick_closes_every_socket_with_a_close_frame() {
    let mut config = busy();
    config.max_sockets = 2;
    let exchange = start(config).await;
    let (mut one, mut two) = (streaming(&exchange).await, streaming(&exchange).await);
    assert_eq!(exchange.kick(), 2);
    assert_eq!(ending(&mut one).await.1, "close");
    assert_eq!(ending(&mut two).await.1, "close");
    // Those that come later are not concerned.
    eventually(|| exchange.stats().open_sockets == 0).await;
    let mut three = streaming(&exchange).await;
    three.take(10).await;
}

#[tokio::test]
async fn a_kick_as_a_fault_takes_one_socket() {
    let mut config = busy();
    config.max_sockets = 2;
    let exchange = start(config).await;
    let (mut one, mut two) = (streaming(&exchange).await, streaming(&exchange).await);
    exchange.fault(Order::new(Fault::Kick).on_sockets([2])).unwrap();
    assert_eq!(ending(&mut two).await.1, "close");
    one.take(10).await;
    assert_eq!(exchange.stats().open_sockets, 1);
}

#[tokio::test]
async fn a_cut_socket_ends_without_a_close_frame() {
    let exchange = start(busy()).await;
    for fault in [Fault::Cut, Fault::Reset] {
        let mut client = streaming(&exchange).await;
        exchange.fault(fault.clone()).unwrap();
        let (_, end) = ending(&mut client).await;
        assert_ne!(end, "close", "{fault:?}");
        eventually(|| exchange.stats().open_sockets == 0).await;
    }
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let exchange = start(busy()).await;
    let mut raw = Raw::connect(&exchange).await;
    raw.frame().await.expect("the welcome");
    exchange.fault(Fault::Reset).unwrap();
    let mut byte = [0];
    let read = tokio::io::AsyncReadExt::read(&mut raw.stream, &mut byte);
    let error = tokio::time::timeout(crate::common::DEADLINE, read).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_socket_can_end_in_the_middle_of_a_frame() {
    let exchange = start(busy()).await;
    let mut raw = Raw::connect(&exchange).await;
    raw.frame().await.expect("the welcome");
    exchange.fault(Fault::CutMidFrame).unwrap();
    let torn = loop {
        if let Err(torn) = raw.frame().await {
            break torn;
        }
    };
    assert!(torn.len() > 20 && torn[0] == 0x81, "{torn:?}");
    // And as another client tells it.
    let mut client = streaming(&exchange).await;
    exchange.fault(Fault::CutMidFrame).unwrap();
    let (texts, end) = ending(&mut client).await;
    assert!(end != "close" && texts.iter().all(|text| text.ends_with('}')), "{end}");
}

#[tokio::test]
async fn force_disconnect_says_so_and_closes() {
    let exchange = start(busy()).await;
    let mut client = streaming(&exchange).await;
    exchange.fault(Fault::ForceDisconnect).unwrap();
    let (texts, end) = ending(&mut client).await;
    assert!(texts.last().unwrap().contains("FORCE_DISCONNECT"), "{texts:?}");
    assert_eq!(end, "close");
}

#[tokio::test]
async fn a_loop_of_welcome_and_drop_goes_on_as_long_as_it_is_ordered() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::Cut).times(3)).unwrap();
    for _ in 0..3 {
        let mut client = Client::connect(&exchange).await;
        let (texts, end) = ending(&mut client).await;
        assert_eq!((texts.len(), type_of(&texts[0]).as_str()), (1, "20"));
        assert_ne!(end, "close");
        eventually(|| exchange.stats().open_sockets == 0).await;
    }
    streaming(&exchange).await.take(10).await;
    let report = exchange.report();
    assert_eq!((report.struck["cut"], report.openings.len()), (3, 4));
    assert!(report.openings[..3].iter().all(|it| it.ended_ms >= Some(it.at_ms)));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_all_the_same() {
    let mut config = busy();
    config.rate = Rate::Unlimited;
    let exchange = start(config).await;
    let subs: Vec<&str> = exchange.subs().iter().map(String::as_str).collect();
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&subs).await;
    client.until("3").await;
    until_it_waits(&exchange).await;
    exchange.fault(Order::new(Fault::Cut).lasting(Duration::from_secs(60))).unwrap();
    eventually(|| exchange.stats().open_sockets == 0).await;
    let end = loop {
        match client.message().await {
            Some(Ok(_)) => {}
            Some(Err(error)) => break Some(error),
            None => break None,
        }
    };
    assert!(matches!(end, Some(Error::Protocol(_) | Error::Io(_))), "{end:?}");
}
