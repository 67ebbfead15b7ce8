//! Sockets that do not come to be. Each row: data flows, the socket is cut, the next attempts meet the fault.

use tickpanda_exchange::{Fault, Order};

use crate::bench::{Bench, CONNECT, CROWDED, FLOOR, Seen, Setup, WELCOME};
use crate::{Row, row};

async fn met(fault: Fault, attempts: u64) -> Seen {
    let mut bench = Bench::flowing().await;
    bench.fault(Order::new(fault).times(attempts));
    bench.fault(Fault::Cut);
    bench.sockets(2 + usize::try_from(attempts).unwrap()).await;
    bench.flows().await;
    let seen = bench.finish().await;
    assert_eq!(seen.report.openings.len() as u64, 2 + attempts, "one attempt after the other");
    seen
}

/// The key is refused in the middle of the day.
async fn refused(fault: Fault) -> Seen {
    let bench = Bench::flowing().await;
    bench.fault(fault);
    bench.fault(Fault::Cut);
    // It has worked before: the source goes on, and asks again in an hour.
    bench.wait(20 * FLOOR).await;
    let seen = bench.finish().await;
    seen.ended_by(&["closed", "unauthorized"]);
    assert_eq!(seen.report.openings.len(), 2, "it does not loop");
    seen
}

/// Exactly so many sockets, and an exit code of its own.
async fn ended(mut bench: Bench, sockets: usize) -> Seen {
    let error = bench.end().await;
    bench.wait(5 * FLOOR).await;
    let mut seen = bench.finish().await;
    assert_eq!((error.exit_code(), seen.report.openings.len()), (3, sockets), "{error}");
    seen.ended = Some(error.exit_code().into());
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("half-open connection: accepted, the upgrade never answered", async {
            let seen = met(Fault::HalfOpen, 1).await;
            seen.ended_by(&["closed", "connect_failed"]);
            // Of the two attempts the first one lasts until the limit.
            assert!(seen.apart()[1] >= CONNECT + 2 * FLOOR, "{:?}", seen.apart());
            seen
        }),
        row("connections that are dropped at once, four in a row", async {
            let seen = met(Fault::DropAtOnce, 4).await;
            seen.ended_by(&["closed", "connect_failed ×4"]);
            seen.waited(&[FLOOR, 2 * FLOOR, 4 * FLOOR, 8 * FLOOR, 16 * FLOOR]);
            seen
        }),
        row("HTTP 502 at the upgrade, twice", async {
            let seen = met(Fault::UpgradeStatus { status: 502 }, 2).await;
            seen.ended_by(&["closed", "connect_failed ×2"]);
            seen.waited(&[FLOOR, 2 * FLOOR, 4 * FLOOR]);
            seen
        }),
        row("HTTP 429 at the upgrade, twice", async {
            let seen = met(Fault::UpgradeStatus { status: 429 }, 2).await;
            seen.ended_by(&["closed", "crowded ×2"]);
            seen.waited(&[FLOOR, CROWDED, 2 * CROWDED]);
            seen
        }),
        row("429 TOO_MANY_SOCKETS_MAX_1_PER_CLIENT, twice", async {
            let seen = met(Fault::TooManySockets, 2).await;
            seen.ended_by(&["closed", "crowded ×2"]);
            seen.waited(&[FLOOR, CROWDED, 2 * CROWDED]);
            seen
        }),
        row("429 RATE_LIMIT_OPENING_SOCKETS_TOO_FAST, twice", async {
            let seen = met(Fault::OpeningTooFast, 2).await;
            seen.ended_by(&["closed", "crowded ×2"]);
            seen.waited(&[FLOOR, CROWDED, 2 * CROWDED]);
            seen
        }),
        row("no welcome", async {
            let seen = met(Fault::NoWelcome, 1).await;
            seen.ended_by(&["closed", "no_welcome"]);
            assert!(seen.apart()[1] >= WELCOME + FLOOR, "{:?}", seen.apart());
            assert!(seen.report.messages.iter().all(|message| message.socket != 2));
            seen
        }),
        row("HTTP 401 at the upgrade", refused(Fault::UpgradeStatus { status: 401 })),
        row("401 as a frame", refused(Fault::Unauthorized)),
        row("HTTP 401 at the very first upgrade", async {
            let orders = vec![Order::new(Fault::UpgradeStatus { status: 401 })];
            ended(Bench::start(Setup { orders, ..Setup::default() }).await, 1).await
        }),
        row("401 as the very first frame", async {
            let orders = vec![Order::new(Fault::Unauthorized)];
            ended(Bench::start(Setup { orders, ..Setup::default() }).await, 1).await
        }),
    ]
}
