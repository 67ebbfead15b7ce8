//! Topics: created, found, described, deleted.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    FetchRequest, GroupId, ListOffsetsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;
use tickpanda_broker::{Broker, BrokerConfig, BrokerError};

use uuid::Uuid;

use crate::util::{Raw, batch, client, name, produce_request, start};

#[tokio::test]
async fn a_topic_created_by_a_client_is_there_after_a_restart_and_gone_after_its_deletion() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let cluster = broker.cluster_id();
    let controller = client(broker.addr()).await.controller_client().unwrap();
    controller.create_topic("ticks", 3, 1, 1000).await.unwrap();
    let again = controller.create_topic("ticks", 3, 1, 1000).await.unwrap_err();
    assert!(again.to_string().contains("TopicAlreadyExists"), "{again}");
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    assert_eq!(broker.cluster_id(), cluster);
    let client = client(broker.addr()).await;
    let topics = client.list_topics().await.unwrap();
    let found: Vec<_> = topics.iter().map(|t| (t.name.as_str(), t.partitions.len())).collect();
    assert_eq!(found, [("ticks", 3)]);
    client.controller_client().unwrap().delete_topic("ticks", 1000).await.unwrap();
    assert!(client.list_topics().await.unwrap().is_empty());
    assert!(!dir.path().join("topics/ticks").exists());
}

#[tokio::test]
async fn a_topic_created_again_has_another_id_and_none_of_the_old_records() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        broker.create_topic("t", 1, &[]).unwrap();
        assert_eq!(broker.watermarks("t"), [(0, 0)]);
        assert_eq!(raw.produce("t", 0, crate::util::batch(&[b"x"])).await.error_code, 0);
        let metadata = raw.call(&MetadataRequest::default().with_topics(None), 12).await;
        assert_eq!(
            metadata.cluster_id.as_ref().map(StrBytes::as_str),
            Some(broker.cluster_id().as_str())
        );
        ids.push(metadata.topics[0].topic_id);
        let by_id =
            MetadataRequestTopic::default().with_name(None).with_topic_id(ids[ids.len() - 1]);
        let found = raw.call(&MetadataRequest::default().with_topics(Some(vec![by_id])), 12).await;
        assert_eq!(found.topics[0].name, Some(name("t")));
        client(broker.addr())
            .await
            .controller_client()
            .unwrap()
            .delete_topic("t", 1000)
            .await
            .unwrap();
    }
    assert_ne!(ids[0], ids[1]);
    let old = MetadataRequestTopic::default().with_name(None).with_topic_id(ids[0]);
    let gone = raw.call(&MetadataRequest::default().with_topics(Some(vec![old])), 12).await;
    assert_eq!(gone.topics[0].error_code, ResponseError::UnknownTopicId.code());
}

#[tokio::test]
async fn settings_are_honoured_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let topic = |topic: &str, partitions, replicas, key: &'static str, value: &str| {
        let config = CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(key))
            .with_value(Some(StrBytes::from_string(value.to_owned())));
        CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(partitions)
            .with_replication_factor(replicas)
            .with_configs(vec![config])
    };
    let cases = [
        (topic("good", 2, -1, "retention.ms", "60000"), 0, ""),
        (topic("good", 2, 1, "retention.ms", "60000"), 36, "good"),
        (topic("t", 1, 1, "retention.mss", "1"), 40, "retention.mss"),
        (topic("t", 1, 1, "cleanup.policy", "compact"), 40, "delete"),
        (topic("t", 0, 1, "retention.ms", "1"), 37, "partitions"),
        (topic("t", 100_000, 1, "retention.ms", "1"), 37, "partitions"),
        (topic("t", 1, 3, "retention.ms", "1"), 38, "factor"),
        (topic("a/b", 1, 1, "retention.ms", "1"), 17, "a/b"),
        (topic("..", 1, 1, "retention.ms", "1"), 17, "name"),
    ];
    for (topic, code, part) in cases {
        let request = CreateTopicsRequest::default().with_topics(vec![topic.clone()]);
        let response = raw.call(&request, 7).await.topics.remove(0);
        assert_eq!(response.error_code, code, "{topic:?}");
        assert!(response.error_message.unwrap_or_default().contains(part));
    }
    let only_check = CreateTopicsRequest::default()
        .with_topics(vec![topic("checked", 1, 1, "retention.ms", "1")])
        .with_validate_only(true);
    assert_eq!(raw.call(&only_check, 5).await.topics[0].error_code, 0);
    assert!(broker.watermarks("checked").is_empty());

    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("good"));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(None)]);
    let described = raw.call(&request, 4).await.results.remove(0).configs;
    let value = |key: &str| {
        let config = described.iter().find(|c| c.name.as_str() == key).unwrap();
        (config.value.as_ref().unwrap().to_string(), config.config_source)
    };
    assert_eq!(value("retention.ms"), ("60000".to_owned(), 1));
    assert_eq!(value("max.message.bytes"), ("1048576".to_owned(), 5));
}

#[tokio::test]
async fn creating_a_topic_that_is_there_succeeds_only_if_it_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    for _ in 0..2 {
        broker.create_topic("t", 2, &[("retention.ms", "5")]).unwrap();
    }
    assert!(matches!(
        broker.create_topic("t", 3, &[("retention.ms", "5")]),
        Err(BrokerError::TopicExists(_))
    ));
    assert!(matches!(broker.create_topic("t", 2, &[]), Err(BrokerError::TopicExists(_))));
}

