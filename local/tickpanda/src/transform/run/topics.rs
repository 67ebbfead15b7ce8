//! What the cluster says of the input and output topics.

use anyhow::{Result, bail};
use tickpanda_kafka::{Client, KafkaError};

use super::settings::RunSettings;

/// Where a topic does not tell its `max.message.bytes`: what brokers take by default, or less.
const DEFAULT_LIMIT: usize = 1_000_000;

/// The topics of a transform.
#[derive(Debug)]
pub(super) struct Topics {
    pub(super) input: String,
    pub(super) input_partitions: i32,
    /// Another id is another topic, though of the same name.
    pub(super) input_id: Option<String>,
    pub(super) outputs: Vec<OutputTopic>,
}

/// One output topic.
#[derive(Debug, Clone)]
pub(super) struct OutputTopic {
    pub(super) name: String,
    pub(super) partitions: usize,
    /// Its `max.message.bytes`: a larger batch is refused.
    pub(super) limit: usize,
}

impl Topics {
    /// Looks them up.
    ///
    /// # Errors
    /// A topic that does not exist; whatever a call can fail with.
    pub(super) async fn find(client: &Client, settings: &RunSettings) -> Result<Self> {
        let Some(input) = client.topic(&settings.input_topic).await? else {
            bail!(
                "input topic {} does not exist: create it, or check its name",
                settings.input_topic
            );
        };
        let mut outputs = Vec::new();
        for name in &settings.output_topics {
            let Some(topic) = client.topic(name).await? else {
                bail!("output topic {name} does not exist: create it, or check its name");
            };
            let partitions = usize::try_from(topic.partitions)?;
            let mut output = OutputTopic { name: name.clone(), partitions, limit: DEFAULT_LIMIT };
            output.look_up_limit(client).await?;
            outputs.push(output);
        }
        Ok(Self {
            input: settings.input_topic.clone(),
            input_partitions: input.partitions,
            input_id: input.id.map(|id| id.to_string()),
            outputs,
        })
    }

    pub(super) fn output_names(&self) -> impl Iterator<Item = &str> {
        self.outputs.iter().map(|output| output.name.as_str())
    }
}

impl OutputTopic {
    /// Asks for its `max.message.bytes`.
    pub(super) async fn look_up_limit(&mut self, client: &Client) -> Result<(), KafkaError> {
        let limit = client.topic_settings(&self.name).await?.remove("max.message.bytes");
        self.limit = limit.and_then(|limit| limit.parse().ok()).unwrap_or(DEFAULT_LIMIT);
        Ok(())
    }
}
