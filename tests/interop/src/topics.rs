//! tickpanda's topics on any cluster, as `rpk/topics.conf` has them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use tickpanda_kafka::{Client, ClientConfig, Creation, TopicSpec};

const CONF: &str = include_str!("../../../rpk/topics.conf");

/// Creates all of them on an empty cluster.
pub(crate) async fn create(brokers: &str, partitions: i32) -> Result<()> {
    let client = Client::connect(&[brokers.to_owned()], ClientConfig::default()).await?;
    let lines = CONF.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    let specs = lines.map(|line| spec(line, partitions)).collect::<Result<Vec<_>>>()?;
    for (spec, made) in specs.iter().zip(client.create_topics(&specs).await?) {
        ensure!(made == Creation::Created, "topic {} was there already", spec.name);
    }
    Ok(())
}

/// `name partitions key=value …`, where `P` stands for the count that raw and output topics share.
fn spec(line: &str, partitions: i32) -> Result<TopicSpec> {
    let mut words = line.split_whitespace();
    let name = words.next().context("no name")?.to_owned();
    let partitions = match words.next().context("no partitions")? {
        "P" => partitions,
        count => count.parse()?,
    };
    let settings = words.map(|word| {
        let (key, value) = word.split_once('=').with_context(|| format!("{word}: no setting"))?;
        Ok((key.to_owned(), value.to_owned()))
    });
    let settings = settings.collect::<Result<BTreeMap<_, _>>>()?;
    Ok(TopicSpec { name, partitions, replication_factor: 1, settings })
}
