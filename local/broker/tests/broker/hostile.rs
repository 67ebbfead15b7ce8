//! What no client should send: it closes its own connection, or is refused, and harms nobody.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages as m;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, MetadataRequest};
use kafka_protocol::protocol::StrBytes;

use crate::util::{Raw, batch, name, seal, start};

/// Sends a request with nothing in it, in this version, and reads the response.
pub(crate) async fn call_empty(raw: &mut Raw, key: i16, version: i16) {
    macro_rules! call {
        ($($api:ident => $request:expr),*) => {
            match ApiKey::try_from(key).unwrap() {
                $(ApiKey::$api => { raw.call(&$request, version).await; })*
                other => panic!("{other:?} is advertised and not tested"),
            }
        };
    }
    call!(
        Produce => m::ProduceRequest::default().with_acks(-1),
        Fetch => m::FetchRequest::default(),
        ListOffsets => m::ListOffsetsRequest::default(),
        Metadata => m::MetadataRequest::default(),
        OffsetCommit => m::OffsetCommitRequest::default(),
        OffsetFetch => m::OffsetFetchRequest::default(),
        FindCoordinator => m::FindCoordinatorRequest::default(),
        ApiVersions => m::ApiVersionsRequest::default(),
        CreateTopics => m::CreateTopicsRequest::default(),
        DeleteTopics => m::DeleteTopicsRequest::default(),
        DeleteRecords => m::DeleteRecordsRequest::default(),
        DescribeConfigs => m::DescribeConfigsRequest::default(),
        JoinGroup => m::JoinGroupRequest::default(),
        SyncGroup => m::SyncGroupRequest::default(),
        Heartbeat => m::HeartbeatRequest::default(),
        LeaveGroup => m::LeaveGroupRequest::default(),
        ListGroups => m::ListGroupsRequest::default(),
        DescribeGroups => m::DescribeGroupsRequest::default(),
        DeleteGroups => m::DeleteGroupsRequest::default(),
        OffsetDelete => m::OffsetDeleteRequest::default(),
        InitProducerId => m::InitProducerIdRequest::default().with_transactional_id(None),
        OffsetForLeaderEpoch => m::OffsetForLeaderEpochRequest::default(),
        CreatePartitions => m::CreatePartitionsRequest::default(),
        AlterConfigs => m::AlterConfigsRequest::default(),
        IncrementalAlterConfigs => m::IncrementalAlterConfigsRequest::default(),
        DescribeCluster => m::DescribeClusterRequest::default(),
        DescribeLogDirs => m::DescribeLogDirsRequest::default(),
        DescribeAcls => m::DescribeAclsRequest::default(),
        ListPartitionReassignments => m::ListPartitionReassignmentsRequest::default()
    );
}

/// A request's frame: header version 1 without a client id, then `body`.
fn frame(key: i16, version: i16, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    out.put_i32(i32::try_from(10 + body.len()).unwrap());
    out.put_i16(key);
    out.put_i16(version);
    out.put_i32(1);
    out.put_i16(-1);
    out.extend_from_slice(body);
    out
}

