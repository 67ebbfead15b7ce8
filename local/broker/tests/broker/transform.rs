//! The engine: what goes in comes out where and how Redpanda would write it.

use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use rskafka::client::partition::Compression;
use tickpanda_broker::{
    Broker, BrokerConfig, BrokerError, StartFrom, TransformSpec, TransformState, TransformTiming,
};

use crate::util::{
    Raw, batch, batch_at, copy_dir, name, partition, read_from, record, start, until, value,
};

pub(crate) const IDENTITY: &str = include_str!("../../../host/tests/data/identity.wat");

fn spec(wat: &str) -> TransformSpec {
    TransformSpec {
        name: "identity".to_owned(),
        wasm: wat::parse_str(wat).expect("the guest is valid text"),
        input_topic: "in".to_owned(),
        output_topics: vec!["out".to_owned(), "other".to_owned()],
        env: vec![],
        start: StartFrom::Earliest,
    }
}

/// The identity, but it traps on a record without key whose value begins with `!`.
fn trapping() -> String {
    let write = "(if (i32.ne (call $write_record";
    assert_eq!(IDENTITY.matches(write).count(), 1);
    let trap = "(if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then (unreachable)))";
    IDENTITY.replace(write, &format!("{trap} {write}"))
}

async fn topics(dir: &Path, input: i32, output: i32, timing: TransformTiming) -> Broker {
    let config = BrokerConfig { transforms: timing, ..BrokerConfig::new(dir) };
    let broker = Broker::start(config).await.unwrap();
    for (topic, partitions) in [("in", input), ("out", output), ("other", 1)] {
        broker.create_topic(topic, partitions, &[]).unwrap();
    }
    broker
}

/// Waits until nothing is left to transform.
async fn drained(broker: &Broker) {
    until("the lag is 0", || async {
        broker.transform_status().iter().all(|t| t.partitions.iter().all(|p| p.lag == 0))
    })
    .await;
}

