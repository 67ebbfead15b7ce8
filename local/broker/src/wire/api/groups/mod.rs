//! Consumer groups on the wire; what they are is in [`crate::groups`].
//!
//! - `membership`: JoinGroup, SyncGroup, Heartbeat, LeaveGroup
//! - `offsets`: OffsetCommit, OffsetFetch, OffsetDelete
//! - `operate`: ListGroups, DescribeGroups, DeleteGroups

pub(super) mod membership;
pub(super) mod offsets;
pub(super) mod operate;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::{NODE, text};
use crate::groups::{GroupError, Identity};
use crate::wire::Shared;

/// FindCoordinator's key type of consumer groups; 1 is transactions.
const GROUP: i8 = 0;

/// The coordinator of a group is this broker; of a transaction, nobody. Every client gives up at once
/// when it hears that it may not use its transactional id, and tries again for ever at most other errors.
pub(super) fn find(
    shared: &Shared,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let (host, port) = &shared.advertised;
    let (host, port) = (StrBytes::from_string(host.clone()), i32::from(*port));
    let refused = match request.key_type {
        GROUP => None,
        1 => Some((ResponseError::TransactionalIdAuthorizationFailed, super::NO_TRANSACTIONS)),
        _ => Some((ResponseError::InvalidRequest, "only groups have a coordinator here")),
    };
    if version >= 4 {
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let coordinator = Coordinator::default().with_key(key);
            match refused {
                None => coordinator
                    .with_node_id(NODE)
                    .with_host(host.clone())
                    .with_port(port)
                    .with_error_message(None),
                Some((error, why)) => coordinator
                    .with_node_id((-1).into())
                    .with_port(-1)
                    .with_error_code(error.code())
                    .with_error_message(text(why)),
            }
        });
        return FindCoordinatorResponse::default().with_coordinators(coordinators.collect());
    }
    let response = FindCoordinatorResponse::default();
    match refused {
        None => response.with_node_id(NODE).with_host(host).with_port(port),
        Some((error, why)) => {
            let why = if version >= 1 { text(why) } else { None };
            let response = response.with_node_id((-1).into()).with_port(-1);
            response.with_error_code(error.code()).with_error_message(why)
        }
    }
}

fn code(error: &GroupError) -> i16 {
    match error {
        GroupError::UnknownMember => ResponseError::UnknownMemberId,
        GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::FencedInstance => ResponseError::FencedInstanceId,
        GroupError::MemberIdRequired(_) => ResponseError::MemberIdRequired,
        GroupError::Full => ResponseError::GroupMaxSizeReached,
        GroupError::InvalidSession => ResponseError::InvalidSessionTimeout,
        GroupError::InvalidGroup => ResponseError::InvalidGroupId,
        GroupError::TooLarge => ResponseError::InvalidRequest,
    }
    .code()
}

fn identity(member: &StrBytes, instance: Option<&StrBytes>, generation: i32) -> Identity {
    Identity { member: member.to_string(), instance: instance.map(ToString::to_string), generation }
}