#[tokio::test]
async fn a_broken_or_unknown_request_closes_its_connection_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut bystander = Raw::connect(broker.addr()).await;
    // Metadata v1 with an array of 2³¹−1 topics: decoded as it says, it would take 170 GB.
    let bomb = frame(3, 1, &i32::MAX.to_be_bytes());
    // The same with a compact length, in Metadata v9 (header version 2: a tag count first).
    let compact_bomb = frame(3, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    let cases: [(&str, &[u8]); 8] = [
        ("an array larger than the request", &bomb),
        ("a compact array larger than the request", &compact_bomb),
        ("a negative size", &(-1_i32).to_be_bytes()),
        ("a size above the limit", &i32::MAX.to_be_bytes()),
        ("too short for a header", &[0, 0, 0, 2, 0, 3]),
        ("an API that is not served", &frame(11, 0, &[])),
        ("a version that is not served", &frame(3, 99, &[])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::connect(broker.addr()).await;
        raw.send_bytes(bytes).await;
        assert!(raw.is_closed().await, "{what}");
        bystander.call(&MetadataRequest::default().with_topics(None), 4).await;
    }
}

#[tokio::test]
async fn a_request_of_more_elements_than_anybody_needs_closes_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    // Produce v9: no transaction, acks, timeout, topics of three bytes each (no name, no partitions, no
    // tags), no tags. Decoded, each takes a hundred bytes, and as many again in the answer.
    let request = |topics: u32| {
        let mut body = BytesMut::new();
        body.put_slice(&[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        // Their number plus one as a varint, at full length: three bytes.
        let [low, middle, high] = [0, 7, 14].map(|at| ((topics + 1) >> at).to_le_bytes()[0] & 0x7f);
        body.put_slice(&[low | 0x80, middle | 0x80, high]);
        (0..topics).for_each(|_| body.put_slice(&[1, 1, 0]));
        body.put_u8(0);
        frame(0, 9, &body)
    };
    let mut raw = Raw::connect(broker.addr()).await;
    raw.send_bytes(&request(1000)).await;
    let (_, answer) = raw.receive::<m::ProduceRequest>(9).await;
    assert_eq!(answer.responses.len(), 1000);
    raw.send_bytes(&request(1_000_000)).await;
    assert!(raw.is_closed().await);
}

#[tokio::test]
async fn a_topic_asked_for_a_thousand_times_is_described_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let asked = |topic| MetadataRequestTopic::default().with_name(Some(name(topic)));
    let topics = (0..1000).flat_map(|_| [asked("t"), asked("u")]).collect();
    let mut raw = Raw::connect(broker.addr()).await;
    let answer = raw.call(&MetadataRequest::default().with_topics(Some(topics)), 4).await;
    let names: Vec<_> = answer.topics.iter().filter_map(|topic| topic.name.as_ref()).collect();
    assert_eq!(names, [&name("t"), &name("u")]);
}

/// What an answer holds is a hundred to ten thousand times as long as what asks for it.
#[tokio::test]
async fn what_is_asked_for_a_thousand_times_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 2, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let group = m::GroupId(StrBytes::from_static_str("g"));

    let groups = vec![group.clone(); 1000];
    let request = m::DescribeGroupsRequest::default().with_groups(groups);
    assert_eq!(raw.call(&request, 5).await.groups.len(), 1);

    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"));
    let request = m::DescribeConfigsRequest::default().with_resources(vec![resource; 1000]);
    assert_eq!(raw.call(&request, 4).await.results.len(), 1);

    let offsets = OffsetFetchRequestTopics::default().with_name(name("t"));
    let offsets = offsets.with_partition_indexes([[0, 1]; 500].concat());
    let of_group =
        OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(vec![offsets; 2]));
    let request = m::OffsetFetchRequest::default().with_groups(vec![of_group; 10]);
    let answer = raw.call(&request, 8).await;
    let told = answer.groups.iter().flat_map(|group| &group.topics);
    assert_eq!(told.map(|topic| topic.partitions.len()).sum::<usize>(), 2);

    // Kafka refuses each of them, so that no time is looked for a thousand times.
    let asked = ListOffsetsPartition::default().with_partition_index(0).with_timestamp(1);
    let topic = ListOffsetsTopic::default().with_name(name("t")).with_partitions(vec![asked; 1000]);
    let request = m::ListOffsetsRequest::default().with_topics(vec![topic]);
    let answer = raw.call(&request, 7).await;
    let codes = answer.topics[0].partitions.iter().map(|partition| partition.error_code);
    let refused = codes.filter(|code| *code == ResponseError::InvalidRequest.code()).count();
    assert_eq!(refused, 1000);
}

