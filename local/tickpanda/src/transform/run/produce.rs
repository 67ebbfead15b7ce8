//! Sending record batches as they are, acks=all, again and again for a while.
//!
//! rskafka can't: its records have no null header values, no repeated header keys and none that are not UTF-8, all of
//! which a guest may write. So batches are framed by the host, and sent as they are by `tickpanda-kafka`.

use std::time::Duration;

use bytes::Bytes;
use tickpanda_kafka::{Client, KafkaError};
use tokio_util::sync::CancellationToken;

/// The pause before each attempt. Redpanda's own, for the produce of a transform.
const PAUSES: [u64; 5] = [0, 100, 200, 400, 800];

/// Why a batch was not acknowledged. It may be on the topic all the same.
#[derive(Debug, thiserror::Error)]
#[error("producing to {topic}/{partition}: {source}")]
pub(super) struct ProduceError {
    topic: String,
    partition: i32,
    source: KafkaError,
}

impl ProduceError {
    /// Whether the same batch may be taken later.
    fn is_transient(&self) -> bool {
        self.source.is_transient()
    }

    /// What the cluster said, or why it said nothing.
    pub(super) fn of_cluster(&self) -> &KafkaError {
        &self.source
    }
}

/// Sends batches, one request in flight, so that their order stays.
#[derive(Debug)]
pub(super) struct Producer {
    client: Client,
    /// Cancelled: what fails is not tried again.
    stop: CancellationToken,
}

impl Producer {
    pub(super) fn new(client: Client, stop: CancellationToken) -> Self {
        Self { client, stop }
    }

    /// Returns when the batch is acknowledged by all replicas in sync, or has not been after some attempts.
    pub(super) async fn produce(
        &self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<(), ProduceError> {
        let mut pauses = PAUSES.iter().copied().map(Duration::from_millis);
        let mut done = self.attempt(topic, partition, batch.clone()).await;
        pauses.next();
        for pause in pauses {
            if !done.as_ref().is_err_and(ProduceError::is_transient) || self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(pause).await;
            done = self.attempt(topic, partition, batch.clone()).await;
        }
        done
    }

    async fn attempt(&self, topic: &str, partition: i32, batch: Bytes) -> Result<(), ProduceError> {
        let produced = self.client.produce(topic, partition, batch).await;
        produced.map(drop).map_err(|source| ProduceError {
            topic: topic.to_owned(),
            partition,
            source,
        })
    }
}
