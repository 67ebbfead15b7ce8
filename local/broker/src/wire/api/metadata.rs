//! Metadata: this one broker, and the topics with their ids.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse};
use kafka_protocol::protocol::StrBytes;

use super::{NODE, topic_name};
use crate::storage::Topic;
use crate::wire::Shared;

/// All topics, or those asked for by name or id. No topic is created by asking for it.
pub(super) fn metadata(
    shared: &Shared,
    request: MetadataRequest,
    version: i16,
) -> MetadataResponse {
    let all = match &request.topics {
        None => true,
        // In version 0 null did not exist.
        Some(topics) => version == 0 && topics.is_empty(),
    };
    let topics = if all {
        shared.store.topics().iter().map(|topic| describe(topic)).collect()
    } else {
        // Each once: a topic's answer is a thousand times as long as its name.
        let mut seen = HashSet::new();
        let asked = request.topics.unwrap_or_default().into_iter();
        let asked = asked.filter(|topic| seen.insert((topic.name.clone(), topic.topic_id)));
        let one = asked.map(|asked| match asked.name {
            Some(name) => match shared.store.topic(&name) {
                Some(topic) => describe(&topic),
                None => MetadataResponseTopic::default()
                    .with_name(Some(name))
                    .with_error_code(ResponseError::UnknownTopicOrPartition.code()),
            },
            None => match shared.store.topic_by_id(asked.topic_id) {
                Some(topic) => describe(&topic),
                None => MetadataResponseTopic::default()
                    // Before version 12 the name can't be null.
                    .with_name((version < 12).then(Default::default))
                    .with_topic_id(asked.topic_id)
                    .with_error_code(ResponseError::UnknownTopicId.code()),
            },
        });
        one.collect()
    };
    let (host, port) = &shared.advertised;
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE)
        .with_host(StrBytes::from_string(host.clone()))
        .with_port(i32::from(*port));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(StrBytes::from_string(shared.store.cluster_id())))
        .with_controller_id(NODE)
        .with_topics(topics)
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = (0..).zip(&topic.partitions).map(|(index, _)| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(NODE)
            .with_leader_epoch(0)
            .with_replica_nodes(vec![NODE])
            .with_isr_nodes(vec![NODE])
    });
    MetadataResponseTopic::default()
        .with_name(Some(topic_name(&topic.name)))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}