#[tokio::test]
async fn a_group_with_an_endless_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for (length, code) in [(249, 0), (250, ResponseError::InvalidGroupId.code())] {
        let partition = OffsetCommitRequestPartition::default()
            .with_committed_offset(1)
            .with_committed_metadata(Some(StrBytes::new()));
        let topic = OffsetCommitRequestTopic::default()
            .with_name(name("t"))
            .with_partitions(vec![partition]);
        let request = m::OffsetCommitRequest::default()
            .with_group_id(m::GroupId(StrBytes::from_string("g".repeat(length))))
            .with_topics(vec![topic]);
        let answer = raw.call(&request, 8).await;
        assert_eq!(answer.topics[0].partitions[0].error_code, code, "{length} bytes");
    }
}

#[tokio::test]
async fn a_request_cut_anywhere_closes_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    // ListOffsets v1: replica, one topic "t", one partition 0, time -1.
    let mut body = BytesMut::new();
    body.put_i32(-1);
    body.put_i32(1);
    body.put_i16(1);
    body.put_u8(b't');
    body.put_i32(1);
    body.put_i32(0);
    body.put_i64(-1);
    for cut in 0..body.len() {
        let mut raw = Raw::connect(broker.addr()).await;
        raw.send_bytes(&frame(2, 1, &body[..cut])).await;
        assert!(raw.is_closed().await, "cut at {cut}");
    }
    let mut raw = Raw::connect(broker.addr()).await;
    raw.send_bytes(&frame(2, 1, &body)).await;
    let (_, whole) = raw.receive::<m::ListOffsetsRequest>(1).await;
    assert_eq!(whole.topics[0].partitions[0].offset, 0);
}

#[tokio::test]
async fn a_newer_client_learns_which_versions_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    raw.send_bytes(&frame(18, 77, &[])).await;
    let (_, versions) = raw.receive::<ApiVersionsRequest>(0).await;
    assert_eq!(versions.error_code, ResponseError::UnsupportedVersion.code());
    assert!(versions.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 3));
}

#[tokio::test]
async fn a_malformed_batch_is_refused_with_its_reason_and_poisons_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let good = batch(&[b"one", b"two"]);
    let with = |at: usize, bytes: &[u8], sealed: bool| {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        if sealed {
            seal(&mut bad);
        }
        Bytes::from(bad)
    };
    let twice = Bytes::from([&good[..], &good[..]].concat());
    let corrupt = ResponseError::CorruptMessage.code();
    let old = ResponseError::UnsupportedForMessageFormat.code();
    let invalid = ResponseError::InvalidRecord.code();
    let transaction = ResponseError::InvalidTxnState.code();
    let cases = [
        ("nothing", Bytes::new(), corrupt),
        ("cut", good.slice(..good.len() - 1), corrupt),
        ("two batches", twice, corrupt),
        ("magic 0", with(16, &[0], false), old),
        ("magic 1", with(16, &[1], false), old),
        ("a flipped bit", with(70, &[0xff], false), corrupt),
        ("no records", with(57, &0_i32.to_be_bytes(), true), corrupt),
        ("more records than there are", with(57, &3_i32.to_be_bytes(), true), corrupt),
        ("offsets that skip", with(23, &5_i32.to_be_bytes(), true), corrupt),
        ("a record longer than the batch", with(61, &[0x7e], true), corrupt),
        ("a key longer than its record", with(65, &[0x7e], true), corrupt),
        ("zstd that is none", with(21, &4_i16.to_be_bytes(), true), corrupt),
        ("a codec that does not exist", with(21, &7_i16.to_be_bytes(), true), corrupt),
        ("a control batch", with(21, &0x20_i16.to_be_bytes(), true), invalid),
        ("part of a transaction", with(21, &0x10_i16.to_be_bytes(), true), transaction),
        ("a producer without an epoch", with(43, &9_i64.to_be_bytes(), true), invalid),
    ];
    let mut raw = Raw::connect(broker.addr()).await;
    for (what, records, code) in cases {
        let answer = raw.produce("t", 0, records).await;
        assert_eq!(answer.error_code, code, "{what}: {:?}", answer.error_message);
        assert!(answer.error_message.is_some());
    }
    assert_eq!(broker.watermarks("t"), [(0, 0)]);
    assert_eq!(
        raw.produce("t", 1, good.clone()).await.error_code,
        ResponseError::UnknownTopicOrPartition.code()
    );
    assert_eq!(
        raw.produce("u", 0, good.clone()).await.error_code,
        ResponseError::UnknownTopicOrPartition.code()
    );
    assert_eq!(raw.produce("t", 0, good).await.error_code, 0);
}

