//! What an operator does with topics and the cluster: what was changed is in force, and still is after a restart.

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages as m;
use kafka_protocol::messages::alter_configs_request as full;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::incremental_alter_configs_request as step;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::protocol::StrBytes;
use tickpanda_broker::TransformState;

use crate::util::{Raw, batch, batch_at, name, start};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// IncrementalAlterConfigs of one topic: (setting, operation, value).
fn steps(changes: &[(&str, i8, Option<&str>)]) -> m::IncrementalAlterConfigsRequest {
    let configs = changes.iter().map(|(key, operation, value)| {
        step::AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(*operation)
            .with_value(value.map(text))
    });
    let resource = step::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(configs.collect());
    m::IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
}

fn whole(settings: &[(&str, &str)]) -> m::AlterConfigsRequest {
    let configs = settings.iter().map(|(key, value)| {
        full::AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)))
    });
    let resource = full::AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("t"))
        .with_configs(configs.collect());
    m::AlterConfigsRequest::default().with_resources(vec![resource])
}

fn settings(broker: &tickpanda_broker::Broker) -> BTreeMap<&'static str, String> {
    broker.topics().remove(0).settings
}

#[tokio::test]
async fn settings_that_are_changed_are_in_force_at_once_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[("retention.ms", "1000000")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    assert_eq!(raw.produce("t", 0, batch(&[&[7; 300]])).await.error_code, 0);
    let change = steps(&[("max.message.bytes", 0, Some("200")), ("retention.ms", 1, None)]);
    for version in 0..=1 {
        let only_check = change.clone().with_validate_only(true);
        assert_eq!(raw.call(&only_check, version).await.responses[0].error_code, 0);
        assert_eq!(settings(&broker)["retention.ms"], "1000000", "only checked");
    }
    assert_eq!(raw.call(&change, 1).await.responses[0].error_code, 0);
    let too_large = raw.produce("t", 0, batch(&[&[7; 300]])).await;
    assert_eq!(too_large.error_code, ResponseError::MessageTooLarge.code());
    broker.shutdown().await.unwrap();
    let broker = start(dir.path()).await;
    let now = settings(&broker);
    assert_eq!((now["max.message.bytes"].as_str(), now["retention.ms"].as_str()), ("200", "-1"));
    let mut raw = Raw::connect(broker.addr()).await;
    for version in 0..=2 {
        let request = whole(&[("retention.bytes", "1000000")]);
        assert_eq!(raw.call(&request, version).await.responses[0].error_code, 0);
        let now = settings(&broker);
        assert_eq!(
            (now["max.message.bytes"].as_str(), now["retention.bytes"].as_str()),
            ("1048576", "1000000"),
            "what is not named has its default"
        );
    }
}

#[tokio::test]
async fn a_change_that_is_refused_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let before = settings(&broker);
    let mut raw = Raw::connect(broker.addr()).await;
    let good = ("retention.ms", 0, Some("5"));
    for (what, bad, error) in [
        ("an unknown setting", ("flush.ms", 0, Some("1")), ResponseError::InvalidConfig),
        ("an impossible value", ("segment.bytes", 0, Some("x")), ResponseError::InvalidConfig),
        ("a setting without a value", ("segment.bytes", 0, None), ResponseError::InvalidConfig),
        (
            "a number taken for a list",
            ("segment.bytes", 2, Some("1")),
            ResponseError::InvalidConfig,
        ),
        (
            "a policy that is not served",
            ("cleanup.policy", 2, Some("compact")),
            ResponseError::InvalidConfig,
        ),
        (
            "nothing left of a list",
            ("cleanup.policy", 3, Some("delete")),
            ResponseError::InvalidConfig,
        ),
        (
            "an operation that does not exist",
            ("retention.ms", 9, Some("1")),
            ResponseError::InvalidRequest,
        ),
    ] {
        let answer = raw.call(&steps(&[good, bad]), 1).await.responses[0].clone();
        assert_eq!(answer.error_code, error.code(), "{what}: {:?}", answer.error_message);
        assert!(answer.error_message.is_some());
        assert_eq!(settings(&broker), before, "{what}");
    }
    let mut unknown = steps(&[good]);
    unknown.resources[0].resource_name = text("u");
    let answer = raw.call(&unknown, 1).await.responses[0].error_code;
    assert_eq!(answer, ResponseError::UnknownTopicOrPartition.code());
    let mut brokers = steps(&[good]);
    brokers.resources[0].resource_type = 4;
    let answer = raw.call(&brokers, 1).await.responses[0].clone();
    assert!(answer.error_message.unwrap().contains("command-line flags"));
}

