//! A partition on a broker, as far as a publisher needs it; rskafka's, and in tests others.

use std::sync::Arc;
use std::time::Duration;

use rskafka::client::error::{Error as KafkaError, ProtocolError};
use rskafka::client::partition::{Compression, PartitionClient};
use tokio::time::timeout;

use super::outage::Trouble;
use crate::broker::{Broker, in_words};
use crate::spool::Request;

/// rskafka has no limit of its own; a broker that has not answered by then gets a new connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Where partitions are found.
pub(crate) trait Partitions: Clone + Send + Sync + 'static {
    /// One of them.
    type Partition: Partition;

    /// Connects to the partition's leader.
    fn connect(
        &self,
        topic: &str,
        partition: i32,
    ) -> impl Future<Output = Result<Self::Partition, Refusal>> + Send;
}

/// Where a publisher's records go.
pub(crate) trait Partition: Send {
    /// Returns when the broker has all of the request's records.
    fn produce(&mut self, request: &Request) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Why records are not on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// They are larger than the topic takes.
    TooLarge(String),
    /// It may work later.
    Trouble(Trouble, String),
}

impl Refusal {
    fn of(error: &KafkaError, topic: &str) -> Self {
        let words = in_words(error);
        let topic: Arc<str> = topic.into();
        let KafkaError::ServerError { protocol_error, .. } = error else {
            return Self::Trouble(Trouble::Away, words);
        };
        match protocol_error {
            ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge => {
                Self::TooLarge(words)
            }
            ProtocolError::UnknownTopicOrPartition => Self::Trouble(Trouble::Missing(topic), words),
            _ => Self::Trouble(Trouble::Refused(topic), words),
        }
    }
}

/// A cluster, by the addresses of some of its brokers (`host:port` each).
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Any that answers will do.
    pub brokers: Arc<[String]>,
}

impl Partitions for Cluster {
    type Partition = Produced;

    async fn connect(&self, topic: &str, partition: i32) -> Result<Produced, Refusal> {
        let broker = Broker { brokers: self.brokers.to_vec(), topic: topic.to_owned() };
        let client = broker.partition(partition).await;
        client.map(Produced).map_err(|error| Refusal::of(&error, topic))
    }
}

/// rskafka's client of a partition.
pub(crate) struct Produced(PartitionClient);

impl Partition for Produced {
    async fn produce(&mut self, request: &Request) -> Result<(), Refusal> {
        let produce = self.0.produce(request.records(), Compression::NoCompression);
        let produced = timeout(REQUEST_TIMEOUT, produce).await.unwrap_or(Err(KafkaError::Timeout));
        produced.map(|_| ()).map_err(|error| Refusal::of(&error, self.0.topic()))
    }
}
