//! Finding the brokers, the raw topic and its partitions. Producing is in [`crate::publish`].

use std::time::Duration;

use tickpanda_kafka::{Brokers, Client, ClientConfig, KafkaError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SourceError;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A broker that has not answered by then gets a new connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How often to look again for brokers or a topic that are not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The cluster's address and the topic to write to.
#[derive(Clone, Debug)]
pub struct Broker {
    /// The cluster.
    pub brokers: Brokers,
    /// The raw topic.
    pub topic: String,
}

impl Broker {
    /// The partitions of the topic, once it can be seen. Waits for an unreachable broker for as
    /// long as it takes (said once), for a missing topic up to `patience`. `None`: shut down.
    ///
    /// # Errors
    /// [`SourceError::TopicMissing`], [`SourceError::Denied`].
    pub async fn wait_for_partitions(
        &self,
        patience: Duration,
        shutdown: &CancellationToken,
    ) -> Result<Option<Vec<i32>>, SourceError> {
        let mut said = false;
        let mut missing_since = None;
        loop {
            let Some(looked) = shutdown.run_until_cancelled(self.partitions()).await else {
                return Ok(None);
            };
            match looked {
                Ok(Some(partitions)) => {
                    info!(topic = %self.topic, partitions = partitions.len(), "broker found");
                    return Ok(Some(partitions));
                }
                Ok(None) => {
                    let since: Instant = *missing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= patience {
                        return Err(SourceError::TopicMissing {
                            topic: self.topic.clone(),
                            brokers: self.brokers.to_string(),
                        });
                    }
                }
                // Nobody has seen this work: whoever starts it should know now.
                Err(error) if error.is_denied() => {
                    return Err(SourceError::Denied(error.to_string()));
                }
                Err(error) if !said => {
                    let brokers = &self.brokers;
                    warn!(%brokers, %error, "no broker answers (KAFKA_BROKERS, --brokers): trying again until one does");
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

    /// The partitions of the topic; `None` where there is no such topic.
    pub(crate) async fn partitions(&self) -> Result<Option<Vec<i32>>, KafkaError> {
        let client = connect(&self.brokers).await?;
        let topic = client.topic(&self.topic).await?;
        Ok(topic.map(|topic| (0..topic.partitions).collect()))
    }
}

/// A client that tries once: the one place that retries, counts it and says so is ours.
///
/// # Errors
/// No broker answers.
pub(crate) async fn connect(brokers: &Brokers) -> Result<Client, KafkaError> {
    let config = ClientConfig {
        client_id: "tickpanda-source".to_owned(),
        connect_timeout: CONNECT_TIMEOUT,
        request_timeout: REQUEST_TIMEOUT,
        retry_for: Duration::ZERO,
        security: brokers.security.clone(),
    };
    Client::connect(&brokers.addresses, config).await
}
