//! `rptest/tests/data_transforms_test.py`: transforms on a cluster, from their deploy to their end. The
//! local broker is a cluster of one node.

use rskafka::client::partition::Compression;
use rskafka::record::Record;
use tickpanda_broker::TransformSpec;
use tickpanda_host::processor::StartPosition;

use crate::cluster::{Cluster, SOME_TIME, record, record_at, refused, spec, until};

/// Partitions of its topics.
const PARTITIONS: i32 = 9;

/// As `TransformVerifierProduceConfig`: numbered records of about a kilobyte in batches of up to 64 KiB
/// for each partition, 1 MB together.
async fn produce_verifiable(cluster: &Cluster, topic: &str) {
    for partition in 0..PARTITIONS {
        let filler = "x".repeat(1_000);
        let numbered = |n: usize| record(&n.to_string(), &format!("{partition}/{n}/{filler}"));
        let records: Vec<Record> = (0..RECORDS).map(numbered).collect();
        for (n, batch) in records.chunks(50).enumerate() {
            let codec = if n == 1 { Compression::Lz4 } else { Compression::NoCompression };
            cluster.produce_as(topic, partition, batch.to_vec(), codec).await;
        }
    }
}
/// Of each partition.
const RECORDS: usize = 110;

/// As its consumer: every record is there, in its partition's order. Here also: once, because nothing
/// fails.
async fn verify(cluster: &Cluster, topic: &str) {
    for partition in 0..PARTITIONS {
        let values = cluster.values(topic, partition, RECORDS).await;
        for (n, value) in values.iter().enumerate() {
            assert!(value.starts_with(&format!("{partition}/{n}/x")), "{topic}: {value}");
        }
    }
}

#[tokio::test]
async fn every_record_of_every_partition_comes_through_the_identity_in_order() {
    let cluster = Cluster::start(&[("in", PARTITIONS), ("out", PARTITIONS)]).await;
    cluster.deploy("identity", "in", &["out"]).await;
    produce_verifiable(&cluster, "in").await;
    verify(&cluster, "out").await;
}

#[tokio::test]
async fn three_transforms_in_a_row_bring_every_record_from_the_first_topic_to_the_last() {
    let topics = ["one", "two", "three", "four"];
    let cluster = Cluster::start(&topics.map(|topic| (topic, PARTITIONS))).await;
    for (n, pair) in topics.windows(2).enumerate() {
        let spec = spec("identity", &format!("identity-xform-{n}"), pair[0], &[pair[1]]);
        cluster.broker.deploy(spec).await.unwrap();
    }
    produce_verifiable(&cluster, topics[0]).await;
    verify(&cluster, topics[3]).await;
}

#[tokio::test]
async fn eight_output_topics_get_every_record() {
    let outputs = ["1", "2", "3", "4", "5", "6", "7", "8"];
    let topics = ["in"].into_iter().chain(outputs).map(|topic| (topic, PARTITIONS));
    let cluster = Cluster::start(&topics.collect::<Vec<_>>()).await;
    cluster.deploy("tee", "in", &outputs).await;
    produce_verifiable(&cluster, "in").await;
    for topic in outputs {
        verify(&cluster, topic).await;
    }
}

#[tokio::test]
async fn invalid_modules_are_refused_at_deploy_in_the_brokers_words() {
    let cluster = Cluster::start(&[("in", 1), ("out", 1)]).await;
    let no_abi = "Check the broker support for the version of the Data Transforms SDK being used.";
    for (name, wasm, message) in [
        ("garbage.wasm", GARBAGE, "invalid WebAssembly module"),
        ("add_two.wasm", ADD_TWO, "missing required WASI functions"),
        ("wasi.wasm", WASI, no_abi),
    ] {
        let spec =
            TransformSpec { wasm: wasm.to_vec(), ..spec("identity", "invalid", "in", &["out"]) };
        let said = refused(&cluster, spec).await;
        assert!(said.contains(message), "{name}: {said}");
    }
    assert!(cluster.broker.transform_status().is_empty());
}

/// Redpanda's three (`tests/docker/ducktape-deps/tinygo-wasi-transforms`): a type section that breaks
/// off in garbage, a module that adds two numbers, one that has only what WASI needs.
const GARBAGE: &[u8] =
    b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\xeb\x79\xe8\x1e\x8d\x3b\x3b\x30\x0d\x9a\x7b\
      \x3b\xa1\x94\xec\x74\x71\xe9\x39\x14";
