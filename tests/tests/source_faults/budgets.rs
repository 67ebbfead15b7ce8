//! What the welcome says that is left.

use tickpanda_exchange::{Fault, Order};

use crate::bench::{Bench, SUBS, Seen, Setup};
use crate::{Row, row};

const NOTHING_SAID: Fault = Fault::WelcomeBudget {
    sockets: None,
    second: None,
    minute: None,
    hour: None,
    day: None,
    month: None,
};

/// The first welcome says this, then the socket is cut.
async fn welcomed(fault: Fault) -> Bench {
    let orders = vec![Order::new(fault).times(1)];
    let mut bench = Bench::start(Setup { orders, ..Setup::default() }).await;
    bench.flows().await;
    bench.fault(Fault::Cut);
    bench
}

/// No attempt is made for a while.
async fn none_left(fault: Fault) -> Seen {
    let mut bench = welcomed(fault).await;
    bench.metric("reconnects{cause=\"closed\"}", 1).await;
    bench.wait(2500).await;
    let seen = bench.finish().await;
    assert_eq!(seen.report.openings.len(), 1);
    seen
}

pub(crate) fn rows() -> Vec<Row> {
    let with = |change: fn(&mut Fault)| {
        let mut fault = NOTHING_SAID;
        change(&mut fault);
        fault
    };
    macro_rules! left {
        ($field:ident) => {
            with(|fault| {
                if let Fault::WelcomeBudget { $field, .. } = fault {
                    *$field = Some(0);
                }
            })
        };
    }
    let (second, minute, hour) = (left!(second), left!(minute), left!(hour));
    let (day, month, sockets) = (left!(day), left!(month), left!(sockets));
    vec![
        row("welcome with RATELIMIT_REMAINING_SECOND 0", async {
            let mut bench = welcomed(second).await;
            bench.sockets(2).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&["closed"]);
            assert!(seen.apart()[0] >= 1000, "{:?}", seen.apart());
            seen
        }),
        row("welcome with RATELIMIT_REMAINING_MINUTE 0: 2.5 s looked at", none_left(minute)),
        row("welcome with RATELIMIT_REMAINING_HOUR 0: 2.5 s looked at", none_left(hour)),
        row("welcome with RATELIMIT_REMAINING_DAY 0: 2.5 s looked at", none_left(day)),
        row("welcome with RATELIMIT_REMAINING_MONTH 0: 2.5 s looked at", none_left(month)),
        row("welcome with SOCKETS_REMAINING 0, two sockets wanted", async {
            let setup = Setup {
                orders: vec![Order::new(sockets).times(1)],
                max_sockets: 2,
                adjust: |settings| {
                    (settings.sockets, settings.subs_per_socket, settings.capacity) = (2, 2, 4);
                },
                ..Setup::default()
            };
            let mut bench = Bench::start(setup).await;
            bench.sockets(2).await;
            bench.flows().await;
            let seen = bench.finish().await;
            seen.ended_by(&[]);
            // As long as after TOO_MANY_SOCKETS at the most, then it tries all the same.
            assert!(seen.apart()[0] >= 1600, "{:?}", seen.apart());
            let asked: usize = seen.messages("SubAdd").iter().map(Vec::len).sum();
            assert_eq!((seen.messages("SubAdd").len(), asked), (2, SUBS.len()));
            seen
        }),
    ]
}
