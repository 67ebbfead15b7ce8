//! Consumer groups on the wire, in every version that is served.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages as m;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, GroupId, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};
use kafka_protocol::protocol::StrBytes;

use crate::util::{Raw, name, start};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

fn joins(name: &str, member: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"topics"));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(6000)
        .with_rebalance_timeout_ms(30_000)
        .with_member_id(member.clone())
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins, if need be with the id that it is given first. Versions before 1 have one timeout only.
async fn join(raw: &mut Raw, name: &str, member: &StrBytes, version: i16) -> JoinGroupResponse {
    let mut request = joins(name, member);
    if version == 0 {
        request.rebalance_timeout_ms = -1;
    }
    let answer = raw.call(&request, version).await;
    if answer.error_code != ResponseError::MemberIdRequired.code() {
        assert!(version < 4 || !member.is_empty(), "version {version} gives the id first");
        return answer;
    }
    assert!(version >= 4);
    request.member_id = answer.member_id;
    raw.call(&request, version).await
}

fn sync_request(
    name: &str,
    joined: &JoinGroupResponse,
    parts: &[(&StrBytes, &str)],
) -> SyncGroupRequest {
    let assignments = parts.iter().map(|(member, part)| {
        SyncGroupRequestAssignment::default()
            .with_member_id((*member).clone())
            .with_assignment(Bytes::from((*part).to_owned()))
    });
    SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(assignments.collect())
}

fn beat(name: &str, joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
}

/// Two members join, share, and leave one after the other, in these versions.
async fn story(addr: SocketAddr, name: &str, [join_v, sync_v, beat_v, leave_v]: [i16; 4]) {
    let (mut a, mut b) = (Raw::connect(addr).await, Raw::connect(addr).await);
    let alone = join(&mut a, name, &StrBytes::new(), join_v).await;
    assert_eq!((alone.error_code, alone.generation_id), (0, 1), "{name}");
    assert_eq!((alone.leader.as_str(), alone.members.len()), (alone.member_id.as_str(), 1));
    assert_eq!(alone.protocol_name.as_deref(), Some("range"));
    let mut request = sync_request(name, &alone, &[(&alone.member_id, "all")]);
    if sync_v >= 5 {
        request.protocol_type = Some(text("consumer"));
        request.protocol_name = Some(text("range"));
    }
    let synced = a.call(&request, sync_v).await;
    assert_eq!((synced.error_code, &synced.assignment[..]), (0, &b"all"[..]), "{name}");
    assert_eq!(a.call(&beat(name, &alone), beat_v).await.error_code, 0);

    // The second has to wait until the first has heard of it and joins again.
    let second = {
        let name = name.to_owned();
        tokio::spawn(async move {
            let joined = join(&mut b, &name, &StrBytes::new(), join_v).await;
            (b, joined)
        })
    };
    let rebalance = ResponseError::RebalanceInProgress.code();
    crate::util::until("the first hears of it", || async {
        let mut other = Raw::connect(addr).await;
        other.call(&beat(name, &alone), beat_v).await.error_code == rebalance
    })
    .await;
    let first = join(&mut a, name, &alone.member_id, join_v).await;
    let (mut b, second) = second.await.unwrap();
    assert_eq!((first.generation_id, second.generation_id), (2, 2), "{name}");
    assert_eq!(first.leader, second.leader);
    let (leader, follower) = if first.leader == first.member_id {
        ((&mut a, &first), (&mut b, &second))
    } else {
        ((&mut b, &second), (&mut a, &first))
    };
    assert_eq!((leader.1.members.len(), follower.1.members.len()), (2, 0));
    follower.0.send(&sync_request(name, follower.1, &[]), sync_v, 1).await;
    let parts = [(&leader.1.member_id, "mine"), (&follower.1.member_id, "yours")];
    let synced = leader.0.call(&sync_request(name, leader.1, &parts), sync_v).await;
    assert_eq!(synced.assignment, "mine");
    let (_, synced) = follower.0.receive::<SyncGroupRequest>(sync_v).await;
    assert_eq!(synced.assignment, "yours");

    for (raw, who) in [follower, leader] {
        let mut request = LeaveGroupRequest::default().with_group_id(group(name));
        if leave_v < 3 {
            request.member_id = who.member_id.clone();
        } else {
            request.members = vec![MemberIdentity::default().with_member_id(who.member_id.clone())];
        }
        let left = raw.call(&request, leave_v).await;
        let member = left.members.first().map_or(0, |member| member.error_code);
        assert_eq!((left.error_code, member), (0, 0), "{name}");
        let gone = raw.call(&beat(name, who), beat_v).await.error_code;
        assert_eq!(gone, ResponseError::UnknownMemberId.code());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_members_share_and_leave_in_every_version_of_the_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    for join in 0..=9_i16 {
        let versions = [join, join.min(5), join.min(4), join.min(5)];
        story(broker.addr(), &format!("g{join}"), versions).await;
    }
}

fn commit(name: &str, joined: Option<&JoinGroupResponse>, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(1)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("place")));
    let topic = OffsetCommitRequestTopic::default()
        .with_name(crate::util::name("t"))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group(name))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    match joined {
        Some(joined) => request
            .with_generation_id_or_member_epoch(joined.generation_id)
            .with_member_id(joined.member_id.clone()),
        None => request,
    }
}