#[tokio::test]
async fn outputs_go_to_input_mod_count_in_order_with_the_brokers_time() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 3, 2, TransformTiming::default()).await;
    let mut expected = [Vec::new(), Vec::new()];
    // Half before the deploy, half after it; compressed and not.
    for n in 0..40 {
        if n == 20 {
            broker.deploy(spec(IDENTITY)).await.unwrap();
        }
        let codec = if n % 3 == 0 { Compression::Lz4 } else { Compression::NoCompression };
        for index in 0..3 {
            let client = partition(broker.addr(), "in", index).await;
            let values: Vec<_> = (0..=n % 4).map(|i| format!("{index} {n} {i}")).collect();
            client.produce(values.iter().map(record).collect(), codec).await.unwrap();
            expected[usize::try_from(index % 2).unwrap()].extend(values);
        }
    }
    drained(&broker).await;
    for index in 0..2 {
        let client = partition(broker.addr(), "out", index).await;
        let records = read_from(&client, 0, 1 << 20).await;
        assert!(records.iter().all(|r| r.record.headers["h"] == b"v"));
        // Inputs 0 and 2 meet in output 0: each in its own order.
        for input in [index, index + 2] {
            let of = |values: &[String]| -> Vec<String> {
                values.iter().filter(|v| v.starts_with(&format!("{input} "))).cloned().collect()
            };
            let got: Vec<String> =
                records.iter().map(|r| String::from_utf8(value(r).to_vec()).unwrap()).collect();
            assert_eq!(of(&got), of(&expected[usize::try_from(index).unwrap()]), "input {input}");
        }
        assert_eq!(records.len(), expected[usize::try_from(index).unwrap()].len());
    }
    assert_eq!(broker.watermarks("other"), [(0, 0)]);

    let topic = FetchTopic::default().with_topic(name("out")).with_partitions(vec![
        FetchPartition::default().with_partition(1).with_partition_max_bytes(1 << 20),
    ]);
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
    let response = Raw::connect(broker.addr()).await.call(&request, 4).await;
    let raw = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(raw[21..23], [0, 0b1000], "uncompressed, log-append time");
    assert_eq!(raw[43..51], (-1_i64).to_be_bytes(), "no producer");
    let time = i64::from_be_bytes(raw[35..43].try_into().unwrap());
    let now = crate::util::now_ms();
    assert!((now - 60_000..=now).contains(&time));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_clean_restart_repeats_nothing_and_a_crash_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let never = TransformTiming {
        commit_interval: Duration::from_secs(3600),
        ..TransformTiming::default()
    };
    let broker = topics(dir.path(), 2, 2, never).await;
    broker.deploy(spec(IDENTITY)).await.unwrap();
    for index in 0..2 {
        let client = partition(broker.addr(), "in", index).await;
        for n in 0..50 {
            client.produce(vec![record(format!("{n}"))], Compression::NoCompression).await.unwrap();
        }
    }
    drained(&broker).await;
    assert_eq!(broker.watermarks("out"), [(0, 50), (0, 50)]);
    let crashed = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), crashed.path());
    let id = broker.transform_status()[0].id;
    broker.shutdown().await.unwrap();

    let broker = topics(dir.path(), 2, 2, never).await;
    broker.deploy(spec(IDENTITY)).await.unwrap();
    assert_eq!(broker.transform_status()[0].id, id);
    let client = partition(broker.addr(), "in", 0).await;
    client.produce(vec![record("50")], Compression::NoCompression).await.unwrap();
    drained(&broker).await;
    assert_eq!(broker.watermarks("out"), [(0, 51), (0, 50)]);

    // From the last committed offsets, whatever has been written since.
    let committed: Vec<i64> = {
        let files = std::fs::read_dir(crashed.path().join("transforms")).unwrap();
        let json = std::fs::read_to_string(files.last().unwrap().unwrap().path()).unwrap();
        let state: serde_json::Value = serde_json::from_str(&json).unwrap();
        ["0", "1"].iter().map(|p| state["next"][p][0].as_i64().unwrap()).collect()
    };
    let broker = topics(crashed.path(), 2, 2, never).await;
    assert_eq!(broker.watermarks("out"), [(0, 50), (0, 50)]);
    broker.deploy(spec(IDENTITY)).await.unwrap();
    drained(&broker).await;
    for (index, from) in (0..).zip(committed) {
        assert!(from < 50, "the crash came before a commit");
        let client = partition(broker.addr(), "out", index).await;
        let values = read_from(&client, 0, 1 << 20).await;
        let got: Vec<i64> =
            values.iter().map(|r| String::from_utf8_lossy(value(r)).parse().unwrap()).collect();
        assert_eq!(got, (0..50).chain(from..50).collect::<Vec<_>>(), "partition {index}");
    }
}

#[tokio::test]
async fn a_trap_is_tried_again_and_blocks_its_partition_only() {
    let dir = tempfile::tempdir().unwrap();
    let timing = TransformTiming {
        backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(40),
        ..TransformTiming::prompt()
    };
    let broker = topics(dir.path(), 2, 2, timing).await;
    broker.deploy(spec(&trapping())).await.unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    for values in [&[&b"a"[..], b"b"][..], &[b"c", b"!"], &[b"d"]] {
        raw.produce("in", 0, batch(values)).await;
    }
    let status = || broker.transform_status().remove(0).partitions;
    until("it has failed three times", || async { status()[0].failures >= 3 }).await;
    raw.produce("in", 1, batch(&[b"x"])).await;
    until("the other partition gets on", || async { status()[1].lag == 0 }).await;
    let errored = |state: &TransformState| matches!(state, TransformState::Errored(_));
    until("it rests", || async { errored(&status()[0].state) }).await;
    let partitions = status();
    if let TransformState::Errored(why) = &partitions[0].state {
        assert!(why.contains("unreachable"), "{why}");
    }
    assert_eq!((partitions[0].next, partitions[0].committed, partitions[0].lag), (2, 2, 3));
    assert_eq!(partitions[1].state, TransformState::Running);
    // Nothing of the batch that fails, and nothing behind it.
    assert_eq!(broker.watermarks("out"), [(0, 2), (0, 1)]);

    broker.deploy(spec(IDENTITY)).await.unwrap();
    drained(&broker).await;
    let client = partition(broker.addr(), "out", 0).await;
    let records = read_from(&client, 0, 1 << 20).await;
    let got: Vec<&[u8]> = records.iter().map(value).collect();
    assert_eq!(got, [b"a", b"b", b"c", b"!", b"d"]);
    assert_eq!(broker.transform_status()[0].partitions[0].state, TransformState::Running);
}

