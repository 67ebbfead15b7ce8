//! Frames that are odd, repeated, out of order, missing, or come in pieces.

use tickpanda_exchange::{Fault, Garbage, Order};

use crate::bench::{Bench, Seen, Setup, TRADES};
use crate::{Row, row};

/// Frames that nobody asked for, so many.
const MANY: u64 = 5;

/// They come between the others; the socket stays.
async fn between(fault: Fault, name: &'static str) -> Seen {
    let mut bench = Bench::flowing().await;
    bench.fault(Order::new(fault).times(MANY));
    bench.until("all of them have come", |report, _| report.struck.get(name) == Some(&MANY)).await;
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert_eq!(seen.account.extras.0 as u64, MANY);
    seen
}

async fn garbage(what: Garbage) -> Seen {
    let seen = between(Fault::Garbage { what }, "garbage").await;
    assert_eq!(seen.account.extras.1 as u64, MANY, "verbatim on the raw topic");
    seen
}

/// A frame that no client can take ends the socket.
async fn unacceptable(fault: Fault) -> Seen {
    let mut bench = Bench::flowing().await;
    bench.fault(fault);
    bench.sockets(2).await;
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&["closed"]);
    assert_eq!(seen.account.extras, (1, 0));
    seen
}

/// Lies on the socket from its start.
async fn in_pieces(fault: Fault) -> Seen {
    let setup = Setup { orders: vec![fault.into()], rate: 300, ..Setup::default() };
    let mut bench = Bench::start(setup).await;
    bench.flows().await;
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    seen
}

/// Done to the trades for a while.
async fn to_trades(fault: Fault) -> Seen {
    let mut bench = Bench::flowing().await;
    let order = bench.fault(Order::new(fault).on_subs([TRADES]));
    bench.wait(1500).await;
    bench.exchange.clear(order);
    bench.flows().await;
    // As long as a number that was skipped may still come.
    bench.wait(1500).await;
    let seen = bench.finish().await;
    seen.ended_by(&[]);
    assert_eq!(seen.gaps(), Vec::<String>::new(), "nothing is missing");
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("`{}`", between(Fault::EmptyFrame, "empty_frame")),
        row("garbage: no JSON", garbage(Garbage::NotJson)),
        row("garbage: half a trade", garbage(Garbage::Truncated)),
        row("garbage: bytes in a binary frame", garbage(Garbage::Binary)),
        row("garbage: no UTF-8 in a binary frame", garbage(Garbage::InvalidUtf8)),
        row("garbage: a frame without a byte", garbage(Garbage::Nothing)),
        row("garbage: no UTF-8 in a text frame (against RFC 6455)", {
            unacceptable(Fault::Garbage { what: Garbage::InvalidText })
        }),
        row("a frame of 2 MiB, larger than the topic takes", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Fault::Oversized { bytes: 2 << 20 });
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            assert_eq!((seen.account.extras, seen.account.too_large), ((1, 1), 1));
            seen
        }),
        row("a frame of 17 MiB, larger than a message may be", {
            unacceptable(Fault::Oversized { bytes: 17 << 20 })
        }),
        row("messages in 3 fragments", in_pieces(Fault::Fragments { parts: 3 })),
        row("writes of 11 bytes", in_pieces(Fault::ChoppedWrites { bytes: 11 })),
        row("trades out of order, in groups of 10", async {
            let seen = to_trades(Fault::OutOfOrder { window: 10, seed: 1 }).await;
            assert!(seen.struck("out_of_order") > 0);
            seen
        }),
        row("trades that come twice", async {
            let fault = Fault::DuplicateTrades { probability: 0.5, window: 5, seed: 1 };
            let seen = to_trades(fault).await;
            assert!(seen.struck("duplicate_trades") > 20);
            seen
        }),
        row("trades that are missing, by CCSEQ", async {
            let mut bench = Bench::flowing().await;
            let missing = Fault::MissingTrades { every: 5 };
            bench.fault(Order::new(missing).on_subs([TRADES]).times(7));
            bench
                .until("7 are left out", |report, _| {
                    report.struck.get("missing_trades") == Some(&7)
                })
                .await;
            bench.metric("gaps{kind=\"trade\",reason=\"missing_ccseq\"}", 1).await;
            bench.wait(2000).await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            let gaps = seen.account.gaps_of(TRADES);
            // Two that were missing among trades that came together are one gap.
            let missing: Vec<i64> = gaps.iter().filter_map(|gap| gap.missing).collect();
            assert_eq!((missing.len(), missing.iter().sum::<i64>()), (gaps.len(), 7));
            assert_eq!(seen.account.missed_before_the_stop(TRADES), 7);
            seen
        }),
    ]
}
