//! A partition on a broker, as far as a publisher needs it; in tests others.

use std::sync::Arc;

use tickpanda_kafka::{BatchEncoder, Brokers, Client, KafkaError};

use super::outage::Trouble;
use crate::broker::connect;
use crate::spool::Request;

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
        let words = error.to_string();
        let trouble = match error {
            _ if error.is_too_large() => return Self::TooLarge(words),
            _ if error.is_denied() => Trouble::Denied,
            _ if error.is_silence() => Trouble::Away,
            _ if error.is_missing() => Trouble::Missing(topic.into()),
            _ => Trouble::Refused(topic.into()),
        };
        Self::Trouble(trouble, words)
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Where it is.
    pub brokers: Arc<Brokers>,
}

impl Partitions for Cluster {
    type Partition = Leader;

    /// On a connection of its own: what is wrong with an old one is not wrong with this one.
    async fn connect(&self, topic: &str, partition: i32) -> Result<Leader, Refusal> {
        let client = connect(&self.brokers).await;
        let client = client.map_err(|error| Refusal::of(&error, topic))?;
        let topic = topic.to_owned();
        Ok(Leader { client, topic, partition, encoder: BatchEncoder::default() })
    }
}

/// The broker that has the partition.
pub(crate) struct Leader {
    client: Client,
    topic: String,
    partition: i32,
    encoder: BatchEncoder,
}

impl Partition for Leader {
    async fn produce(&mut self, request: &Request) -> Result<(), Refusal> {
        request.encode(&mut self.encoder);
        let batch = self.encoder.finish();
        let produced = self.client.produce(&self.topic, self.partition, batch).await;
        produced.map(|_| ()).map_err(|error| Refusal::of(&error, &self.topic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_broker_that_is_not_there_is_away() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let cluster = Cluster { brokers: Brokers::plain(vec![address]).into() };
        let Err(refusal) = cluster.connect("raw", 0).await else { panic!("nobody listens") };
        assert!(matches!(refusal, Refusal::Trouble(Trouble::Away, _)), "{refusal:?}");
        let denied = KafkaError::Sasl { broker: "b:1".into(), problem: "no".into() };
        let expected = Refusal::Trouble(Trouble::Denied, denied.to_string());
        assert_eq!(Refusal::of(&denied, "raw"), expected);
        let missing = KafkaError::UnknownTopic { topic: "raw".into() };
        let expected = Trouble::Missing("raw".into());
        assert_eq!(Refusal::of(&missing, "raw"), Refusal::Trouble(expected, missing.to_string()));
    }
}
