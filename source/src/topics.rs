//! Creating topics on the cluster: those that operators talk through, and raw topics that a command
//! asks for.
//!
//! The source's own raw topic is never created here: its partition count must be that of the
//! transform's output topics, which is the operator's choice. Another raw topic takes its count from it.

use std::collections::BTreeMap;
use std::time::Duration;

use tickpanda_kafka::{Brokers, Client, ClientConfig, Creation, KafkaError, TopicSpec};
use tokio::time::{Instant, sleep};

use crate::settings::Topics;

/// How long records stay on the topics that people look at: 30 days, as in `rpk/topics.conf`.
const RETENTION_MS: &str = "2592000000";
/// A setting by which a broker with transforms inside says which one reads a topic.
const TRANSFORM: &str = "tickpanda.transform";
/// How long such a broker may take until it says so.
const TRANSFORM_PATIENCE: Duration = Duration::from_secs(2);

/// A client of the cluster. Where whoever asks retries anyway, `retry_for` is nothing.
///
/// # Errors
/// No broker answers.
pub async fn client(brokers: &Brokers, retry_for: Duration) -> Result<Client, KafkaError> {
    let config = ClientConfig {
        client_id: "tickpanda-source".to_owned(),
        retry_for,
        security: brokers.security.clone(),
        ..ClientConfig::default()
    };
    Client::connect(&brokers.addresses, config).await
}

/// Creates what is missing of the topics for commands, replies and gaps, with one partition each.
///
/// # Errors
/// What the cluster says against it. A topic that is there is never an error.
pub async fn ensure(client: &Client, topics: &Topics, control: bool) -> Result<(), KafkaError> {
    let commands = [&topics.control, &topics.replies];
    let wanted = commands.into_iter().filter(|_| control).chain([&topics.gaps]);
    let mut missing = Vec::new();
    for name in wanted {
        // Asked first: who may not create topics may well use those that are there.
        if client.topic(name).await?.is_none() {
            missing.push(TopicSpec {
                name: name.clone(),
                partitions: 1,
                replication_factor: topics.replicas,
                settings: [("retention.ms".to_owned(), RETENTION_MS.to_owned())].into(),
            });
        }
    }
    client.create_topics(&missing).await?;
    if !missing.is_empty() {
        let names: Vec<_> = missing.iter().map(|spec| spec.name.as_str()).collect();
        tracing::info!(topics = names.join(", "), "topics created");
    }
    Ok(())
}

/// Why a raw topic can't be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub why: String,
    /// Whether it may work later.
    pub transient: bool,
}

impl From<KafkaError> for Refusal {
    fn from(error: KafkaError) -> Self {
        Refusal { transient: error.is_transient(), why: error.to_string() }
    }
}

/// Creates a raw topic like `raw`, with its partition count and the settings it was given. Returns what
/// an operator has to know, in words: whether it was there already, and what reads it.
///
/// # Errors
/// Such a topic can't be had; one of that name with another partition count is no such topic.
pub async fn create_raw(
    client: &Client,
    raw: &str,
    name: &str,
    topics: &Topics,
) -> Result<String, Refusal> {
    let model = client.topic(raw).await?;
    let model = model.ok_or_else(|| KafkaError::UnknownTopic { topic: raw.to_owned() })?;
    let partitions = model.partitions;
    let there = match client.topic(name).await? {
        Some(there) => Some(there),
        None => {
            let settings = like(client.topic_overrides(raw).await?);
            let name = name.to_owned();
            let replication_factor = topics.replicas;
            let spec = TopicSpec { name, partitions, replication_factor, settings };
            match client.create_topics(std::slice::from_ref(&spec)).await?.first() {
                Some(Creation::Existed) => client.topic(&spec.name).await?,
                _ => None,
            }
        }
    };
    let made = match there {
        None => format!("created with {partitions} partitions"),
        Some(there) if there.partitions == partitions => {
            format!("there already, with {partitions} partitions")
        }
        Some(there) => {
            let why = format!(
                "{name} is there already with {} partitions, and must have {partitions}, as {raw} and the transform's output topics have",
                there.partitions
            );
            return Err(Refusal { why, transient: false });
        }
    };
    let transform = transform(client, name).await?;
    Ok(format!("{name} {made}; {}", reads(name, transform.as_deref(), &topics.outputs)))
}

/// The settings of a topic that another one like it is given.
fn like(mut given: BTreeMap<String, String>) -> BTreeMap<String, String> {
    given.retain(|name, _| !name.starts_with("tickpanda."));
    given
}

/// The transform that reads a topic, where the broker tells.
async fn transform(client: &Client, name: &str) -> Result<Option<String>, KafkaError> {
    let deadline = Instant::now() + TRANSFORM_PATIENCE;
    loop {
        let settings = client.topic_settings(name).await?;
        let found = settings.get(TRANSFORM).filter(|transform| !transform.is_empty());
        if found.is_some() || Instant::now() >= deadline {
            return Ok(found.cloned());
        }
        sleep(TRANSFORM_PATIENCE / 10).await;
    }
}

/// What reads a topic, in words; where nothing is known to, the command that is owed.
fn reads(name: &str, transform: Option<&str>, outputs: &[String; 3]) -> String {
    if let Some(transform) = transform {
        return format!("the transform {transform} reads it");
    }
    let [ticks, candles, dead_letters] = outputs;
    format!(
        "no transform is known to read it; unless one was deployed for it, this is owed: rpk transform deploy --file tickpanda-transform.wasm --name tickpanda-transform-{name} --from-offset +0 --input-topic {name} --output-topic {ticks} --output-topic {candles} --output-topic {dead_letters}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tickpanda_model::topic;

    #[test]
    fn the_topics_are_those_that_an_operators_script_creates() {
        let script = include_str!("../../rpk/topics.conf");
        for name in [topic::CONTROL, topic::CONTROL_REPLIES, topic::GAPS] {
            let line = script.lines().find(|line| line.split_whitespace().next() == Some(name));
            let words: Vec<_> = line.unwrap().split_whitespace().collect();
            assert_eq!(words, [name, "1", &format!("retention.ms={RETENTION_MS}")]);
        }
    }

    #[test]
    fn the_owed_command_is_the_deploy_scripts_own_with_another_input() {
        let script = include_str!("../../rpk/deploy.sh");
        let begin = script.find("rpk transform deploy --file").unwrap();
        let script = script[begin..].split("\n\n").next().unwrap();
        // What follows is the script's own: which module it is.
        let script = script.split("--var").next().unwrap();
        let script = script.replace("$state/$hash.wasm", "tickpanda-transform.wasm");
        let script = script.replace("$name", "tickpanda-transform-raw-2");
        let script = script.replace("\"$1\"", "+0").replace("$raw", "raw-2");
        let [ticks, candles, dead_letters] = topic::OUTPUTS;
        let script = script.replace("${outputs[0]}", ticks).replace("${outputs[1]}", candles);
        let script = script.replace("${outputs[2]}", dead_letters).replace(['"', '\\'], "");
        let script = script.split_whitespace().collect::<Vec<_>>().join(" ");
        let outputs = topic::OUTPUTS.map(str::to_owned);
        let said = reads("raw-2", None, &outputs);
        assert!(said.ends_with(&script), "{said}\n{script}");
        assert_eq!(reads("raw-2", Some("t"), &outputs), "the transform t reads it");
    }
}