const ADD_TWO: &[u8] =
    b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x0a\x01\x06addTwo\0\0\
      \x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b\0\x0a\x04name\x02\x03\x01\0\0";
const WASI: &[u8] =
    b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x13\x02\x06memory\
      \x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b\0\x0a\x04name\x02\x03\x01\0\0";

#[tokio::test]
async fn offsets_are_committed_a_redeploy_goes_on_from_them_and_a_removal_deletes_them() {
    let cluster = Cluster::start(&[("in", PARTITIONS), ("out", PARTITIONS)]).await;
    cluster.deploy("identity", "in", &["out"]).await;
    produce_verifiable(&cluster, "in").await;
    let all_committed = || {
        let of = |p| cluster.status("identity", p).committed;
        (0..9).all(|p| of(p) == i64::try_from(RECORDS).unwrap())
    };
    until("all offsets are committed", all_committed).await;
    // As `test_patch` sees it: under its name it keeps its offsets, whatever its start says now.
    for (n, env) in [("A", "1"), ("A", "2")].into_iter().enumerate() {
        let spec = TransformSpec {
            env: vec![(env.0.to_owned(), env.1.to_owned())],
            ..spec("wasi", "identity", "in", &["out"])
        };
        cluster.broker.deploy(spec).await.unwrap();
        cluster.produce("in", 4, vec![record("key", "value")]).await;
        let values = cluster.values("out", 4, RECORDS + 1 + n).await;
        assert!(values.last().unwrap().contains(&format!("A={}", env.1)), "{values:?}");
    }
    assert_eq!(cluster.count("out"), 9 * i64::try_from(RECORDS).unwrap() + 2, "nothing twice");
    assert_eq!(cluster.files_of_progress(), 1);
    cluster.broker.remove_transform("identity").await.unwrap();
    assert_eq!(cluster.files_of_progress(), 0);
}

/// What comes out of a transform that starts there: of nine records at 100, 200, … 900 ms, and of
/// one that is sent after its deploy.
async fn started(start: StartPosition) -> Vec<String> {
    let cluster = Cluster::start(&[("in", 1), ("out", 1)]).await;
    for n in 1..10 {
        cluster.produce("in", 0, vec![record_at("key", &n.to_string(), SOME_TIME + n * 100)]).await;
    }
    let spec = TransformSpec { start, ..spec("identity", "identity", "in", &["out"]) };
    cluster.broker.deploy(spec).await.unwrap();
    cluster.drained().await;
    cluster.produce("in", 0, vec![record_at("key", "new", SOME_TIME + 9_000)]).await;
    cluster.drained().await;
    cluster.values("out", 0, usize::try_from(cluster.count("out")).unwrap()).await
}

/// As rpk's `--from-offset` reads it.
fn position(text: &str) -> StartPosition {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[tokio::test]
async fn a_start_at_the_end_sees_what_comes_after_the_deploy() {
    assert_eq!(started(StartPosition::Latest).await, ["new"]);
}

#[tokio::test]
async fn a_start_at_an_offset_is_clamped_to_what_is_there() {
    let all = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "new"];
    let in_time = format!("@{}", SOME_TIME + 450);
    for (text, first) in [
        ("+0", 0),
        ("+4", 4),
        ("+9223372036854775807", 8),
        ("-1", 8),
        ("-3", 6),
        ("-9223372036854775807", 0),
        (in_time.as_str(), 4),
        ("@0", 0),
    ] {
        assert_eq!(started(position(text)).await, all[first..], "{text}");
    }
}

#[tokio::test]
async fn a_start_behind_the_end_waits_for_what_comes() {
    for text in ["-0", "@9223372036854775807"] {
        assert_eq!(started(position(text)).await, ["new"], "{text}");
    }
}

#[test]
fn seven_junk_offsets_are_refused() {
    for junk in ["", "12", "foo", "+foo", "-", "@1.5", "+9223372036854775808"] {
        let error = junk.parse::<StartPosition>().unwrap_err();
        assert!(error.to_string().starts_with("bad offset"), "{junk}: {error}");
    }
}
