//! What tools ask of a cluster: DescribeCluster, DescribeLogDirs, DescribeAcls,
//! ListPartitionReassignments.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{
    DescribeAclsResponse, DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest,
    DescribeLogDirsResponse, ListPartitionReassignmentsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{NODE, text, topic_name};
use crate::wire::Shared;

/// DescribeCluster's endpoint type of brokers; 2 is controllers.
const BROKERS: i8 = 1;

/// This one broker.
pub(super) fn describe(
    shared: &Shared,
    request: &DescribeClusterRequest,
    version: i16,
) -> DescribeClusterResponse {
    if version >= 1 && request.endpoint_type != BROKERS {
        return DescribeClusterResponse::default()
            .with_error_code(ResponseError::UnsupportedEndpointType.code())
            .with_error_message(text("only brokers (1) are described here"))
            .with_endpoint_type(request.endpoint_type);
    }
    let (host, port) = &shared.advertised;
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE)
        .with_host(StrBytes::from_string(host.clone()))
        .with_port(i32::from(*port));
    DescribeClusterResponse::default()
        .with_error_message(None)
        .with_cluster_id(StrBytes::from_string(shared.store.cluster_id()))
        .with_controller_id(NODE)
        .with_brokers(vec![broker])
}

/// The data directory, with the bytes of each partition's log.
pub(super) fn log_dirs(
    shared: &Shared,
    request: &DescribeLogDirsRequest,
) -> DescribeLogDirsResponse {
    let asked = request.topics.as_ref();
    let topics = shared.store.topics().into_iter().filter_map(|topic| {
        let wanted = |index: i32| {
            asked.is_none_or(|asked| {
                asked.iter().any(|asked| {
                    asked.topic.as_str() == topic.name && asked.partitions.contains(&index)
                })
            })
        };
        let partitions = (0..).zip(&topic.partitions).filter(|(index, _)| wanted(*index));
        let partitions: Vec<_> = partitions
            .map(|(index, partition)| {
                DescribeLogDirsPartition::default()
                    .with_partition_index(index)
                    .with_partition_size(i64::try_from(partition.size()).unwrap_or(i64::MAX))
            })
            .collect();
        (!partitions.is_empty()).then(|| {
            DescribeLogDirsTopic::default()
                .with_name(topic_name(&topic.name))
                .with_partitions(partitions)
        })
    });
    let dir = shared.store.dir();
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let result = DescribeLogDirsResult::default()
        .with_log_dir(StrBytes::from_string(dir.display().to_string()))
        .with_topics(topics.collect());
    DescribeLogDirsResponse::default().with_results(vec![result])
}

/// As a Kafka without an authorizer says it: there are no ACLs that could be told.
pub(super) fn acls() -> DescribeAclsResponse {
    DescribeAclsResponse::default()
        .with_error_code(ResponseError::SecurityDisabled.code())
        .with_error_message(text("this broker has no authorization: everybody may do everything"))
}

/// With one broker, none goes on.
pub(super) fn reassignments() -> ListPartitionReassignmentsResponse {
    ListPartitionReassignmentsResponse::default().with_error_message(None)
}
