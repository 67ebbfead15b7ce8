//! Finding the brokers, the raw topic and its partitions. Producing is in [`crate::publish`].
//!
//! rskafka has no time limit on a request and by default retries for ever, growing to 500 s
//! between attempts. Here requests have a limit and rskafka does not retry at all: the one place
//! that retries, counts it and says so is ours.

use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder, error::Error as KafkaError};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SourceError;

/// How long one attempt to connect may take, metadata included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often to look again for brokers or a topic that are not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The cluster's address and the topic to write to.
#[derive(Clone, Debug)]
pub struct Broker {
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// The raw topic.
    pub topic: String,
}

impl Broker {
    /// The partitions of the topic, once it can be seen. Waits for an unreachable broker for as
    /// long as it takes (said once), for a missing topic up to `patience`. `None`: shut down.
    ///
    /// # Errors
    /// [`SourceError::TopicMissing`].
    pub async fn wait_for_partitions(
        &self,
        patience: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<i32>>, SourceError> {
        let mut said = false;
        let mut missing_since = None;
        loop {
            match self.partitions().await {
                Ok(Some(partitions)) => {
                    info!(topic = %self.topic, partitions = partitions.len(), "broker found");
                    return Ok(Some(partitions));
                }
                Ok(None) => {
                    let since: Instant = *missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= patience {
                        return Err(SourceError::TopicMissing {
                            topic: self.topic.clone(),
                            brokers: self.brokers.join(","),
                        });
                    }
                }
                Err(error) if !said => {
                    let brokers = self.brokers.join(",");
                    warn!(%brokers, error = in_words(&error), "no broker answers (KAFKA_BROKERS, --brokers): trying again until one does");
                    said = true;
                }
                Err(_) => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    /// A client for one partition, on connections of its own: what is wrong with an old connection
    /// is not wrong with this one.
    pub async fn partition(&self, partition: i32) -> Result<PartitionClient, KafkaError> {
        timed(async {
            let client = self.client().await?;
            // `Error`, not `Retry`: rskafka would retry a deleted topic without ever telling us.
            client.partition_client(&self.topic, partition, UnknownTopicHandling::Error).await
        })
        .await
    }

    /// The partitions of the topic; `None` where there is no such topic.
    pub(crate) async fn partitions(&self) -> Result<Option<Vec<i32>>, KafkaError> {
        let topics = timed(async { self.client().await?.list_topics().await }).await?;
        Ok(topics
            .into_iter()
            .find(|topic| topic.name == self.topic && !topic.partitions.is_empty())
            .map(|topic| topic.partitions.into_iter().collect()))
    }

    async fn client(&self) -> Result<Client, KafkaError> {
        ClientBuilder::new(self.brokers.clone())
            .client_id("tickpanda-source")
            .backoff_config(BackoffConfig {
                deadline: Some(Duration::ZERO),
                ..BackoffConfig::default()
            })
            .build()
            .await
    }
}

async fn timed<T>(request: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    timeout(CONNECT_TIMEOUT, request).await.unwrap_or(Err(KafkaError::Timeout))
}

/// rskafka's error without what it says about retries that there are none of.
pub(crate) fn in_words(error: &KafkaError) -> String {
    let text = error.to_string();
    text.rsplit("Source: ").next().unwrap_or_default().to_owned()
}