#[tokio::test]
async fn a_data_directory_has_one_broker_and_is_free_after_its_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let first = start(dir.path()).await;
    let second = Broker::start(BrokerConfig::new(dir.path())).await;
    assert!(matches!(second, Err(BrokerError::Locked(_))), "{second:?}");
    first.shutdown().await.unwrap();
    start(dir.path()).await;
}

#[tokio::test]
async fn it_listens_on_loopback_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let config = |allow_remote, advertise| BrokerConfig {
        listen: "0.0.0.0:0".parse().unwrap(),
        allow_remote,
        advertise,
        ..BrokerConfig::new(dir.path())
    };
    let refused = Broker::start(config(false, None)).await;
    assert!(matches!(refused, Err(BrokerError::NotLoopback(_))), "{refused:?}");
    let refused = Broker::start(config(true, None)).await;
    assert!(matches!(refused, Err(BrokerError::Unadvertised(_))), "{refused:?}");
    let broker =
        Broker::start(config(true, Some(("kafka.example".to_owned(), 1234)))).await.unwrap();
    let mut raw = Raw::connect(([127, 0, 0, 1], broker.addr().port()).into()).await;
    let metadata = raw.call(&MetadataRequest::default().with_topics(None), 1).await;
    assert_eq!(
        (metadata.brokers[0].host.as_str(), metadata.brokers[0].port),
        ("kafka.example", 1234)
    );
}

#[tokio::test]
async fn every_advertised_version_of_every_api_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let versions = raw.call(&ApiVersionsRequest::default(), 3).await.api_keys;
    assert_eq!(versions.len(), 29);
    for api in versions {
        // Produce is advertised from 0 on for older librdkafka's sake, as Kafka 4 does, and served from 3.
        let first = if api.api_key == 0 { 3 } else { api.min_version };
        for version in first..=api.max_version {
            crate::hostile::call_empty(&mut raw, api.api_key, version).await;
        }
    }
}

#[tokio::test]
async fn every_advertised_version_carries_records_and_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    for version in 2..=7 {
        let topic = CreatableTopic::default()
            .with_name(name("t"))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]);
        let expected = if version == 2 { 0 } else { ResponseError::TopicAlreadyExists.code() };
        assert_eq!(raw.call(&request, version).await.topics[0].error_code, expected);
    }
    let mut id = Uuid::nil();
    for version in 0..=12 {
        let found = raw.call(&MetadataRequest::default().with_topics(Some(vec![])), version).await;
        assert_eq!(
            found.topics.len(),
            usize::from(version == 0),
            "none asked for; in version 0 all"
        );
        let asked = MetadataRequestTopic::default().with_name(Some(name("t")));
        let found =
            raw.call(&MetadataRequest::default().with_topics(Some(vec![asked])), version).await;
        assert_eq!(found.topics[0].partitions.len(), 1, "version {version}");
        id = found.topics[0].topic_id;
    }
    let mut produced = 0;
    for version in 3..=13 {
        let mut request = produce_request("t", 0, batch(&[b"x"]), -1);
        if version == 13 {
            request.topic_data[0].name = name("");
            request.topic_data[0].topic_id = id;
        }
        let answer = raw.call(&request, version).await.responses[0].partition_responses[0].clone();
        assert_eq!((answer.error_code, answer.base_offset), (0, produced), "version {version}");
        produced += 1;
    }
    for version in 4..=16 {
        let partition =
            FetchPartition::default().with_fetch_offset(3).with_partition_max_bytes(1 << 20);
        let mut topic = FetchTopic::default().with_partitions(vec![partition]);
        if version >= 13 {
            topic.topic_id = id;
        } else {
            topic.topic = name("t");
        }
        let mut request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
        if version >= 7 {
            request.session_epoch = -1;
        }
        let response = raw.call(&request, version).await;
        let partition = &response.responses[0].partitions[0];
        let records = partition.records.as_ref().unwrap().len();
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (0, produced),
            "version {version}"
        );
        assert_eq!(records, 8 * batch(&[b"x"]).len(), "version {version}");
    }
    for version in 1..=6 {
        let partition = ListOffsetsPartition::default().with_timestamp(-1);
        let topic =
            ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_topics(vec![topic]);
        let answer = raw.call(&request, version).await.topics[0].partitions[0].clone();
        assert_eq!((answer.error_code, answer.offset), (0, produced), "version {version}");
    }
    for version in 1..=6 {
        let mut request = DeleteTopicsRequest::default();
        if version == 6 {
            request.topics = vec![DeleteTopicState::default().with_name(Some(name("none")))];
        } else {
            request.topic_names = vec![name("none")];
        }
        assert_eq!(
            raw.call(&request, version).await.responses[0].error_code,
            3,
            "version {version}"
        );
    }
}

#[tokio::test]
async fn committed_offsets_are_kept_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let group = GroupId(StrBytes::from_static_str("g"));
    let partition = |index| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(42)
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("t"))
        .with_partitions(vec![partition(1), partition(9)]);
    let commit = OffsetCommitRequest::default()
        .with_group_id(group.clone())
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = raw.call(&commit, 8).await.topics.remove(0).partitions;
    assert_eq!(answer.iter().map(|p| p.error_code).collect::<Vec<_>>(), [0, 3]);
    broker.shutdown().await.unwrap();

    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let asked =
        OffsetFetchRequestTopic::default().with_name(name("t")).with_partition_indexes(vec![0, 1]);
    let fetch = OffsetFetchRequest::default().with_group_id(group).with_topics(Some(vec![asked]));
    let kept = raw.call(&fetch, 7).await.topics.remove(0).partitions;
    assert_eq!(kept.iter().map(|p| p.committed_offset).collect::<Vec<_>>(), [-1, 42]);
}
