//! ListGroups, DescribeGroups, DeleteGroups: what an operator does with groups.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, ListGroupsRequest, ListGroupsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::groups::NotDeleted;
use crate::wire::Shared;
use crate::wire::api::text;

/// The one kind of groups there is (Kafka's other kinds are KIP-848's and share groups).
const KIND: &str = "classic";
/// A group that does not exist, as DescribeGroups calls it.
const DEAD: &str = "Dead";

/// Every group with members or offsets that is in one of the states asked for.
pub(in crate::wire::api) fn list(
    shared: &Shared,
    request: &ListGroupsRequest,
    version: i16,
) -> ListGroupsResponse {
    let wanted = |filter: &[StrBytes], is: &str| {
        filter.is_empty() || filter.iter().any(|name| name.eq_ignore_ascii_case(is))
    };
    let groups = shared.groups.list().into_iter().filter_map(|group| {
        let state = group.phase.name();
        if !wanted(&request.states_filter, state) || !wanted(&request.types_filter, KIND) {
            return None;
        }
        let listed = ListedGroup::default()
            .with_group_id(GroupId(StrBytes::from_string(group.name)))
            .with_protocol_type(StrBytes::from_string(group.protocol_type));
        let listed = if version >= 4 {
            listed.with_group_state(StrBytes::from_static_str(state))
        } else {
            listed
        };
        Some(if version >= 5 {
            listed.with_group_type(StrBytes::from_static_str(KIND))
        } else {
            listed
        })
    });
    ListGroupsResponse::default().with_groups(groups.collect())
}

/// State and members of each; one that does not exist is dead.
pub(in crate::wire::api) fn describe(
    shared: &Shared,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    // Each once: a group's answer may be ten thousand times as long as its name.
    let mut seen = HashSet::new();
    let asked = request.groups.into_iter().filter(|id| seen.insert(id.clone()));
    let groups = asked.map(|id| {
        let described = DescribedGroup::default();
        let Some(group) = shared.groups.describe(&id) else {
            let dead =
                described.with_group_id(id).with_group_state(StrBytes::from_static_str(DEAD));
            return if version >= 6 {
                dead.with_error_code(ResponseError::GroupIdNotFound.code())
                    .with_error_message(text("there is no such group"))
            } else {
                dead
            };
        };
        let members = group.members.into_iter().map(|member| {
            let instance = member.instance.filter(|_| version >= 4);
            DescribedGroupMember::default()
                .with_member_id(StrBytes::from_string(member.id))
                .with_group_instance_id(instance.map(StrBytes::from_string))
                .with_client_id(StrBytes::from_string(member.client_id))
                .with_client_host(StrBytes::from_string(member.client_host))
                .with_member_metadata(member.metadata)
                .with_member_assignment(member.assignment)
        });
        described
            .with_group_id(id)
            .with_error_message(None)
            .with_group_state(StrBytes::from_static_str(group.phase.name()))
            .with_protocol_type(StrBytes::from_string(group.protocol_type))
            .with_protocol_data(StrBytes::from_string(group.protocol))
            .with_members(members.collect())
    });
    DescribeGroupsResponse::default().with_groups(groups.collect())
}

/// Deletes groups without members, with their offsets.
pub(in crate::wire::api) fn delete(
    shared: &Shared,
    request: DeleteGroupsRequest,
) -> DeleteGroupsResponse {
    let results = request.groups_names.into_iter().map(|id| {
        let code = shared.groups.delete(&id).err().map_or(0, |error| not_deleted(&error));
        DeletableGroupResult::default().with_group_id(id).with_error_code(code)
    });
    DeleteGroupsResponse::default().with_results(results.collect())
}

pub(super) fn not_deleted(error: &NotDeleted) -> i16 {
    match error {
        NotDeleted::Unknown => ResponseError::GroupIdNotFound,
        NotDeleted::NotEmpty => ResponseError::NonEmptyGroup,
        NotDeleted::Io(error) => {
            tracing::error!(%error, "committed offsets cannot be written");
            ResponseError::KafkaStorageError
        }
    }
    .code()
}
