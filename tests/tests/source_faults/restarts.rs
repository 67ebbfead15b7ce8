//! The source stops and starts again, with the same state folder.

use crate::bench::{Bench, FLOOR, SUBS, Setup};
use crate::{Row, row};

pub(crate) fn rows() -> Vec<Row> {
    vec![
        row("the source is stopped, and started a second later", async {
            let mut bench = Bench::flowing().await;
            bench.stop_source().await.unwrap();
            bench.wait(1000).await;
            bench.start_source();
            bench.flows().await;
            let seen = bench.finish().await;
            for sub in SUBS {
                let gaps = seen.account.gaps_of(sub);
                assert_eq!(gaps.len(), 1, "{sub}: {gaps:?}");
                let length = gaps[0].gap_to.unwrap() - gaps[0].gap_from;
                assert!((1000..3000).contains(&length), "{sub}: {length} ms");
            }
            seen
        }),
        row(
            "the source is stopped and started at once: the least wait between sockets holds",
            async {
                let long = |settings: &mut tickpanda_source::Settings| {
                    settings.rules.reconnect.floor *= 20;
                    settings.rules.reconnect.ceiling = settings.rules.reconnect.floor;
                };
                let mut bench = Bench::start(Setup { adjust: long, ..Setup::default() }).await;
                bench.flows().await;
                bench.stop_source().await.unwrap();
                bench.start_source();
                bench.flows().await;
                let seen = bench.finish().await;
                seen.waited(&[20 * FLOOR - 100]);
                seen
            },
        ),
    ]
}
