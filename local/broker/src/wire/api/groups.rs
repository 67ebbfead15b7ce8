//! Committed offsets: FindCoordinator, OffsetCommit, OffsetFetch. There is no membership: a
//! client that assigns itself partitions may keep its place here.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{NODE, topic_name};
use crate::groups::{Commit, CommitError, Committed};
use crate::wire::Shared;

/// The coordinator of a group is this broker; of a transaction, nobody.
pub(super) fn find(
    shared: &Shared,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (host, port) = &shared.advertised;
    let (host, port) = (StrBytes::from_string(host.clone()), i32::from(*port));
    let is_group = request.key_type == 0;
    let code = if is_group { 0 } else { ResponseError::InvalidRequest.code() };
    if version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let coordinator = Coordinator::default().with_key(key).with_error_code(code);
            if is_group {
                coordinator.with_node_id(NODE).with_host(host.clone()).with_port(port)
            } else {
                coordinator
            }
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let response = FindCoordinatorResponse::default().with_error_code(code);
    if is_group { response.with_node_id(NODE).with_host(host).with_port(port) } else { response }
}

/// Keeps offsets, for topics that exist.
pub(super) fn commit(shared: &Shared, request: OffsetCommitRequest) -> OffsetCommitResponse {
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
    let has_members = request.generation_id_or_member_epoch >= 0 || !request.member_id.is_empty();
    let failed = if has_members {
        // Somebody who believes to be a member of a group: groups have none here.
        Some(ResponseError::UnknownMemberId)
    } else {
        match shared.groups.commit(&request.group_id, commits) {
            Ok(()) => None,
            Err(CommitError::Name) => Some(ResponseError::InvalidGroupId),
            Err(CommitError::Full | CommitError::Metadata) => {
                Some(ResponseError::OffsetMetadataTooLarge)
            }
            Err(CommitError::Io(error)) => {
                tracing::error!(%error, "committed offsets cannot be written");
                Some(ResponseError::KafkaStorageError)
            }
        }
    };
    let topics = request.topics.into_iter().zip(outcomes).map(|(asked, partitions)| {
        let partitions = partitions.into_iter().map(|(index, error)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(error.or(failed).map_or(0, |error| error.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_name(asked.name)
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

/// The offsets kept, −1 where there is none.
pub(super) fn fetch(shared: &Shared, request: OffsetFetchRequest) -> OffsetFetchResponse {
    let group = shared.groups.offsets(&request.group_id);
    let answer = |topic: Option<uuid::Uuid>, index: i32| {
        let committed = topic.and_then(|topic| group.get(&(topic, index)));
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(committed.map_or(-1, |committed| committed.offset))
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(StrBytes::from_string(
                committed.map_or_else(String::new, |c| c.metadata.clone()),
            )))
    };
    let topics = match request.topics {
        Some(topics) => topics
            .into_iter()
            .map(|asked| {
                let id = shared.store.topic(&asked.name).map(|topic| topic.id);
                let partitions = asked.partition_indexes.iter().map(|index| answer(id, *index));
                let partitions = partitions.collect();
                OffsetFetchResponseTopic::default()
                    .with_name(asked.name)
                    .with_partitions(partitions)
            })
            .collect(),
        None => shared
            .store
            .topics()
            .iter()
            .filter_map(|topic| {
                let kept = group.keys().filter(|(id, _)| *id == topic.id);
                let partitions: Vec<_> =
                    kept.map(|(_, index)| answer(Some(topic.id), *index)).collect();
                (!partitions.is_empty()).then(|| {
                    OffsetFetchResponseTopic::default()
                        .with_name(topic_name(&topic.name))
                        .with_partitions(partitions)
                })
            })
            .collect(),
    };
    OffsetFetchResponse::default().with_topics(topics)
}
