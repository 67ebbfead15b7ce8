//! The running demo through Redpanda's client: our transform on each partition, with its lag.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tickpanda_model::topic;
use tickpanda_tests::demo::{Running, demo};

use super::client::Rpadmin;
use super::local::PATIENCE;
use crate::table::{Peer, Table};

pub(super) async fn rows(table: &mut Table, peer: &Peer, rpadmin: &Rpadmin) {
    let what = "the demo's list shows tickpanda-transform running on each partition, with lag";
    table.check(peer, what, shown(rpadmin.clone())).await;
}

/// With the broker's own waits, records wait up to a second and a half to be transformed: there is a lag to see.
async fn shown(rpadmin: Rpadmin) -> Result<()> {
    let work = tempfile::tempdir().context("a folder for the demo")?;
    let mut command = demo(work.path(), None);
    command
        .args(["--timing", "broker", "--rate", "2000", "--data-dir"])
        .arg(work.path().join("data"));
    let mut running = Running::start(&mut command);
    let address = tokio::task::block_in_place(|| {
        running.wait_for("the Admin API's address", |line| {
            line.strip_prefix("admin ")?.split_whitespace().next().map(str::to_owned)
        })
    });
    let client = rpadmin.at(address);
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        let list = client.call(&["list"]).await?;
        let ours = &list[0];
        let partitions = ours["status"].as_array().context("its partitions")?;
        let runs = |it: &Value| it["status"] == "running";
        let lag: u64 = partitions.iter().filter_map(|it| it["lag"].as_u64()).sum();
        if partitions.len() == 4 && partitions.iter().all(runs) && lag > 0 {
            eprintln!("{}", serde_json::to_string_pretty(&list)?);
            ensure!(ours["name"] == "tickpanda-transform", "{ours}");
            ensure!(ours["input_topic"] == topic::RAW, "{ours}");
            ensure!(ours["output_topics"] == serde_json::json!(topic::OUTPUTS), "{ours}");
            break;
        }
        ensure!(Instant::now() < deadline, "it never ran on each partition with a lag: {list}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    running.interrupt();
    let ended = tokio::task::block_in_place(|| running.wait());
    ensure!(ended.success(), "the demo ended with {ended}");
    Ok(())
}
