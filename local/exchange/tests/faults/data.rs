//! Trades that are missing, come twice or out of order.

use std::collections::BTreeSet;

use serde_json::Value;
use tickpanda_exchange::{Exchange, Fault, Order};

use crate::busy;
use crate::common::{Client, eventually, start, type_of};

const TRADES: &str = "0~Coinbase~BTC~USD";

/// The `CCSEQ` of the next `n` trades after the snapshot.
async fn sequence(exchange: &Exchange, n: usize) -> Vec<u64> {
    let mut client = Client::connect(exchange).await;
    client.subscribe(&[TRADES]).await;
    client.until("3").await;
    let mut numbers = Vec::new();
    while numbers.len() < n {
        let frame = client.next().await.expect("the socket is open");
        if type_of(&frame) == "0" {
            let trade: Value = serde_json::from_str(&frame).unwrap();
            numbers.push(trade["CCSEQ"].as_u64().expect("every trade has one"));
        }
    }
    client.close().await;
    eventually(|| exchange.stats().open_sockets == 0).await;
    numbers
}

#[tokio::test]
async fn missing_trades_leave_holes_in_ccseq() {
    let exchange = start(busy()).await;
    let whole = sequence(&exchange, 50).await;
    assert!(whole.windows(2).all(|pair| pair[1] == pair[0] + 1), "{whole:?}");
    exchange.fault(Fault::MissingTrades { every: 5 }).unwrap();
    let holes = sequence(&exchange, 50).await;
    let steps: Vec<u64> = holes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The snapshot's 20 trades are counted too, so the live ones begin a group of five.
    assert!(steps.chunks(4).take(12).all(|four| four == [1, 1, 1, 2]), "{steps:?}");
    assert!(exchange.stats().withheld_frames >= 12);
}

#[tokio::test]
async fn duplicate_trades_come_again_and_none_is_lost() {
    let exchange = start(busy()).await;
    let fault = Fault::DuplicateTrades { probability: 0.5, window: 10, seed: 3 };
    exchange.fault(fault).unwrap();
    let numbers = sequence(&exchange, 200).await;
    let distinct: BTreeSet<u64> = numbers.iter().copied().collect();
    assert!((50..150).contains(&(numbers.len() - distinct.len())), "{numbers:?}");
    let live: Vec<u64> = distinct.into_iter().filter(|n| *n >= numbers[0]).collect();
    assert!(live.windows(2).all(|pair| pair[1] == pair[0] + 1), "{live:?}");
}

#[tokio::test]
async fn trades_come_out_of_order_and_none_is_lost() {
    let exchange = start(busy()).await;
    exchange.fault(Fault::OutOfOrder { window: 10, seed: 3 }).unwrap();
    let mut numbers = sequence(&exchange, 100).await;
    assert!(numbers.windows(2).filter(|pair| pair[0] > pair[1]).count() > 20, "{numbers:?}");
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn other_pairs_are_let_alone() {
    let exchange = start(busy()).await;
    exchange.fault(Order::new(Fault::MissingTrades { every: 1 }).on_subs(["0~Kraken~*"])).unwrap();
    let numbers = sequence(&exchange, 50).await;
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["0~Kraken~BTC~USD", TRADES]).await;
    let frames = client.until("3").await;
    assert!(frames.iter().all(|frame| !frame.contains(r#""M":"Kraken""#)), "{frames:?}");
}
