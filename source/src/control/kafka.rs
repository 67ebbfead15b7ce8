//! The control topic on a cluster.

use std::time::Duration;

use tickpanda_kafka::{At, Brokers, Client, KafkaError};
use tracing::warn;

use super::place::{Bounds, Identity};
use super::reader::{Failure, Log, Page, Record};
use crate::settings::Topics;
use crate::topics;

/// Bytes fetched at once; a batch that is larger is fetched with as much as it needs.
const BYTES: i32 = 1 << 20;
const MOST_BYTES: i32 = 64 << 20;

/// See the module.
#[derive(Debug)]
pub struct KafkaLog {
    brokers: Brokers,
    topics: Topics,
    client: Option<Client>,
    /// Whether everything is there that the source creates.
    ensured: bool,
    /// Whether that it can't be created was said.
    said: bool,
}

impl KafkaLog {
    /// The control topic of this cluster.
    pub fn new(brokers: Brokers, topics: Topics) -> Self {
        KafkaLog { brokers, topics, client: None, ensured: false, said: false }
    }

    async fn client(&mut self) -> Result<Client, String> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let client = topics::client(&self.brokers, Duration::ZERO).await;
        let client = client.map_err(|error| error.to_string())?;
        self.client = Some(client.clone());
        Ok(client)
    }
}

impl Log for KafkaLog {
    async fn identity(&mut self) -> Result<Identity, String> {
        let client = self.client().await?;
        if !self.ensured {
            match topics::ensure(&client, &self.topics, true).await {
                Ok(()) => self.ensured = true,
                Err(error) if error.is_transient() => return Err(error.to_string()),
                Err(error) if self.said => tracing::debug!("topics can't be created: {error}"),
                Err(error) => {
                    warn!("topics for commands, replies and gaps can't be created: {error}");
                    self.said = true;
                }
            }
        }
        let name = &self.topics.control;
        let words = |error: KafkaError| error.to_string();
        let cluster = client.cluster().await.map_err(words)?.id;
        let Some(topic) = client.topic(name).await.map_err(words)? else {
            self.ensured = false; // it was deleted
            return Err(format!("topic {name} does not exist"));
        };
        let id = topic.id.map(|id| id.to_string());
        Ok(Identity { cluster, name: name.clone(), id })
    }

    async fn bounds(&mut self) -> Result<Vec<Bounds>, String> {
        let client = self.client().await?;
        let name = &self.topics.control;
        let ends = async {
            let earliest = client.offsets(name, At::Earliest).await?;
            Ok((earliest, client.offsets(name, At::Latest).await?))
        };
        let (earliest, latest) = ends.await.map_err(|error: KafkaError| error.to_string())?;
        let begins = |partition| earliest.iter().find(|(of, _)| *of == partition);
        let bounds = latest.into_iter().filter_map(|(partition, latest)| {
            let (_, earliest) = begins(partition)?;
            Some(Bounds { partition, earliest: *earliest, latest })
        });
        Ok(bounds.collect())
    }

    async fn read(&mut self, partition: i32, offset: i64, wait: Duration) -> Result<Page, Failure> {
        let client = self.client().await.map_err(Failure::Away)?;
        let mut bytes = BYTES;
        loop {
            let read = client.read(&self.topics.control, partition, offset, bytes, wait).await;
            return match read {
                Ok(read) => {
                    let records = read.records.into_iter().map(|record| Record {
                        offset: record.offset,
                        value: record.value.map(|value| value.to_vec()),
                    });
                    Ok(Page { records: records.collect(), next: read.next_offset })
                }
                Err(KafkaError::BatchTooLarge { .. }) if bytes < MOST_BYTES => {
                    bytes = bytes.saturating_mul(4).min(MOST_BYTES);
                    continue;
                }
                Err(error @ (KafkaError::BatchTooLarge { .. } | KafkaError::Corrupt { .. })) => {
                    Err(Failure::Damaged(error.to_string()))
                }
                Err(KafkaError::OffsetOutOfRange { .. }) => Err(Failure::OutOfRange),
                Err(error) => Err(Failure::Away(error.to_string())),
            };
        }
    }
}
