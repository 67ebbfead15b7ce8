//! The topics of `rpk/topics.conf`, which a cluster's deploy script reads too, and the transform
//! between them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tickpanda_broker::{Broker, TopicView, TransformState};
use tickpanda_model::topic;
use tokio::time::{Instant, sleep};

use crate::admin::{Admin, Description, Offset};

/// Name of the transform, and the beginning of its name on further raw topics.
const TRANSFORM: &str = "tickpanda-transform";
/// Compiling takes a fraction of a second, more where everything else is being built at the same time.
const COMPILED: Duration = Duration::from_secs(60);
const CONF: &str = include_str!("../../../rpk/topics.conf");

/// One topic to create.
#[derive(Debug, PartialEq, Eq)]
struct Topic {
    name: &'static str,
    partitions: i32,
    settings: Vec<(&'static str, &'static str)>,
}

/// All topics, with `partitions` for those that must share one count.
fn all(partitions: i32) -> Result<Vec<Topic>> {
    let lines = CONF.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| parse(line, partitions).with_context(|| format!("topics.conf: {line}")))
        .collect()
}

/// Creates what is missing; `settled` may take settings away.
pub(crate) fn create(
    broker: &Broker,
    partitions: i32,
    settled: impl Fn(&'static str) -> bool,
) -> Result<()> {
    for topic in all(partitions)? {
        let mut settings = topic.settings;
        settings.retain(|(key, _)| settled(key));
        broker.create_topic(topic.name, topic.partitions, &settings)?;
    }
    Ok(())
}

/// Our transform on its way to a broker that is started here, over the broker's Admin API as with rpk.
#[derive(Debug)]
pub(crate) struct Deployer {
    admin: Admin,
    wasm: PathBuf,
    /// Further raw topics that it has looked after.
    adopted: BTreeSet<String>,
}

impl Deployer {
    /// For a broker that has an Admin API.
    pub(crate) fn new(broker: &Broker, wasm: &Path) -> Result<Self> {
        let address = broker.admin_addr().context("the broker was started without an Admin API")?;
        let (admin, wasm) = (Admin::new(address)?, wasm.to_owned());
        Ok(Self { admin, wasm, adopted: BTreeSet::new() })
    }

    /// Deploys the transform, from the beginning of the raw topic where it has not run before.
    pub(crate) async fn deploy(&self, broker: &Broker) -> Result<()> {
        self.deploy_on(broker, topic::RAW, TRANSFORM).await
    }

    /// Deploys a transform for each further raw topic that nothing else reads: a source creates one when a
    /// subscription names it (on a cluster that is the operator's to do). A further raw topic is one that
    /// nobody here knows and that was made with the raw topic's settings and partition count.
    pub(crate) async fn adopt(&mut self, broker: &Broker) -> Result<()> {
        for topic in further_raw_topics(broker) {
            let name = format!("{TRANSFORM}-{topic}");
            let found = broker.topics().into_iter().find(|found| found.name == topic);
            // Ours from an earlier start runs its old module.
            let foreign = found.and_then(|it| it.read_by).is_some_and(|reader| reader != name);
            if foreign || self.adopted.contains(&topic) {
                continue;
            }
            self.deploy_on(broker, &topic, &name).await?;
            tracing::info!(%topic, "a further raw topic: the transform reads it too");
            self.adopted.insert(topic);
        }
        Ok(())
    }

    async fn deploy_on(&self, broker: &Broker, input: &str, name: &str) -> Result<()> {
        let wasm = self.wasm.display();
        let module = std::fs::read(&self.wasm);
        let module = module.with_context(|| format!("cannot read the transform {wasm}"))?;
        let description = Description {
            name,
            input_topic: input,
            output_topics: &topic::OUTPUTS,
            offset: Some(Offset::EARLIEST),
        };
        let deployed = self.admin.deploy(&description, &module).await;
        deployed.with_context(|| format!("cannot deploy {wasm} to {input}"))?;
        compiled(broker, name).await.with_context(|| format!("{wasm} is deployed and can't run"))
    }
}

/// Waits until the module is compiled: a deploy says nothing about that.
async fn compiled(broker: &Broker, name: &str) -> Result<()> {
    let deadline = Instant::now() + COMPILED;
    loop {
        let status = broker.transform_status().into_iter().find(|it| it.name == name);
        let states = status.into_iter().flat_map(|it| it.partitions).map(|it| it.state);
        let unknown: Vec<String> = states
            .filter_map(|state| match state {
                TransformState::Unknown(why) => Some(why),
                _ => None,
            })
            .collect();
        match unknown.first() {
            None => return Ok(()),
            Some(why) if !why.is_empty() => bail!("{why}"),
            Some(_) if Instant::now() > deadline => {
                bail!("it is not compiled after {} s", COMPILED.as_secs())
            }
            Some(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// See [`Deployer::adopt`].
pub(crate) fn further_raw_topics(broker: &Broker) -> Vec<String> {
    let known = all(1).unwrap_or_default();
    let topics = broker.topics();
    let Some(raw) = topics.iter().find(|found| found.name == topic::RAW) else { return vec![] };
    // What the contract fixes; how long it is kept is everybody's own choice.
    let same = |found: &TopicView| {
        found.partitions == raw.partitions
            && ["max.message.bytes", "message.timestamp.type"]
                .iter()
                .all(|key| found.settings.get(key) == raw.settings.get(key))
    };
    let unknown = |found: &&TopicView| !known.iter().any(|topic| topic.name == found.name);
    topics.iter().filter(unknown).filter(|found| same(found)).map(|f| f.name.clone()).collect()
}

fn parse(line: &'static str, shared: i32) -> Result<Topic> {
    let mut words = line.split_whitespace();
    let (Some(name), Some(count)) = (words.next(), words.next()) else {
        bail!("a line is: name, partitions, settings");
    };
    let partitions = if count == "P" { shared } else { count.parse().context("partitions")? };
    let setting = |word: &'static str| word.split_once('=').context("a setting is key=value");
    Ok(Topic { name, partitions, settings: words.map(setting).collect::<Result<_>>()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickpanda_model::limit::RAW_RECORD;

    #[test]
    fn raw_and_output_topics_share_one_partition_count() {
        let topics = all(6).unwrap();
        let partitions = |name| topics.iter().find(|t| t.name == name).unwrap().partitions;
        for name in [topic::RAW, topic::TICKS, topic::CANDLES, topic::DEAD_LETTERS] {
            assert_eq!(partitions(name), 6, "{name}");
        }
        for name in [topic::CONTROL, topic::CONTROL_REPLIES, topic::GAPS] {
            assert_eq!(partitions(name), 1, "{name}");
        }
    }

    /// Value of a setting of a topic.
    fn setting(topic: &str, key: &str) -> &'static str {
        let topics = all(1).unwrap();
        let topic = topics.iter().find(|t| t.name == topic).unwrap();
        topic.settings.iter().find(|(name, _)| *name == key).unwrap().1
    }

    #[test]
    fn the_raw_topic_takes_no_more_than_the_transform_survives_and_the_outputs_what_it_writes() {
        assert_eq!(setting(topic::RAW, "max.message.bytes"), RAW_RECORD.to_string());
        for output in topic::OUTPUTS {
            // Whatever the module may hold twice, with the memory that .bootstrap.yaml gives it.
            assert_eq!(setting(output, "max.message.bytes"), (16 << 20).to_string());
        }
    }

    #[test]
    fn the_brokers_write_buffer_fits_into_one_batch_of_the_compose_files_core() {
        let conf = include_str!("../../../rpk/.bootstrap.yaml");
        let value = |key: &str| -> usize {
            let line = conf.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
            line.unwrap().parse().unwrap()
        };
        let compose = include_str!("../../../docker-compose.yml");
        assert!(compose.contains("--smp=1\n") && compose.contains("--memory=1G\n"));
        let percent = value("data_transforms_write_buffer_memory_percentage");
        let buffer = (1usize << 30) / 95 * 10 / 100 * percent;
        assert!((12 << 20..16 << 20).contains(&buffer), "{buffer}");
        let limit = value("data_transforms_per_function_memory_limit");
        assert_eq!(value("data_transforms_per_core_memory_reservation") / limit, 4);
    }

    #[test]
    fn the_raw_topic_keeps_the_sources_timestamps() {
        assert_eq!(setting(topic::RAW, "message.timestamp.type"), "CreateTime");
    }
}