#[tokio::test]
async fn a_topic_grows_keeps_what_it_has_and_never_shrinks() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[("max.message.bytes", "200")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    raw.produce("t", 1, batch(&[b"x"])).await;
    let grow = |count| {
        let topic = CreatePartitionsTopic::default()
            .with_name(name("t"))
            .with_count(count)
            .with_assignments(None);
        m::CreatePartitionsRequest::default().with_topics(vec![topic])
    };
    for version in 0..=3 {
        let before = broker.watermarks("t").len();
        let next = i32::try_from(before).unwrap() + 1;
        let only_check = grow(next).with_validate_only(true);
        assert_eq!(raw.call(&only_check, version).await.results[0].error_code, 0);
        assert_eq!(broker.watermarks("t").len(), before, "only checked");
        assert_eq!(raw.call(&grow(next), version).await.results[0].error_code, 0);
        assert_eq!(broker.watermarks("t").len(), before + 1, "version {version}");
        for count in [1, next, 2_000_000, -1] {
            let refused = raw.call(&grow(count), version).await.results[0].clone();
            assert_eq!(refused.error_code, ResponseError::InvalidPartitions.code());
            assert!(refused.error_message.unwrap().contains("partitions"));
        }
    }
    assert_eq!(raw.produce("t", 3, batch(&[b"x"])).await.error_code, 0);
    let change = steps(&[("max.message.bytes", 0, Some("150"))]);
    raw.call(&change, 1).await;
    let too_large = raw.produce("t", 3, batch(&[&[7; 100]])).await.error_code;
    assert_eq!(
        too_large,
        ResponseError::MessageTooLarge.code(),
        "new partitions follow the settings"
    );
    broker.shutdown().await.unwrap();
    let broker = start(dir.path()).await;
    assert_eq!(broker.watermarks("t"), [(0, 0), (0, 1), (0, 0), (0, 1), (0, 0), (0, 0)]);
}

#[tokio::test]
async fn the_newest_record_by_time_is_found_and_an_epoch_ends_where_the_log_does() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[("segment.bytes", "1024")]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for ms in [100, 900, 300] {
        raw.produce("t", 0, batch_at(&[b"x"], ms)).await;
    }
    for (at, version, index, expected) in
        [(-3, 7, 0, 1), (-3, 7, 1, -1), (-4, 8, 0, 0), (-5, 9, 0, -1), (-1, 9, 0, 3)]
    {
        let asked = ListOffsetsPartition::default().with_partition_index(index).with_timestamp(at);
        let topic = ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![asked]);
        let request = m::ListOffsetsRequest::default().with_topics(vec![topic]);
        let answer = raw.call(&request, version).await.topics[0].partitions[0].clone();
        assert_eq!((answer.error_code, answer.offset), (0, expected), "at {at}");
    }
    for version in 2..=4 {
        for (current, asked, error, end) in [
            (0, 0, 0, 3),
            (-1, 0, 0, 3),
            (0, 1, 0, -1),
            (1, 0, ResponseError::UnknownLeaderEpoch.code(), -1),
        ] {
            let partition = OffsetForLeaderPartition::default()
                .with_current_leader_epoch(current)
                .with_leader_epoch(asked);
            let topic = OffsetForLeaderTopic::default()
                .with_topic(name("t"))
                .with_partitions(vec![partition]);
            let request = m::OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
            let answer = raw.call(&request, version).await.topics[0].partitions[0].clone();
            assert_eq!((answer.error_code, answer.end_offset), (error, end), "{current} {asked}");
        }
    }
}

