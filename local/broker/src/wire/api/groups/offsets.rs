//! Committed offsets: OffsetCommit, OffsetFetch, OffsetDelete. Also a client that assigns itself partitions,
//! without ever being a member, may keep its place here.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    GroupId, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::operate::not_deleted;
use super::{code, identity};
use crate::groups::{Commit, CommitError, Committed, Identity, NotDeleted};
use crate::wire::Shared;
use crate::wire::api::{text, topic_name};

/// Keeps offsets, for topics that exist.
pub(in crate::wire::api) fn commit(
    shared: &Shared,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let mut commits = Vec::new();
    let outcomes: Vec<Vec<(i32, Option<ResponseError>)>> = request
        .topics
        .iter()
        .map(|asked| {
            let topic = shared.store.topic(&asked.name);
            let one = asked.partitions.iter().map(|partition| {
                let index = partition.partition_index;
                let Some(topic) = topic.as_ref().filter(|topic| topic.partition(index).is_some())
                else {
                    return (index, Some(ResponseError::UnknownTopicOrPartition));
                };
                let metadata = partition
                    .committed_metadata
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let committed = Committed { offset: partition.committed_offset, metadata };
                commits.push(Commit { topic: topic.id, partition: index, committed });
                (index, None)
            });
            one.collect()
        })
        .collect();
    let instance = request.group_instance_id.as_ref();
    let who = identity(&request.member_id, instance, request.generation_id_or_member_epoch);
    let failed = keep(shared, &request.group_id, &who, commits).err();
    let topics = request.topics.into_iter().zip(outcomes).map(|(asked, partitions)| {
        let partitions = partitions.into_iter().map(|(index, error)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(error.map(|error| error.code()).or(failed).unwrap_or(0))
        });
        OffsetCommitResponseTopic::default()
            .with_name(asked.name)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// Keeps offsets for a group, if `who` may.
fn keep(shared: &Shared, group: &str, who: &Identity, commits: Vec<Commit>) -> Result<(), i16> {
    shared.groups.may_commit(group, who).map_err(|error| code(&error))?;
    let kept = shared.groups.commit(group, commits);
    kept.map_err(|error| {
        match error {
            CommitError::Name => ResponseError::InvalidGroupId,
            CommitError::Full | CommitError::Metadata => ResponseError::OffsetMetadataTooLarge,
            CommitError::Io(error) => {
                tracing::error!(%error, "committed offsets cannot be written");
                ResponseError::KafkaStorageError
            }
        }
        .code()
    })
}

/// Topics by name, each with the offsets of some partitions; `None` where nothing is kept.
type Found = Vec<(TopicName, Vec<(i32, Option<Committed>)>)>;

/// What was found already for a request: a partition of a group, or all. Each is told once, because an offset's
/// metadata may be a thousand times as long as what asks for it.
type Seen = HashSet<(GroupId, Option<(TopicName, i32)>)>;

/// The offsets kept of the partitions asked for, or all, but for those that were seen.
fn find(
    shared: &Shared,
    group: &GroupId,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
    seen: &mut Seen,
) -> Found {
    let kept = shared.groups.offsets(group);
    match asked {
        Some(asked) => {
            let mut one = |(name, mut indexes): (TopicName, Vec<i32>)| {
                let mut is_new = |it| seen.insert((group.clone(), Some(it)));
                indexes.retain(|index| is_new((name.clone(), *index)));
                let id = shared.store.topic(&name).map(|topic| topic.id);
                let of = |index: i32| id.and_then(|id| kept.get(&(id, index)).cloned());
                let partitions = indexes.into_iter().map(|index| (index, of(index))).collect();
                (name, partitions)
            };
            asked.into_iter().map(&mut one).collect()
        }
        None if !seen.insert((group.clone(), None)) => Vec::new(),
        None => {
            let topics = shared.store.topics();
            let one = topics.iter().filter_map(|topic| {
                let of = kept.iter().filter(|((id, _), _)| *id == topic.id);
                let partitions: Vec<_> =
                    of.map(|((_, index), offset)| (*index, Some(offset.clone()))).collect();
                (!partitions.is_empty()).then(|| (topic_name(&topic.name), partitions))
            });
            one.collect()
        }
    }
}

/// Offset and metadata as they are told; −1 where there is none.
fn told(kept: Option<Committed>) -> (i64, Option<StrBytes>) {
    let kept = kept.unwrap_or(Committed { offset: -1, metadata: String::new() });
    (kept.offset, text(kept.metadata))
}

/// The offsets kept of one group, or from version 8 on of several.
pub(in crate::wire::api) fn fetch(
    shared: &Shared,
    request: OffsetFetchRequest,
    version: i16,
) -> OffsetFetchResponse {
    let mut seen = Seen::new();
    if version < 8 {
        let asked = request.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let found = find(shared, &request.group_id, asked, &mut seen).into_iter();
        let topics = found.map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, kept)| {
                let (offset, metadata) = told(kept);
                OffsetFetchResponsePartition::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(-1)
                    .with_metadata(metadata)
            });
            OffsetFetchResponseTopic::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        return OffsetFetchResponse::default().with_topics(topics.collect());
    }
    let groups = request.groups.into_iter().map(|group| {
        let asked = group.topics.map(|topics| {
            topics.into_iter().map(|topic| (topic.name, topic.partition_indexes)).collect()
        });
        let found = find(shared, &group.group_id, asked, &mut seen).into_iter();
        let topics = found.map(|(name, partitions)| {
            let partitions = partitions.into_iter().map(|(index, kept)| {
                let (offset, metadata) = told(kept);
                OffsetFetchResponsePartitions::default()
                    .with_partition_index(index)
                    .with_committed_offset(offset)
                    .with_committed_leader_epoch(-1)
                    .with_metadata(metadata)
            });
            OffsetFetchResponseTopics::default()
                .with_name(name)
                .with_partitions(partitions.collect())
        });
        OffsetFetchResponseGroup::default()
            .with_group_id(group.group_id)
            .with_topics(topics.collect())
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

/// Forgets offsets of a group without members. Kafka would also take those of topics that its members
/// do not read; here they have to leave first.
pub(in crate::wire::api) fn delete(
    shared: &Shared,
    request: OffsetDeleteRequest,
) -> OffsetDeleteResponse {
    let topics: Vec<_> = request
        .topics
        .into_iter()
        .map(|asked| {
            let id = shared.store.topic(&asked.name).map(|topic| topic.id);
            (asked, id)
        })
        .collect();
    let deleted = shared.groups.delete_offsets(&request.group_id, |id, index| {
        let asked = topics.iter().filter(|(_, topic)| *topic == Some(id));
        asked.flat_map(|(asked, _)| &asked.partitions).any(|asked| asked.partition_index == index)
    });
    let (whole, each) = match &deleted {
        Ok(()) => (0, 0),
        Err(NotDeleted::NotEmpty) => (0, ResponseError::GroupSubscribedToTopic.code()),
        Err(error) => (not_deleted(error), 0),
    };
    if whole != 0 {
        return OffsetDeleteResponse::default().with_error_code(whole);
    }
    let topics = topics.into_iter().map(|(asked, id)| {
        let code = if id.is_some() { each } else { ResponseError::UnknownTopicOrPartition.code() };
        let partitions = asked.partitions.iter().map(|asked| {
            OffsetDeleteResponsePartition::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(code)
        });
        OffsetDeleteResponseTopic::default()
            .with_name(asked.name)
            .with_partitions(partitions.collect())
    });
    OffsetDeleteResponse::default().with_topics(topics.collect())
}