async fn committed(raw: &mut Raw, name: &str, version: i16) -> i64 {
    if version < 8 {
        let asked = OffsetFetchRequestTopic::default()
            .with_name(crate::util::name("t"))
            .with_partition_indexes(vec![1]);
        let request =
            OffsetFetchRequest::default().with_group_id(group(name)).with_topics(Some(vec![asked]));
        return raw.call(&request, version).await.topics[0].partitions[0].committed_offset;
    }
    let asked = OffsetFetchRequestTopics::default()
        .with_name(crate::util::name("t"))
        .with_partition_indexes(vec![1]);
    let one =
        |asked| OffsetFetchRequestGroup::default().with_group_id(group(name)).with_topics(asked);
    let groups = vec![one(Some(vec![asked])), one(None)];
    let answer = raw.call(&OffsetFetchRequest::default().with_groups(groups), version).await;
    let offsets: Vec<i64> = (answer.groups.iter())
        .map(|group| group.topics.first().map_or(-1, |it| it.partitions[0].committed_offset))
        .collect();
    assert_eq!(offsets[0], offsets[1], "asked for by name, or for all");
    offsets[0]
}

#[tokio::test]
async fn only_a_present_member_commits_for_a_group_and_anybody_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let code = |answer: m::OffsetCommitResponse| answer.topics[0].partitions[0].error_code;
    assert_eq!(code(raw.call(&commit("g", None, 1), 8).await), 0, "nobody is in it");
    let joined = join(&mut raw, "g", &StrBytes::new(), 3).await;
    let parts = [(&joined.member_id, "all")];
    raw.call(&sync_request("g", &joined, &parts), 3).await;
    let stranger = code(raw.call(&commit("g", None, 2), 8).await);
    assert_eq!(stranger, ResponseError::UnknownMemberId.code());
    let old = joined.clone().with_generation_id(joined.generation_id - 1);
    let old = code(raw.call(&commit("g", Some(&old), 2), 8).await);
    assert_eq!(old, ResponseError::IllegalGeneration.code());
    for version in 2..=8 {
        let offset = i64::from(version) * 10;
        let answer = raw.call(&commit("g", Some(&joined), offset), version).await;
        assert_eq!(code(answer), 0, "version {version}");
        for version in 1..=8 {
            assert_eq!(committed(&mut raw, "g", version).await, offset, "version {version}");
        }
    }
    broker.shutdown().await.unwrap();

    // Members are not known after a restart, which they take for a sign to join again; offsets are.
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let gone = raw.call(&beat("g", &joined), 4).await.error_code;
    assert_eq!(gone, ResponseError::UnknownMemberId.code());
    let gone = code(raw.call(&commit("g", Some(&joined), 7), 8).await);
    assert_eq!(gone, ResponseError::IllegalGeneration.code());
    assert_eq!(committed(&mut raw, "g", 8).await, 80);
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted_in_every_version() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    raw.call(&commit("kept", None, 1), 8).await;
    let joined = join(&mut raw, "live", &StrBytes::new(), 5).await;
    raw.call(&sync_request("live", &joined, &[(&joined.member_id, "all")]), 3).await;
    for version in 0..=5 {
        let listed = raw.call(&ListGroupsRequest::default(), version).await.groups;
        let names: Vec<&str> = listed.iter().map(|it| it.group_id.as_str()).collect();
        assert_eq!(names, ["kept", "live"]);
        if version >= 4 {
            assert_eq!(listed[1].group_state.as_str(), "Stable");
            let request = ListGroupsRequest::default().with_states_filter(vec![text("Empty")]);
            let empty = raw.call(&request, version).await.groups;
            assert_eq!(empty.len(), 1);
        }
        if version >= 5 {
            let request = ListGroupsRequest::default().with_types_filter(vec![text("consumer")]);
            assert!(raw.call(&request, version).await.groups.is_empty(), "all are classic");
        }
    }
    for version in 0..=6 {
        let request = DescribeGroupsRequest::default().with_groups(vec![
            group("kept"),
            group("live"),
            group("none"),
        ]);
        let groups = raw.call(&request, version).await.groups;
        let states: Vec<&str> = groups.iter().map(|it| it.group_state.as_str()).collect();
        assert_eq!(states, ["Empty", "Stable", "Dead"], "version {version}");
        let not_found = if version >= 6 { ResponseError::GroupIdNotFound.code() } else { 0 };
        assert_eq!(groups[2].error_code, not_found);
        let member = &groups[1].members[0];
        assert_eq!(
            (&member.member_metadata[..], &member.member_assignment[..]),
            (&b"topics"[..], &b"all"[..])
        );
        assert_eq!(member.client_host.as_str(), "/127.0.0.1");
    }
    let asked = OffsetDeleteRequestPartition::default().with_partition_index(1);
    let topic =
        OffsetDeleteRequestTopic::default().with_name(name("t")).with_partitions(vec![asked]);
    let delete = |name| {
        OffsetDeleteRequest::default().with_group_id(group(name)).with_topics(vec![topic.clone()])
    };
    let refused = raw.call(&delete("live"), 0).await.topics[0].partitions[0].error_code;
    assert_eq!(refused, ResponseError::GroupSubscribedToTopic.code());
    assert_eq!(
        raw.call(&delete("none"), 0).await.error_code,
        ResponseError::GroupIdNotFound.code()
    );
    assert_eq!(raw.call(&delete("kept"), 0).await.topics[0].partitions[0].error_code, 0);
    assert_eq!(committed(&mut raw, "kept", 7).await, -1);
    for version in 0..=2 {
        raw.call(&commit("kept", None, 1), 8).await;
        let request = DeleteGroupsRequest::default().with_groups_names(vec![
            group("kept"),
            group("live"),
            group("none"),
        ]);
        let results = raw.call(&request, version).await.results;
        let codes: Vec<i16> = results.iter().map(|it| it.error_code).collect();
        let (full, none) =
            (ResponseError::NonEmptyGroup.code(), ResponseError::GroupIdNotFound.code());
        assert_eq!(codes, [0, full, none], "version {version}");
    }
}

