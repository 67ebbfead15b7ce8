//! Offsets: where partitions begin and end, and what a group has committed.
//!
//! Commits are simple ones, without membership: they are for a reader that assigns its partitions
//! itself, and a broker refuses them while the group has live members.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, GroupId, ListOffsetsRequest, OffsetCommitRequest,
    OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::api::Api;
use crate::client::{Client, host_port, topic_name};
use crate::error::{Result, check};
use crate::read::READ_COMMITTED;

/// A place on a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The first offset that is still there.
    Earliest,
    /// One after the last offset that [`Client::read`] can give: the end of the partition, or the
    /// start of the first transaction that is still open.
    Latest,
    /// The first record at or after this time (ms since the epoch, not negative); −1 where there is none.
    Time(i64),
}

/// What a group has committed for a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: i32,
    /// The offset of the record to read next.
    pub next_offset: i64,
    /// What the reader wants to remember with it: brokers take 4 KiB.
    pub metadata: String,
}

impl At {
    /// The protocol's special timestamps.
    fn timestamp(self) -> i64 {
        match self {
            Self::Latest => -1,
            Self::Earliest => -2,
            Self::Time(ms) => ms.max(0),
        }
    }
}

impl Client {
    /// One place on every partition of `topic`: `(partition, offset)`, by partition.
    ///
    /// # Errors
    ///
    /// [`KafkaError::UnknownTopic`](crate::KafkaError::UnknownTopic), or when a leader does not answer.
    pub async fn offsets(&self, topic: &str, at: At) -> Result<Vec<(i32, i64)>> {
        self.retrying(|| self.offsets_once(topic, at)).await
    }

    async fn offsets_once(&self, topic: &str, at: At) -> Result<Vec<(i32, i64)>> {
        let mut by_broker: BTreeMap<String, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (partition, leader) in self.leaders(topic).await? {
            by_broker.entry(leader).or_default().push(
                ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_timestamp(at.timestamp()),
            );
        }
        let mut offsets = Vec::new();
        for (broker, partitions) in by_broker {
            let asked = ListOffsetsTopic::default()
                .with_name(topic_name(topic))
                .with_partitions(partitions);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_isolation_level(READ_COMMITTED)
                .with_topics(vec![asked]);
            let answer = self.call(&broker, &request, Duration::ZERO).await?;
            for found in answer.topics.into_iter().flat_map(|t| t.partitions) {
                let partition = found.partition_index;
                check(&broker, ListOffsetsRequest::NAME, found.error_code, None, || {
                    format!("{topic}/{partition}")
                })?;
                offsets.push((partition, found.offset));
            }
        }
        offsets.sort_unstable();
        Ok(offsets)
    }

    /// What `group` has committed for `topic`: `(partition, next offset)`, by partition; a partition
    /// without a commit is left out.
    ///
    /// # Errors
    ///
    /// [`KafkaError::UnknownTopic`](crate::KafkaError::UnknownTopic), or when the group's coordinator
    /// does not answer.
    pub async fn committed_offsets(&self, group: &str, topic: &str) -> Result<Vec<(i32, i64)>> {
        let committed = self.committed(group, topic).await?;
        Ok(committed.into_iter().map(|found| (found.partition, found.next_offset)).collect())
    }

    /// As [`Client::committed_offsets`], with their metadata.
    ///
    /// # Errors
    ///
    /// As [`Client::committed_offsets`].
    pub async fn committed(&self, group: &str, topic: &str) -> Result<Vec<Committed>> {
        self.retrying(|| self.committed_once(group, topic)).await
    }

    async fn committed_once(&self, group: &str, topic: &str) -> Result<Vec<Committed>> {
        let partitions = self.leaders(topic).await?.into_keys().collect();
        let asked = OffsetFetchRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(partitions);
        let request = OffsetFetchRequest::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![asked]));
        let broker = self.coordinator(group).await?;
        let answer = self.call(&broker, &request, Duration::ZERO).await?;
        let about = || format!("group {group}");
        check(&broker, OffsetFetchRequest::NAME, answer.error_code, None, about)?;
        let mut offsets = Vec::new();
        for found in answer.topics.into_iter().flat_map(|t| t.partitions) {
            check(&broker, OffsetFetchRequest::NAME, found.error_code, None, about)?;
            if found.committed_offset >= 0 {
                offsets.push(Committed {
                    partition: found.partition_index,
                    next_offset: found.committed_offset,
                    metadata: found.metadata.as_deref().unwrap_or_default().to_owned(),
                });
            }
        }
        offsets.sort_unstable_by_key(|found| found.partition);
        Ok(offsets)
    }

    /// Commits `(partition, next offset)` pairs of `topic` for `group`.
    ///
    /// # Errors
    ///
    /// When the coordinator refuses one of them; others may have been committed.
    pub async fn commit_offsets(
        &self,
        group: &str,
        topic: &str,
        offsets: &[(i32, i64)],
    ) -> Result<()> {
        let bare = |&(partition, next_offset): &(i32, i64)| Committed {
            partition,
            next_offset,
            metadata: String::new(),
        };
        self.commit(group, topic, &offsets.iter().map(bare).collect::<Vec<_>>()).await
    }

    /// As [`Client::commit_offsets`], with metadata.
    ///
    /// # Errors
    ///
    /// As [`Client::commit_offsets`].
    pub async fn commit(&self, group: &str, topic: &str, offsets: &[Committed]) -> Result<()> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.retrying(|| self.commit_once(group, topic, offsets)).await
    }

    async fn commit_once(&self, group: &str, topic: &str, offsets: &[Committed]) -> Result<()> {
        let partition = |committed: &Committed| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(committed.partition)
                .with_committed_offset(committed.next_offset)
                .with_committed_metadata(Some(StrBytes::from_string(committed.metadata.clone())))
        };
        let committed = OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(offsets.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(group))
            .with_topics(vec![committed]);
        let broker = self.coordinator(group).await?;
        let answer = self.call(&broker, &request, Duration::ZERO).await?;
        for done in answer.topics.into_iter().flat_map(|t| t.partitions) {
            check(&broker, OffsetCommitRequest::NAME, done.error_code, None, || {
                format!("group {group} on {topic}/{}", done.partition_index)
            })?;
        }
        Ok(())
    }

    /// The broker that keeps `group`'s offsets.
    async fn coordinator(&self, group: &str) -> Result<String> {
        let request =
            FindCoordinatorRequest::default().with_key(StrBytes::from_string(group.to_owned()));
        let answer = self.call_any(&request).await?;
        let found = answer.body;
        let message = found.error_message.as_deref();
        check(&answer.broker, FindCoordinatorRequest::NAME, found.error_code, message, || {
            format!("group {group}")
        })?;
        Ok(host_port(&found.host, found.port))
    }
}

fn group_id(group: &str) -> GroupId {
    GroupId(StrBytes::from_string(group.to_owned()))
}
