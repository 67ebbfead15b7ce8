//! Sockets that live, and give nothing, or not everything.

use std::time::Duration;

use tickpanda_exchange::{Fault, Order};

use crate::bench::{Bench, CANDLES, FLOOR, INDEX, SILENCE, SUBS, Seen, Setup, TRADES, UNNUMBERED};
use crate::{Row, row};

/// Long enough for a busy sub's rhythm to be known.
const KNOWN: u64 = 1000;

/// Data of the trades stops, and is back a while after they were asked for again.
async fn one_sub(more: Option<Fault>) -> Seen {
    let mut bench = Bench::flowing().await;
    bench.wait(KNOWN).await;
    if let Some(fault) = more {
        bench.fault(fault);
    }
    let order = bench.fault(Order::new(Fault::HeartbeatsOnly).on_subs([TRADES]));
    let is_removed = |message: &tickpanda_exchange::ClientMessage| message.action == "SubRemove";
    bench.until("it subscribes again", |report, _| report.messages.iter().any(is_removed)).await;
    // The vendor has confirmed it by then, and there is no data all the same.
    bench.wait(300).await;
    bench.exchange.clear(order);
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert!(seen.alarms("data") >= 1);
    assert!(seen.messages("SubRemove").iter().all(|subs| *subs == [TRADES]), "nothing else");
    assert_eq!(seen.messages("SubAdd").len(), 1 + seen.messages("SubRemove").len());
    assert_eq!(seen.gaps(), ["trade/silent"]);
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("silent socket: open, and not a byte comes", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Order::new(Fault::Silent).on_sockets([1]));
            bench.sockets(2).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["silent"]);
            for sub in SUBS {
                let gap = seen.account.gaps_of(sub)[0];
                let length = u64::try_from(gap.gap_to.unwrap() - gap.gap_from).unwrap();
                let expected = SILENCE + FLOOR..SILENCE + 2 * FLOOR + 1000;
                assert!(expected.contains(&length), "{length} ms instead of {expected:?}");
            }
            seen
        }),
        row("silent socket that is cut a second later: found out late", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Order::new(Fault::Silent).on_sockets([1]));
            bench.wait(1000).await;
            bench.fault(Fault::Cut);
            bench.sockets(2).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["closed"]);
            for sub in SUBS {
                let gap = seen.account.gaps_of(sub)[0];
                let length = gap.gap_to.unwrap() - gap.gap_from;
                assert!(length >= 1000, "{length} ms: it begins with the last frame");
            }
            seen
        }),
        row("the vendor reads nothing, data goes on", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Fault::NotReading);
            bench.wait(SILENCE + 500).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            seen
        }),
        row("the vendor reads nothing from the start of a socket: SubAdd is never heard", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Order::new(Fault::NotReading).on_sockets([2]));
            bench.fault(Fault::Cut);
            bench.sockets(3).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["closed", "no_data"]);
            assert!(seen.alarms("from_start") >= SUBS.len() as u64, "each sub, and then all");
            assert!(seen.report.messages.iter().all(|message| message.socket != 2));
            seen
        }),
        row("heartbeats without data, all subs", async {
            let mut bench = Bench::flowing().await;
            bench.wait(KNOWN).await;
            bench.fault(Order::new(Fault::HeartbeatsOnly).on_sockets([1]));
            bench.sockets(2).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["no_data"]);
            assert!(seen.alarms("data") >= 1);
            let again = seen.messages("SubRemove");
            assert!(
                again.contains(&vec![TRADES.to_owned()]),
                "it subscribes again first: {again:?}"
            );
            seen
        }),
        row("heartbeats without data, one sub", one_sub(None)),
        row("the same, and SubRemove is answered SUBSCRIPTION_UNRECOGNIZED", async {
            let seen = one_sub(Some(Fault::Unrecognized)).await;
            assert!(seen.struck("unrecognized") >= 1);
            seen
        }),
        row("silent from the start: one sub confirmed, and no data of it", async {
            let orders = vec![Order::new(Fault::HeartbeatsOnly).on_subs([TRADES])];
            let mut bench = Bench::start(Setup { orders, ..Setup::default() }).await;
            bench.flow_of(&[UNNUMBERED, CANDLES, INDEX]).await;
            let is_removed =
                |message: &tickpanda_exchange::ClientMessage| message.action == "SubRemove";
            bench
                .until("it subscribes again", |report, _| report.messages.iter().any(is_removed))
                .await;
            bench.exchange.clear_all();
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            assert!(seen.alarms("from_start") >= 1);
            assert!(seen.messages("SubRemove").iter().all(|subs| *subs == [TRADES]));
            seen
        }),
        row("a quiet pair: pauses longer than the least patience", async {
            let setup = Setup { subs: &[CANDLES, UNNUMBERED], rate: 190, ..Setup::default() };
            let mut bench = Bench::start(setup).await;
            // About one candle a second, of which twenty make a rhythm.
            bench.wait(1000).await;
            bench
                .until("a rhythm is known", |report, _| {
                    report.sent.get(CANDLES).copied().unwrap_or(0) >= 26
                })
                .await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            assert_eq!(seen.alarms("data") + seen.alarms("from_start"), 0);
            assert_eq!(seen.messages("SubRemove").len(), 0);
            assert!(seen.account.longest_pause_ms(CANDLES) > 600, "else it proves nothing");
            seen
        }),
        row("data without heartbeats and pings", async {
            let orders = vec![Order::new(Fault::NoHeartbeats)];
            let mut bench = Bench::start(Setup { orders, ..Setup::default() }).await;
            bench.wait(SILENCE + 500).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            seen
        }),
        row("neither data nor heartbeats for less than the limit", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Order::new(Fault::Silent).lasting(Duration::from_millis(SILENCE / 3)));
            bench.wait(SILENCE / 3).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            let missed = SUBS.map(|sub| seen.account.missed_before_the_stop(sub));
            assert_eq!(missed, [0; 4], "it came later");
            seen
        }),
    ]
}
