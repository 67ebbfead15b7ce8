//! What the vendor says to a SubAdd.

use tickpanda_exchange::{Fault, Order};

use crate::bench::{Bench, CANDLES, INDEX, SUBS, Seen, Setup, TRADES, UNNUMBERED};
use crate::{Row, row};

/// The fault is there from the start; data of these comes, and the source says so much of its socket.
async fn answered(order: Order, give: &[&str], detail: &str) -> Seen {
    let mut bench = Bench::start(Setup { orders: vec![order], ..Setup::default() }).await;
    bench.flow_of(give).await;
    bench.wait(1500).await;
    bench.flow_of(give).await;
    let state = bench.state().await;
    assert_eq!(state["regions"][0]["detail"], detail, "{state}");
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert_eq!(seen.messages("SubAdd").len(), 1, "it is asked once");
    assert_eq!(seen.gaps(), Vec::<String>::new());
    let arrived: Vec<&str> =
        SUBS.into_iter().filter(|sub| seen.report.sent.get(*sub).is_some_and(|n| *n > 0)).collect();
    assert_eq!(arrived, give);
    seen
}

/// A SubAdd without effect: the watchdog finds that nothing comes, and asks again.
async fn unheard(fault: Fault) -> Seen {
    let orders = vec![Order::new(fault).times(1)];
    let mut bench = Bench::start(Setup { orders, ..Setup::default() }).await;
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert_eq!(seen.alarms("from_start"), SUBS.len() as u64);
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("429 TOO_MANY_SUBSCRIPTIONS_MAX_2_PER_SOCKET, four wanted", {
            let order = Order::new(Fault::TooManySubscriptions { max: 2 });
            answered(order, &[TRADES, UNNUMBERED], "2 of 4 subs are on, 2 refused")
        }),
        row("500 INVALID_SUB for one of four", {
            let order = Order::new(Fault::InvalidSub).on_subs([UNNUMBERED]);
            answered(order, &[TRADES, CANDLES, INDEX], "3 of 4 subs are on, 1 refused")
        }),
        row("500 SUBSCRIPTION_ALREADY_ACTIVE for all", {
            answered(Order::new(Fault::AlreadyActive), &SUBS, "4 of 4 subs are on")
        }),
        row("500 INVALID_JSON to the SubAdd", unheard(Fault::InvalidJson)),
        row("500 INVALID_PARAMETER to the SubAdd", unheard(Fault::InvalidParameter)),
    ]
}