#[tokio::test]
async fn output_batches_stay_within_max_message_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("in", 1, &[]).unwrap();
    broker.create_topic("out", 1, &[("max.message.bytes", "1000")]).unwrap();
    broker.create_topic("other", 1, &[]).unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let values: Vec<Vec<u8>> = (0..60_u8).map(|i| vec![i; 100]).collect();
    let slices: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    raw.produce("in", 0, batch(&slices)).await;
    broker.deploy(spec(IDENTITY)).await.unwrap();
    drained(&broker).await;
    let client = partition(broker.addr(), "out", 0).await;
    let records = read_from(&client, 0, 1 << 20).await;
    assert_eq!(records.iter().map(value).collect::<Vec<_>>(), slices);

    // One record that no batch can hold: as in Redpanda, the transform stays where it is.
    raw.produce("in", 0, batch(&[&[1; 2000]])).await;
    let status = || broker.transform_status().remove(0).partitions.remove(0);
    until("it has failed for that reason", || async {
        matches!(status().state, TransformState::Errored(why) if why.contains("max.message.bytes=1000"))
    })
    .await;
    assert!(status().failures > 0);
}

#[tokio::test]
async fn progress_belongs_to_the_input_topics_id() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..3 {
        let broker = topics(dir.path(), 1, 1, TransformTiming::default()).await;
        let mut raw = Raw::connect(broker.addr()).await;
        if round == 0 {
            raw.produce("in", 0, batch(&[b"old", b"old", b"old"])).await;
            broker.deploy(spec(IDENTITY)).await.unwrap();
            drained(&broker).await;
            broker.shutdown().await.unwrap();
            let broker = start(dir.path()).await;
            // Not deployed now, so nothing keeps the topic from being deleted.
            let controller = crate::util::client(broker.addr()).await.controller_client().unwrap();
            controller.delete_topic("in", 1000).await.unwrap();
            broker.shutdown().await.unwrap();
            continue;
        }
        raw.produce("in", 0, batch(&[b"new"])).await;
        broker.deploy(spec(IDENTITY)).await.unwrap();
        drained(&broker).await;
        assert_eq!(broker.watermarks("out"), [(0, 3 + round)], "each record once");
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn it_starts_where_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::default()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    for ms in [1000, 2000, 3000] {
        raw.produce("in", 0, batch_at(&[b"old", b"old"], ms)).await;
    }
    let cases = [
        (StartFrom::Earliest, 0),
        (StartFrom::Latest, 6),
        (StartFrom::Timestamp(1500), 2),
        (StartFrom::Timestamp(3001), 6),
    ];
    for (start, expected) in cases {
        let spec = TransformSpec { name: format!("{start:?}"), start, ..spec(IDENTITY) };
        let name = spec.name.clone();
        let before = broker.watermarks("out")[0].1;
        broker.deploy(spec).await.unwrap();
        until("it is done", || async {
            broker.transform_status().iter().any(|t| t.name == name && t.partitions[0].lag == 0)
        })
        .await;
        assert_eq!(broker.watermarks("out")[0].1 - before, 6 - expected, "{name}");
    }
}