#[tokio::test]
async fn the_cluster_its_disk_and_its_missing_acls_are_described_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    raw.produce("t", 1, batch(&[b"x"])).await;
    for version in 0..=1 {
        let cluster = raw.call(&m::DescribeClusterRequest::default(), version).await;
        assert_eq!(cluster.cluster_id.as_str(), broker.cluster_id());
        let found: Vec<_> = cluster.brokers.iter().map(|it| (it.broker_id.0, it.port)).collect();
        assert_eq!(found, [(0, i32::from(broker.addr().port()))]);
    }
    let controllers = m::DescribeClusterRequest::default().with_endpoint_type(2);
    let refused = raw.call(&controllers, 1).await.error_code;
    assert_eq!(refused, ResponseError::UnsupportedEndpointType.code());
    let size = i64::try_from(batch(&[b"x"]).len()).unwrap();
    for version in 1..=4 {
        let request = m::DescribeLogDirsRequest::default().with_topics(None);
        let dirs = raw.call(&request, version).await.results;
        assert!(dirs[0].log_dir.as_str().starts_with('/'));
        let sizes: Vec<i64> =
            (dirs[0].topics[0].partitions.iter()).map(|it| it.partition_size).collect();
        assert_eq!(sizes, [0, size], "version {version}");
    }
    for version in 1..=3 {
        let acls = raw.call(&m::DescribeAclsRequest::default(), version).await;
        assert_eq!(acls.error_code, ResponseError::SecurityDisabled.code());
    }
    let moves = raw.call(&m::ListPartitionReassignmentsRequest::default(), 0).await;
    assert!(moves.error_code == 0 && moves.topics.is_empty());
}

#[tokio::test]
async fn a_topic_that_a_transform_works_on_keeps_its_partitions_and_may_change_its_settings() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("in", 1, &[]).unwrap();
    broker.create_topic("t", 1, &[]).unwrap();
    let identity = include_str!("../../../host/tests/data/identity.wat");
    let transform = tickpanda_broker::TransformSpec {
        name: "identity".to_owned(),
        wasm: wat::parse_str(identity).unwrap(),
        input_topic: "in".to_owned(),
        output_topics: vec!["t".to_owned()],
        env: vec![],
        start: tickpanda_broker::StartFrom::Earliest,
    };
    broker.deploy(transform).await.unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for topic in ["in", "t"] {
        let topic = CreatePartitionsTopic::default()
            .with_name(name(topic))
            .with_count(2)
            .with_assignments(None);
        let request = m::CreatePartitionsRequest::default().with_topics(vec![topic]);
        let refused = raw.call(&request, 3).await.results[0].clone();
        assert_eq!(refused.error_code, ResponseError::PolicyViolation.code());
        assert!(refused.error_message.unwrap().contains("identity"));
    }
    // Its output is taken by the settings as they are, not as they were.
    raw.call(&steps(&[("max.message.bytes", 0, Some("1000"))]), 1).await;
    let large = || batch(&[&[7; 2000]]);
    raw.produce("in", 0, large()).await;
    let state = || broker.transform_status().remove(0).partitions.remove(0).state;
    crate::util::until("it has failed for that reason", || async {
        matches!(state(), TransformState::Errored(why) if why.contains("max.message.bytes=1000"))
    })
    .await;
    assert_eq!(broker.watermarks("t"), [(0, 0)], "too large, and it stays where it is");
    raw.call(&steps(&[("max.message.bytes", 0, Some("5000"))]), 1).await;
    crate::util::until("it goes on", || async { broker.watermarks("t") == [(0, 1)] }).await;
}