#[tokio::test]
async fn a_member_that_says_nothing_for_its_session_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let joined = join(&mut raw, "g", &StrBytes::new(), 3).await;
    raw.call(&sync_request("g", &joined, &[]), 3).await;
    let since = Instant::now();
    drop(raw);
    let mut raw = Raw::connect(broker.addr()).await;
    // Waits for the silent one, and gets the group when that one's time is up.
    let next = join(&mut raw, "g", &StrBytes::new(), 3).await;
    assert_eq!((next.error_code, next.members.len()), (0, 1));
    let waited = since.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(25)).contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn what_a_member_may_ask_for_has_limits() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let none = StrBytes::new();
    let with_metadata = |size: usize| {
        let mut request = joins("g", &none);
        request.protocols[0].metadata = Bytes::from(vec![7; size]);
        request
    };
    let session = |ms| joins("g", &none).with_session_timeout_ms(ms);
    for (what, request, error) in [
        ("no name", joins("", &none), ResponseError::InvalidGroupId),
        ("an endless name", joins(&"g".repeat(250), &none), ResponseError::InvalidGroupId),
        ("a short session", session(5999), ResponseError::InvalidSessionTimeout),
        ("no session", session(-1), ResponseError::InvalidSessionTimeout),
        ("an endless session", session(1_800_001), ResponseError::InvalidSessionTimeout),
        ("much to say", with_metadata(200 << 10), ResponseError::InvalidRequest),
        (
            "no protocol",
            joins("g", &none).with_protocols(vec![]),
            ResponseError::InconsistentGroupProtocol,
        ),
    ] {
        assert_eq!(raw.call(&request, 3).await.error_code, error.code(), "{what}");
    }
    assert!(raw.call(&ListGroupsRequest::default(), 3).await.groups.is_empty());
    assert_eq!(raw.call(&with_metadata(100 << 10), 3).await.error_code, 0);
}
