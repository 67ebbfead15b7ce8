//! One file per API (or family of them): a decoded request in, a response out.

mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod topics;
pub(super) mod versions;

use kafka_protocol::messages::{RequestKind, ResponseKind, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Shared;

/// The broker's node id: there is but one.
const NODE: kafka_protocol::messages::BrokerId = kafka_protocol::messages::BrokerId(0);

/// Answers a request; `None` for one that wants no answer (Produce with acks=0).
pub(super) async fn handle(
    shared: &Shared,
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
        RequestKind::OffsetCommit(request) => groups::commit(shared, request).into(),
        RequestKind::OffsetFetch(request) => groups::fetch(shared, request).into(),
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
