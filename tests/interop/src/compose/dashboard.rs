//! Grafana's dashboard without Grafana, which can't be had: its queries are asked of the Prometheus that
//! the data source names, and what it says of itself must fit together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::ask;
use super::engine::repository;
use super::stack::Stack;

/// Prometheus looks for sources and sinks every ten seconds, and scrapes every five.
const PATIENCE: Duration = Duration::from_secs(90);
/// Counters that are not there before something was counted.
const MAY_BE_EMPTY: [&str; 1] = ["tickpanda_sink_dead_letters_total"];

/// Source, sink and the cluster are scraped. The local broker stands in for the cluster here: it counts its
/// transforms under Redpanda's names, and nothing else.
pub(super) async fn scraped(stack: Arc<Stack>) -> Result<()> {
    for job in ["tickpanda-source", "tickpanda-sink", "redpanda"] {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = ask(&stack, &format!("up{{job=\"{job}\"}} == 1")).await?;
            if told.contains(job) {
                break;
            }
            ensure!(Instant::now() < deadline, "{job} is not scraped: {told}");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    Ok(())
}

/// Each query of each panel gives at least one number, also those about the transform.
pub(super) async fn queried(stack: Arc<Stack>) -> Result<()> {
    let folder = repository().join("compose/grafana");
    let dashboard = std::fs::read(folder.join("dashboards/tickpanda.json"))?;
    let dashboard: Value = serde_json::from_slice(&dashboard)?;
    let source = std::fs::read_to_string(folder.join("provisioning/datasources/prometheus.yaml"))?;
    let (mut asked, mut of_transforms) = (0, 0);
    for panel in dashboard["panels"].as_array().context("panels")? {
        for target in panel["targets"].as_array().context("targets")? {
            let uid = target["datasource"]["uid"].as_str().context("a data source")?;
            ensure!(source.contains(&format!("uid: {uid}\n")), "no data source is called {uid}");
            let expression = target["expr"].as_str().context("an expression")?;
            let deadline = Instant::now() + PATIENCE;
            // A rate needs two scrapes.
            while ask(&stack, expression).await?.trim().is_empty() {
                if MAY_BE_EMPTY.iter().any(|name| expression.contains(name)) {
                    break;
                }
                ensure!(Instant::now() < deadline, "{expression} gives nothing");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            asked += 1;
            of_transforms += usize::from(expression.contains("redpanda_transform_"));
        }
    }
    ensure!(asked > 10 && of_transforms > 2, "{asked} queries, {of_transforms} of transforms");
    Ok(())
}
