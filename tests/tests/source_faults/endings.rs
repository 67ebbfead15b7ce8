//! Sockets that end.

use tickpanda_exchange::{Fault, Order};

use crate::bench::{Bench, FLOOR, SUBS, Seen};
use crate::{Row, row};

async fn ended(fault: Fault, cause: &str) -> Seen {
    let mut bench = Bench::flowing().await;
    bench.fault(fault);
    bench.sockets(2).await;
    bench.flows().await;
    let seen = bench.finish().await;
    seen.ended_by(&[cause]);
    seen.waited(&[FLOOR]);
    assert_eq!(seen.report.openings.len(), 2);
    for sub in SUBS {
        let gaps = seen.account.gaps_of(sub);
        assert!(gaps.len() == 1 && gaps[0].gap_to.is_some(), "{sub}: {gaps:?}");
    }
    seen
}

/// Whoever says goodbye has sent everything before, and all of it was read.
async fn goodbye(fault: Fault, cause: &str) -> Seen {
    let seen = ended(fault, cause).await;
    let of_the_stop = seen.report.openings.len() as u64;
    assert_eq!(seen.account.unread_of(1), 0, "of socket 1 of {of_the_stop}");
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("the weekly kick, with a close frame", goodbye(Fault::Kick, "closed")),
        row("the weekly kick, without a close frame", ended(Fault::Cut, "closed")),
        row("FORCE_DISCONNECT", goodbye(Fault::ForceDisconnect, "force_disconnect")),
        row("reset by the peer (RST)", ended(Fault::Reset, "closed")),
        row("cut in the middle of a frame", ended(Fault::CutMidFrame, "closed")),
        row("welcomed and dropped, five in a row", async {
            let mut bench = Bench::flowing().await;
            bench.fault(Order::new(Fault::Cut).times(6));
            bench.sockets(7).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["closed ×6"]);
            // A welcome alone does not make it hope: only data does.
            seen.waited(&[FLOOR, 2 * FLOOR, 4 * FLOOR, 8 * FLOOR, 16 * FLOOR, 16 * FLOOR]);
            seen
        }),
    ]
}