#[tokio::test]
async fn a_small_batch_that_unpacks_to_a_huge_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("t", 1, &[]).unwrap();
    let zeros = vec![0; 200 << 20];
    let packed = {
        let mut out = batch(&[b"x"])[..61].to_vec();
        let mut encoder = flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &zeros).unwrap();
        encoder.finish().unwrap();
        let length = i32::try_from(out.len() - 12).unwrap();
        out[8..12].copy_from_slice(&length.to_be_bytes());
        out[21..23].copy_from_slice(&1_i16.to_be_bytes());
        seal(&mut out);
        Bytes::from(out)
    };
    let mut raw = Raw::connect(broker.addr()).await;
    assert!(packed.len() < 1 << 20, "{} bytes", packed.len());
    let answer = raw.produce("t", 0, packed).await;
    assert_eq!(
        answer.error_code,
        ResponseError::CorruptMessage.code(),
        "{:?}",
        answer.error_message
    );
}

/// A small generator of numbers (SplitMix64), so that a failure can be had again.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % n as u64).unwrap()
    }
}

/// What a frame may hold in place of what it should: sizes, counts and lengths of all kinds.
const NASTY: [&[u8]; 8] = [
    &[0xff, 0xff, 0xff, 0xff],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0x80, 0, 0, 0],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0, 0, 0, 0],
    &[0x7f, 0xff],
    &[0],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_bytes_disturb_no_other_connection() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("mine", 1, &[]).unwrap();
    let mut bystander = Raw::connect(broker.addr()).await;
    let served = bystander.call(&ApiVersionsRequest::default(), 3).await.api_keys;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut chance = Chance(seed);
    let mut produced = 0;
    for round in 0..600 {
        let api = &served[chance.below(served.len())];
        let first = if api.api_key == 0 { 3 } else { api.min_version };
        let versions = usize::try_from(api.max_version - first).unwrap() + 1;
        let version = first + i16::try_from(chance.below(versions)).unwrap();
        // Random bytes, or nothing but zeros, with nasty ones in between.
        let zeros = chance.below(2) == 0;
        let mut body: Vec<u8> = (0..chance.below(120))
            .map(|_| if zeros { 0 } else { chance.below(256).to_le_bytes()[0] })
            .collect();
        for _ in 0..chance.below(3) {
            let at = chance.below(body.len() + 1);
            let nasty = NASTY[chance.below(NASTY.len())];
            body.splice(at..at, nasty.iter().copied());
        }
        let mut bytes = frame(api.api_key, version, &body);
        if chance.below(10) == 0 {
            let at = chance.below(bytes.len());
            bytes[at] = chance.below(256).to_le_bytes()[0];
        }
        if chance.below(10) == 0 {
            bytes.truncate(chance.below(bytes.len()));
        }
        let mut raw = Raw::connect(broker.addr()).await;
        raw.send_bytes(&bytes).await;
        if chance.below(4) > 0 {
            // Some are left standing half-way; the broker must not wait for them.
            drop(raw);
        } else if round % 3 == 0 {
            std::mem::drop(tokio::spawn(async move { raw.is_closed().await }));
        }
        if round % 20 == 0 {
            let answer = bystander.produce("mine", 0, batch(&[b"x"])).await;
            assert_eq!((answer.error_code, answer.base_offset), (0, produced), "round {round}");
            produced += 1;
        }
    }
    assert_eq!(broker.watermarks("mine"), [(0, produced)]);
    broker.shutdown().await.unwrap();
    start(dir.path()).await.shutdown().await.unwrap();
}
