//! One file per API (or family of them): a decoded request in, a response out.

mod cluster;
mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod topics;
pub(super) mod versions;

use kafka_protocol::messages::{RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Shared;

/// The broker's node id: there is but one.
const NODE: kafka_protocol::messages::BrokerId = kafka_protocol::messages::BrokerId(0);

/// Why nobody gets a transaction.
const NO_TRANSACTIONS: &str = "this broker does not support transactions";

/// Who asks.
#[derive(Debug)]
pub(super) struct Caller {
    /// As it calls itself.
    pub(super) client_id: String,
    pub(super) peer: std::net::IpAddr,
}

/// Answers a request; `None` for one that wants no answer (Produce with acks=0).
pub(super) async fn handle(
    shared: &Shared,
    caller: &Caller,
    request: RequestKind,
    version: i16,
) -> Option<ResponseKind> {
    Some(match request {
        RequestKind::Produce(request) => return produce::produce(shared, request).map(Into::into),
        RequestKind::Fetch(request) => fetch::fetch(shared, request).await.into(),
        RequestKind::ListOffsets(request) => offsets::list(shared, request, version).into(),
        RequestKind::DeleteRecords(request) => offsets::delete_records(shared, request).into(),
        RequestKind::Metadata(request) => metadata::metadata(shared, request, version).into(),
        RequestKind::CreateTopics(request) => topics::create(shared, request).into(),
        RequestKind::DeleteTopics(request) => topics::delete(shared, request, version).into(),
        RequestKind::DescribeConfigs(request) => configs::describe(shared, request).into(),
        RequestKind::FindCoordinator(request) => groups::find(shared, request, version).into(),
        RequestKind::OffsetCommit(request) => groups::offsets::commit(shared, request).into(),
        RequestKind::OffsetFetch(request) => {
            groups::offsets::fetch(shared, request, version).into()
        }
        RequestKind::OffsetDelete(request) => groups::offsets::delete(shared, request).into(),
        RequestKind::JoinGroup(request) => {
            groups::membership::join(shared, caller, request, version).await.into()
        }
        RequestKind::SyncGroup(request) => {
            groups::membership::sync(shared, request, version).await.into()
        }
        RequestKind::Heartbeat(request) => groups::membership::heartbeat(shared, &request).into(),
        RequestKind::LeaveGroup(request) => {
            groups::membership::leave(shared, request, version).into()
        }
        RequestKind::ListGroups(request) => groups::operate::list(shared, &request, version).into(),
        RequestKind::DescribeGroups(request) => {
            groups::operate::describe(shared, request, version).into()
        }
        RequestKind::DeleteGroups(request) => groups::operate::delete(shared, request).into(),
        RequestKind::InitProducerId(request) => producers::init(shared, &request).into(),
        RequestKind::CreatePartitions(request) => topics::grow(shared, request).into(),
        RequestKind::AlterConfigs(request) => configs::replace(shared, request).into(),
        RequestKind::IncrementalAlterConfigs(request) => configs::alter(shared, request).into(),
        RequestKind::OffsetForLeaderEpoch(request) => offsets::epoch_ends(shared, request).into(),
        RequestKind::DescribeCluster(request) => {
            cluster::describe(shared, &request, version).into()
        }
        RequestKind::DescribeLogDirs(request) => cluster::log_dirs(shared, &request).into(),
        RequestKind::DescribeAcls(_) => cluster::acls().into(),
        RequestKind::ListPartitionReassignments(_) => cluster::reassignments().into(),
        _ => versions::versions().into(),
    })
}

/// A topic's name as the messages want it.
fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A message for people, as the messages want it.
fn text(text: impl std::fmt::Display) -> Option<StrBytes> {
    Some(StrBytes::from_string(text.to_string()))
}
