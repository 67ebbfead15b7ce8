//! Every fault of the exchange, with the real source against it, in compressed time: what the source does, and
//! what becomes of each frame.
//!
//! | module | what |
//! |---|---|
//! | `bench` | source, exchange and broker, and what they have to say afterwards |
//! | `books` | what was handed over against what is on the topics |
//! | `openings`, `endings` | sockets that do not come to be, or end |
//! | `silence` | sockets that live and give nothing |
//! | `data` | frames that are odd, missing, repeated, cut into pieces |
//! | `answers` | what the vendor says to a subscription |
//! | `budgets` | what the welcome allows |
//! | `rest` | the history |
//! | `restarts` | the source stops and starts |
//!
//! `TICKPANDA_FAULT_TABLE=FILE` writes the table that `--nocapture` shows, `TICKPANDA_FAULT_ONLY=TEXT` leaves out
//! faults without that text in their names.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use bench::{FLOOR, Seen};

mod answers;
mod bench;
mod books;
mod budgets;
mod data;
mod endings;
mod openings;
mod rest;
mod restarts;
mod silence;

/// Rows at work at once: they mostly wait.
const AT_ONCE: usize = 8;

/// A fault, and the test of it.
pub(crate) struct Row {
    fault: String,
    work: Pin<Box<dyn Future<Output = Seen> + Send>>,
}

pub(crate) fn row(
    fault: impl Into<String>,
    work: impl Future<Output = Seen> + Send + 'static,
) -> Row {
    Row { fault: fault.into(), work: Box::pin(work) }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_fault_of_the_vendors_costs_a_frame_and_what_it_did_not_send_is_told_of() {
    let only = std::env::var("TICKPANDA_FAULT_ONLY").unwrap_or_default();
    let rows = [
        openings::rows(),
        endings::rows(),
        silence::rows(),
        data::rows(),
        answers::rows(),
        budgets::rows(),
        rest::rows(),
        restarts::rows(),
    ];
    let rows = rows.into_iter().flatten().filter(|row| row.fault.contains(&only));
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = Vec::new();
    for Row { fault, work } in rows {
        let permits = Arc::clone(&permits);
        let task = tokio::spawn(async move {
            let _permit = permits.acquire().await.unwrap();
            let seen = work.await;
            seen.account.check();
            assert!(
                seen.apart().iter().all(|ms| *ms >= FLOOR),
                "the vendor's 5 s: {:?}",
                seen.apart()
            );
            seen
        });
        tasks.push((fault, task));
    }
    let mut table = String::from(
        "| fault | what the source did | data frames handed over | on the raw topic | handed over and unread at a socket's end | due and not received, all told of as gaps | lost |\n|---|---|---|---|---|---|---|\n",
    );
    let mut failed = Vec::new();
    for (fault, task) in tasks {
        let Ok(seen) = task.await else {
            failed.push(fault);
            continue;
        };
        let account = &seen.account;
        let (handed, arrived, unread) = (account.handed, account.arrived, account.unread);
        let (in_gaps, lost) = (account.in_gaps, account.lost.len());
        let what = seen.what();
        writeln!(
            table,
            "| {fault} | {what} | {handed} | {arrived} | {unread} | {in_gaps} | {lost} |"
        )
        .unwrap();
    }
    println!("{table}");
    if let Ok(path) = std::env::var("TICKPANDA_FAULT_TABLE") {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(failed, Vec::<String>::new(), "see the panics above");
}