#[tokio::test]
async fn what_the_broker_would_refuse_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::default()).await;
    let topics = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let env = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let cases = [
        (TransformSpec { wasm: b"no wasm".to_vec(), ..spec(IDENTITY) }, "invalid WebAssembly"),
        (TransformSpec { input_topic: "missing".into(), ..spec(IDENTITY) }, "missing"),
        (TransformSpec { output_topics: topics(&["out", "missing"]), ..spec(IDENTITY) }, "missing"),
        (TransformSpec { output_topics: topics(&["out", "out"]), ..spec(IDENTITY) }, "different"),
        (TransformSpec { output_topics: topics(&["in"]), ..spec(IDENTITY) }, "input topic"),
        (TransformSpec { output_topics: topics(&[]), ..spec(IDENTITY) }, "1 to 8"),
        (TransformSpec { name: "a\nb".into(), ..spec(IDENTITY) }, "control"),
        (TransformSpec { env: env("REDPANDA_X", "1"), ..spec(IDENTITY) }, "REDPANDA_"),
        (TransformSpec { env: env("X", "two\nlines"), ..spec(IDENTITY) }, "value"),
    ];
    for (spec, part) in cases {
        let refused = broker.deploy(spec).await.unwrap_err();
        assert!(matches!(refused, BrokerError::InvalidTransform { .. }));
        assert!(refused.to_string().contains(part), "{refused}");
    }
    broker.deploy(spec(IDENTITY)).await.unwrap();
    let controller = crate::util::client(broker.addr()).await.controller_client().unwrap();
    let refused = controller.delete_topic("in", 1000).await.unwrap_err();
    assert!(refused.to_string().contains("PolicyViolation"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_input_is_transformed_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::default()).await;
    broker.deploy(spec(IDENTITY)).await.unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    let client = partition(broker.addr(), "out", 0).await;
    let mut took = Vec::new();
    for n in 0..30 {
        let asked = Instant::now();
        raw.produce("in", 0, batch(&[b"x"])).await;
        let (records, _) = client.fetch_records(n, 1..1000, 20_000).await.unwrap();
        took.push(asked.elapsed());
        assert_eq!(records.len(), 1);
    }
    took.sort();
    println!(
        "produced to transformed and fetched: fastest {:?}, median {:?}, slowest {:?}",
        took[0], took[15], took[29]
    );
    assert!(took[0] < Duration::from_millis(20), "fastest {:?}", took[0]);
    assert!(took[29] < Duration::from_secs(5), "slowest {:?}", took[29]);
}

/// The identity, and every record to the second output too.
pub(crate) fn tee() -> String {
    let import = "(memory (export";
    let options = "(import \"redpanda_transform\" \"write_record_with_options\" \
        (func $write_with (param i32 i32 i32 i32) (result i32)))";
    let again = "(br $records)";
    assert!(IDENTITY.matches(import).count() == 1 && IDENTITY.matches(again).count() == 1);
    let write =
        "(drop (call $write_with (i32.const 4096) (local.get $len) (i32.const 80) (i32.const 7)))";
    let data = r#"(data (i32.const 80) "\01\0aother")"#;
    IDENTITY
        .replace(again, &format!("{write} {again}"))
        .replace(import, &format!("{options} {import}"))
        .replace("(func (export \"_start\")", &format!("{data} (func (export \"_start\")"))
}

/// The file in which the only transform's progress is kept.
fn progress_file(dir: &Path) -> std::path::PathBuf {
    std::fs::read_dir(dir.join("transforms")).unwrap().last().unwrap().unwrap().path()
}

