//! JoinGroup, SyncGroup, Heartbeat, LeaveGroup.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{code, identity};
use crate::groups::{GroupError, Identity, Join, limits};
use crate::wire::Shared;
use crate::wire::api::{Caller, text};

fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Bytes of their own: a part of a request would keep all of it in memory.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// Held until the group's members are gathered.
pub(in crate::wire::api) async fn join(
    shared: &Shared,
    caller: &Caller,
    request: JoinGroupRequest,
    version: i16,
) -> JoinGroupResponse {
    let session = millis(request.session_timeout_ms);
    // Version 0 has one timeout for both.
    let rebalance = if version >= 1 { millis(request.rebalance_timeout_ms) } else { session };
    let protocols = request.protocols.iter();
    let join = Join {
        member: request.member_id.to_string(),
        instance: request.group_instance_id.as_ref().map(ToString::to_string),
        client_id: caller.client_id.clone(),
        client_host: format!("/{}", caller.peer),
        session,
        rebalance: rebalance.clamp(limits::SHORTEST_REBALANCE, limits::LONGEST_REBALANCE),
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.map(|it| (it.name.to_string(), own(&it.metadata))).collect(),
        takes_id_first: version >= 4,
        can_skip_assignment: version >= 9,
    };
    // From version 7 on these may be null.
    let nothing = || if version >= 7 { None } else { Some(StrBytes::new()) };
    match shared.groups.join(&request.group_id, join).await {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|(id, instance, metadata)| {
                let instance = instance.filter(|_| version >= 5);
                JoinGroupResponseMember::default()
                    .with_member_id(StrBytes::from_string(id))
                    .with_group_instance_id(instance.map(StrBytes::from_string))
                    .with_metadata(metadata)
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_type(if version >= 7 { text(joined.protocol_type) } else { None })
                .with_protocol_name(text(joined.protocol))
                .with_leader(StrBytes::from_string(joined.leader))
                .with_skip_assignment(joined.skip_assignment)
                .with_member_id(StrBytes::from_string(joined.member))
                .with_members(members.collect())
        }
        Err(error) => {
            let member = match &error {
                GroupError::MemberIdRequired(id) => StrBytes::from_string(id.clone()),
                _ => request.member_id,
            };
            JoinGroupResponse::default()
                .with_error_code(code(&error))
                .with_generation_id(-1)
                .with_protocol_name(nothing())
                .with_member_id(member)
        }
    }
}

/// Held until the leader has sent the assignment.
pub(in crate::wire::api) async fn sync(
    shared: &Shared,
    request: SyncGroupRequest,
    version: i16,
) -> SyncGroupResponse {
    let instance = request.group_instance_id.as_ref();
    let who = identity(&request.member_id, instance, request.generation_id);
    let protocol = (request.protocol_type.as_deref(), request.protocol_name.as_deref());
    let assignments = request.assignments.iter();
    let assignments =
        assignments.map(|it| (it.member_id.to_string(), own(&it.assignment))).collect();
    match shared.groups.sync(&request.group_id, &who, protocol, assignments).await {
        Ok(synced) => {
            let response = SyncGroupResponse::default().with_assignment(synced.assignment);
            if version >= 5 {
                response
                    .with_protocol_type(text(synced.protocol_type))
                    .with_protocol_name(text(synced.protocol))
            } else {
                response
            }
        }
        Err(error) => SyncGroupResponse::default().with_error_code(code(&error)),
    }
}

pub(in crate::wire::api) fn heartbeat(
    shared: &Shared,
    request: &HeartbeatRequest,
) -> HeartbeatResponse {
    let instance = request.group_instance_id.as_ref();
    let who = identity(&request.member_id, instance, request.generation_id);
    let alive = shared.groups.heartbeat(&request.group_id, &who);
    HeartbeatResponse::default().with_error_code(alive.err().map_or(0, |error| code(&error)))
}

pub(in crate::wire::api) fn leave(
    shared: &Shared,
    request: LeaveGroupRequest,
    version: i16,
) -> LeaveGroupResponse {
    let left = |who: &Identity| {
        shared.groups.leave(&request.group_id, who).err().map_or(0, |error| code(&error))
    };
    if version < 3 {
        let who = identity(&request.member_id, None, -1);
        return LeaveGroupResponse::default().with_error_code(left(&who));
    }
    let members = request.members.iter().map(|member| {
        let who = identity(&member.member_id, member.group_instance_id.as_ref(), -1);
        MemberResponse::default()
            .with_member_id(member.member_id.clone())
            .with_group_instance_id(member.group_instance_id.clone())
            .with_error_code(left(&who))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
