//! Redpanda's own Go client for the Admin API against the local broker and the demo.
//!
//! The client is rpadmin, which rpk is made with: what it sends and how it reads an answer is what `rpk transform`
//! does. The guests are those of the conformance tests, so transforms that are not ours run too.
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | the Go program, a call a process |
//! | [`local`] | `tickpanda broker` as a process, and records in and out of it |
//! | [`life`] | deploying, listing, pausing, changing, removing, restarting |
//! | [`rules`] | what is refused, with Redpanda's sentences |
//! | [`demo`] | the running demo, as a cluster would show it |

mod client;
mod demo;
mod life;
mod local;
mod rules;

use client::Rpadmin;

use crate::table::{Peer, Table};
use crate::tools;

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    let rpadmin = match Rpadmin::build().await {
        Ok(rpadmin) => rpadmin,
        Err(error) => {
            return table.not_begun("rpadmin", "the Admin API for transforms", &error);
        }
    };
    let version = tools::go_version("rpadmin", "github.com/redpanda-data/common-go/rpadmin");
    let peer = Peer::new("rpadmin (Redpanda's Go client, rpk's own)", version);
    life::rows(table, &peer, &rpadmin).await;
    rules::rows(table, &peer, &rpadmin).await;
    demo::rows(table, &peer, &rpadmin).await;
}