#[tokio::test]
async fn outputs_that_are_ahead_after_a_restart_are_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::prompt()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    for values in [&[&b"a"[..], b"b"][..], &[b"c"], &[b"d"]] {
        raw.produce("in", 0, batch(values)).await;
    }
    broker.deploy(spec(&tee())).await.unwrap();
    drained(&broker).await;
    broker.shutdown().await.unwrap();

    // As if the broker had been killed when the second output had only the first batch, and all of it, kept.
    let file = progress_file(dir.path());
    let mut kept: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["next"]["0"], serde_json::json!([4, 4]));
    kept["next"]["0"] = serde_json::json!([3, 2]);
    std::fs::write(&file, kept.to_string()).unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::prompt()).await;
    broker.deploy(spec(&tee())).await.unwrap();
    drained(&broker).await;
    for (topic, expected) in [("out", &b"abcdd"[..]), ("other", b"abcdcd")] {
        let client = partition(broker.addr(), topic, 0).await;
        let records = read_from(&client, 0, 1 << 20).await;
        let got: Vec<u8> = records.iter().flat_map(|r| value(r).to_vec()).collect();
        assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected), "{topic}");
    }
    broker.shutdown().await.unwrap();

    // Before outputs had offsets of their own there was one number for all.
    kept["next"]["0"] = 3.into();
    kept.as_object_mut().unwrap().remove("outputs");
    std::fs::write(&file, kept.to_string()).unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::prompt()).await;
    broker.deploy(spec(&tee())).await.unwrap();
    drained(&broker).await;
    assert_eq!((broker.watermarks("out")[0].1, broker.watermarks("other")[0].1), (6, 7));
}

#[tokio::test]
async fn the_brokers_own_waits_are_kept_under_broker_timing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::broker()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    raw.produce("in", 0, batch(&[b"x"])).await;
    let deployed = Instant::now();
    broker.deploy(spec(IDENTITY)).await.unwrap();
    let status = || broker.transform_status().remove(0).partitions.remove(0);
    assert_eq!(status().state, TransformState::Inactive);
    until("it has transformed", || async { broker.watermarks("out") == [(0, 1)] }).await;
    let ran = deployed.elapsed();
    assert!(ran >= Duration::from_secs(3), "one commit interval before it runs, not {ran:?}");
    let partition = status();
    assert_eq!((partition.state, partition.committed), (TransformState::Running, 0));

    // Between the looks at a drained input new records wait.
    let mut longest = Duration::ZERO;
    for n in 2..4 {
        let asked = Instant::now();
        raw.produce("in", 0, batch(&[b"x"])).await;
        until("it is transformed", || async { broker.watermarks("out") == [(0, n)] }).await;
        longest = longest.max(asked.elapsed());
    }
    assert!(longest > Duration::from_millis(500), "it has not waited: {longest:?}");
    until("it is committed", || async { status().committed == 3 }).await;
    // An interval before it ran and one before it committed; when it ran is seen only some time later.
    assert!(deployed.elapsed() >= Duration::from_secs(6), "{:?}", deployed.elapsed());
}

#[tokio::test]
async fn messages_that_redpanda_would_drop_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path(), 1, 1, TransformTiming::prompt()).await;
    let (memory, start) = ("(memory (export", "(func (export \"_start\")");
    let print = "(import \"wasi_snapshot_preview1\" \"fd_write\" \
        (func $print (param i32 i32 i32 i32) (result i32)))";
    let data =
        r#"(data (i32.const 96) "\70\00\00\00\04\00\00\00") (data (i32.const 112) "bad\07")"#;
    let call = "(drop (call $print (i32.const 2) (i32.const 96) (i32.const 1) (i32.const 88)))";
    let guest = IDENTITY
        .replace(memory, &format!("{print} {memory}"))
        .replace(start, &format!("{data} {start}"))
        .replace("(br $records)", &format!("{call} (br $records)"));
    broker.deploy(spec(&guest)).await.unwrap();
    let mut raw = Raw::connect(broker.addr()).await;
    raw.produce("in", 0, batch(&[b"1", b"2", b"3"])).await;
    drained(&broker).await;
    let dropped = broker.transform_status()[0].dropped_logs;
    assert_eq!((dropped.control_character, dropped.total()), (3, 3));
}
