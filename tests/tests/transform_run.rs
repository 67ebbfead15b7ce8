//! What `tickpanda transform run` promises of any transform next to any cluster, with the local broker as the
//! cluster: every record of the input comes out at least once, in order per input partition, whatever is killed.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, UnknownTopicHandling};
use rskafka::record::Record;
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_host::processor::{OutputBatch, TimestampType};
use tickpanda_kafka::{Client, ClientConfig};
use tickpanda_tests::demo::PATIENCE;
use tickpanda_tests::runner::{Runner, command, output};

const TEE: &str = include_str!("../data/tee.wat");
const INPUTS: i32 = 3;
const GROUP: &str = "tickpanda-transform.tee";

fn module(dir: &Path, wat: &str) -> PathBuf {
    let path = dir.join("tee.wasm");
    std::fs::write(&path, wat::parse_str(wat).unwrap()).unwrap();
    path
}

async fn broker(dir: &Path, listen: SocketAddr) -> Broker {
    let config = BrokerConfig { listen, ..BrokerConfig::new(dir.join("broker")) };
    let broker = Broker::start(config).await.unwrap();
    // Another partition count each: input mod count. The second topic's batches must be split.
    broker.create_topic("in", INPUTS, &[]).unwrap();
    broker.create_topic("out", 2, &[]).unwrap();
    broker.create_topic("copies", INPUTS, &[("max.message.bytes", "2000")]).unwrap();
    broker
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn total(broker: &Broker, topic: &str) -> i64 {
    broker.watermarks(topic).iter().map(|(start, end)| end - start).sum()
}

/// Batch `n` of each partition: `{partition} {n} {i}` each record.
fn values(partition: i32, n: u32) -> Vec<String> {
    (0..1 + n % 30).map(|i| format!("{partition} {n} {i} {}", "x".repeat(40))).collect()
}

async fn produce(address: SocketAddr, batches: std::ops::Range<u32>, pause: Duration) {
    let client = ClientBuilder::new(vec![address.to_string()]).build().await.unwrap();
    for n in batches {
        for partition in 0..INPUTS {
            let codec =
                [Compression::NoCompression, Compression::Lz4, Compression::Zstd][n as usize % 3];
            produce_to(&client, partition, values(partition, n), codec).await;
        }
        tokio::time::sleep(pause).await;
    }
}

/// One batch.
async fn produce_to(
    client: &rskafka::client::Client,
    partition: i32,
    values: Vec<String>,
    codec: Compression,
) {
    let handling = UnknownTopicHandling::Error;
    let to = client.partition_client("in", partition, handling).await.unwrap();
    let record = |value: String| Record {
        key: None,
        value: Some(value.into_bytes()),
        headers: BTreeMap::new(),
        timestamp: rskafka::chrono::DateTime::from_timestamp_millis(1_700_000_000_000).unwrap(),
    };
    to.produce(values.into_iter().map(record).collect(), codec).await.unwrap();
}

/// Changes one topic as nobody can from outside: while the broker is down.
fn alter(dir: &Path, topic: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("broker/meta.json");
    let mut meta: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut meta["topics"][topic]);
    std::fs::write(&path, meta.to_string()).unwrap();
}

async fn again(dir: &Path, listen: SocketAddr) -> Broker {
    Broker::start(BrokerConfig { listen, ..BrokerConfig::new(dir.join("broker")) }).await.unwrap()
}

/// All records of a topic, by partition.
async fn read(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
) -> Vec<Vec<tickpanda_kafka::Record>> {
    let client = Client::connect(&[address.to_string()], ClientConfig::default()).await.unwrap();
    let mut all = Vec::new();
    for partition in 0..partitions {
        let (mut records, mut next) = (Vec::new(), 0);
        loop {
            let read = client.read(topic, partition, next, 1 << 20, Duration::ZERO).await.unwrap();
            records.extend(read.records);
            next = read.next_offset;
            if next >= read.high_watermark {
                break;
            }
        }
        all.push(records);
    }
    all
}

/// Each input partition's values as first written to a topic, in order; and how often any was repeated.
async fn first_times(
    address: SocketAddr,
    topic: &str,
    partitions: i32,
) -> (Vec<Vec<String>>, usize) {
    let mut of_input = vec![Vec::new(); usize::try_from(INPUTS).unwrap()];
    let (mut seen, mut repeated) = (HashSet::new(), 0);
    for (partition, records) in (0..).zip(read(address, topic, partitions).await) {
        for record in records {
            let text = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
            let input: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(input % usize::try_from(partitions).unwrap(), partition, "input mod count");
            if seen.insert(text.clone()) {
                of_input[input].push(text);
            } else {
                repeated += 1;
            }
        }
    }
    (of_input, repeated)
}

fn expected(batches: u32) -> Vec<Vec<String>> {
    (0..INPUTS).map(|p| (0..batches).flat_map(|n| values(p, n)).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_loses_nothing_and_keeps_the_order() {
    const BATCHES: u32 = 300;
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    let start =
        || Runner::start(&mut command(dir.path(), &wasm, address, &["--from-offset", "+0"]));
    let producer = tokio::spawn(produce(address, 0..BATCHES, Duration::from_millis(10)));
    for share in [5, 3, 2] {
        let runner = start();
        let records: usize = expected(BATCHES).iter().map(Vec::len).sum();
        let enough = i64::try_from(records / share).unwrap();
        until("a part is transformed", || async { total(&broker, "out") >= enough }).await;
        runner.kill();
    }
    let runner = start();
    producer.await.unwrap();
    let expected = expected(BATCHES);
    let end: usize = expected.iter().map(Vec::len).sum();
    for (topic, partitions) in [("out", 2), ("copies", INPUTS)] {
        until("every record is there", || async {
            let (found, _) = first_times(address, topic, partitions).await;
            found.iter().map(Vec::len).sum::<usize>() == end
        })
        .await;
        let (found, repeated) = first_times(address, topic, partitions).await;
        assert_eq!(found, expected, "{topic}");
        println!("{topic}: {end} records, {repeated} repeated after three kills");
    }
    runner.stop();

    // A stop commits what is done, so another run repeats nothing.
    let client = Client::connect(&[address.to_string()], ClientConfig::default()).await.unwrap();
    let committed = client.committed_offsets(GROUP, "in").await.unwrap();
    let ends = broker.watermarks("in").into_iter().map(|(_, end)| end);
    assert_eq!(committed, (0..).zip(ends).collect::<Vec<_>>());
    let before = (total(&broker, "out"), total(&broker, "copies"));
    let runner = start();
    produce(address, BATCHES..BATCHES + 1, Duration::ZERO).await;
    let more = i64::try_from(values(0, BATCHES).len()).unwrap() * i64::from(INPUTS);
    let after = (before.0 + more, before.1 + more);
    until("the last batch is there", || async {
        total(&broker, "out") >= after.0 && total(&broker, "copies") >= after.1
    })
    .await;
    runner.stop();
    assert_eq!((total(&broker, "out"), total(&broker, "copies")), after);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_goes_and_comes_back_is_waited_for_with_one_line_of_log() {
    let dir = tempfile::tempdir().unwrap();
    let first = broker(dir.path(), anywhere()).await;
    let address = first.addr();
    let wasm = module(dir.path(), TEE);
    let mut runner =
        Runner::start(&mut command(dir.path(), &wasm, address, &["--from-offset", "+0"]));
    produce(address, 0..20, Duration::ZERO).await;
    until("it works", || async { total(&first, "copies") > 0 }).await;
    first.shutdown().await.unwrap();
    until("it has noticed", || async { runner.lines_with("does not serve") > 0 }).await;
    let second = broker(dir.path(), address).await;
    produce(address, 20..40, Duration::ZERO).await;
    let expected = expected(40);
    for (topic, partitions) in [("out", 2), ("copies", INPUTS)] {
        until("every record is there", || async {
            first_times(address, topic, partitions).await.0 == expected
        })
        .await;
    }
    until("it says so", || async { runner.lines_with("serves again") > 0 }).await;
    assert_eq!(runner.lines_with("does not serve"), 1);
    runner.stop();
    drop(second);

    // Nor does it give up where there is none at its start.
    runner = Runner::start(&mut command(dir.path(), &wasm, address, &[]));
    until("it waits", || async { runner.lines_with("does not serve") == 1 }).await;
    runner.stop();
}

/// Sends a batch as it is, as no ordinary client would.
fn send(address: SocketAddr, topic: &str, batch: &[u8]) {
    let mut body = vec![0, 0, 0, 7, 0, 0, 0, 1, 255, 255, 255, 255, 255, 255, 0, 0, 3, 232];
    body.extend(1_i32.to_be_bytes());
    body.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    body.extend(u32::try_from(batch.len()).unwrap().to_be_bytes());
    body.extend(batch);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&u32::try_from(body.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    let error_at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[error_at..error_at + 2], [0, 0], "the broker takes it");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_guest_writes_arrives_verbatim_also_where_rskafka_could_not_send_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    // Key "k", a tombstone; headers a = null, a = "1", "\xff" = "".
    let payload = [2, b'k', 1, 6, 2, b'a', 1, 2, b'a', 2, b'1', 2, 0xff, 0];
    let mut batch = OutputBatch::default();
    batch.push(&payload);
    send(address, "in", batch.seal(1_000, TimestampType::CreateTime).unwrap());
    let runner = Runner::start(&mut command(dir.path(), &wasm, address, &["--from-offset", "+0"]));
    until("it is there", || async { total(&broker, "out") + total(&broker, "copies") == 2 }).await;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    for topic in ["out", "copies"] {
        let record = read(address, topic, 1).await.remove(0).remove(0);
        assert_eq!((record.key.as_deref(), record.value), (Some(&b"k"[..]), None));
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            record.headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let expected: [(&[u8], Option<&[u8]>); 3] =
            [(b"a", None), (b"a", Some(b"1")), (b"\xff", Some(b""))];
        assert_eq!(headers, expected);
        let time = u128::try_from(record.timestamp_ms).unwrap();
        assert!((now - 60_000..=now).contains(&time), "written now, not when the input was");
    }
    runner.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_position_holds_until_something_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    produce(address, 0..3, Duration::ZERO).await; // batches of 1, 2 and 3 records
    for (name, more, records) in [
        ("last", &["--from-offset", "-1"][..], 3),
        ("second", &["--from-offset", "+1"], 5),
        ("time", &["--from-offset", "@1600000000000"], 6),
    ] {
        let before = total(&broker, "out");
        let args: Vec<&str> = [&["--name", name, "--partitions", "0"], more].concat();
        let runner = Runner::start(&mut command(dir.path(), &wasm, address, &args));
        let expected = before + records;
        until("it is done", || async { total(&broker, "out") >= expected }).await;
        runner.stop();
        assert_eq!(total(&broker, "out"), expected, "{name}: whole batches");
    }
    // Without one it begins with what comes after the start, and goes on there after kill -9.
    let before = total(&broker, "out");
    let start = || Runner::start(&mut command(dir.path(), &wasm, address, &["--name", "new"]));
    let client = Client::connect(&[address.to_string()], ClientConfig::default()).await.unwrap();
    let runner = start();
    until("its place is kept", || async {
        client.committed_offsets("tickpanda-transform.new", "in").await.unwrap().len() == 3
    })
    .await;
    runner.kill();
    produce(address, 3..4, Duration::ZERO).await;
    let runner = start();
    until("what came meanwhile is done", || async { total(&broker, "out") == before + 12 }).await;
    runner.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn runners_that_share_a_topic_begin_it_together_and_added_partitions_with_their_first_record()
{
    let dir = tempfile::tempdir().unwrap();
    let mut broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    produce(address, 0..3, Duration::ZERO).await; // batches of 1, 2 and 3 records
    // (the partition, records there that come out) of three runners, one after the other.
    for (partition, records) in [("0", 0), ("1", 4), ("3", 5)] {
        if partition == "3" {
            broker.shutdown().await.unwrap();
            alter(dir.path(), "in", |topic| topic["partitions"] = 4.into());
            broker = again(dir.path(), address).await;
            let client = ClientBuilder::new(vec![address.to_string()]).build().await.unwrap();
            produce_to(&client, 3, values(3, 4), Compression::NoCompression).await;
        }
        let before = total(&broker, "out");
        // Where what was added begins is not a matter of taste.
        let more: &[&str] = if partition == "3" { &["--from-offset", "-0"] } else { &[] };
        let args = [&["--name", "grows", "--partitions", partition], more].concat();
        let runner = Runner::start(&mut command(dir.path(), &wasm, address, &args));
        until("it runs and has done all there is", || async {
            runner.lines_with("running grows") == 1 && total(&broker, "out") >= before + records
        })
        .await;
        runner.stop();
        assert_eq!(total(&broker, "out"), before + records, "partition {partition}");
        if partition == "0" {
            produce(address, 3..4, Duration::ZERO).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_one_output_stops_there_and_outputs_that_are_ahead_repeat_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    produce(address, 0..3, Duration::ZERO).await; // batches of 1, 2 and 3 records
    let producer = ClientBuilder::new(vec![address.to_string()]).build().await.unwrap();
    let large = format!("0 3 0 {}", "x".repeat(3_000));
    produce_to(&producer, 0, vec![large.clone()], Compression::NoCompression).await;
    let start =
        || Runner::start(&mut command(dir.path(), &wasm, address, &["--from-offset", "+0"]));
    let too_large = "larger than its max.message.bytes=2000";
    let client = Client::connect(&[address.to_string()], ClientConfig::default()).await.unwrap();
    let committed = || async {
        let all = client.committed(GROUP, "in").await.unwrap();
        all.into_iter().map(|committed| committed.next_offset).collect::<Vec<_>>()
    };
    let mut runner = start();
    until("it says so", || async { runner.lines_with(too_large) > 0 }).await;
    until("the others go on", || async { total(&broker, "copies") >= 18 }).await;
    until("what is done is kept", || async { committed().await == [6, 6, 6] }).await;
    runner.stop();
    let expected = expected(3);
    assert_eq!(first_times(address, "out", 2).await, (expected.clone(), 0));
    assert_eq!(first_times(address, "copies", INPUTS).await, (expected, 0));

    // Only one output has what was done.
    let mut kept = client.committed(GROUP, "in").await.unwrap().remove(0);
    assert!(kept.metadata.contains(r#""copies":6"#), "{}", kept.metadata);
    kept.next_offset = 1;
    kept.metadata = kept.metadata.replace(r#""copies":6"#, r#""copies":1"#);
    client.commit(GROUP, "in", &[kept]).await.unwrap();
    runner = start();
    until("the other gets it again", || async { total(&broker, "copies") >= 18 + 5 }).await;
    until("it stops there again", || async { runner.lines_with(too_large) > 0 }).await;

    // A limit that was raised is found while it runs.
    broker.shutdown().await.unwrap();
    alter(dir.path(), "copies", |topic| topic["settings"]["max.message.bytes"] = "4000".into());
    broker = again(dir.path(), address).await;
    until("the large one is there", || async { total(&broker, "copies") > 18 + 5 }).await;
    runner.stop();
    let (found, repeated) = first_times(address, "out", 2).await;
    assert_eq!((found[0].last(), found[0].len(), repeated), (Some(&large), 7, 0));
    let (found, repeated) = first_times(address, "copies", INPUTS).await;
    assert_eq!((found[0].last(), found[0].len(), repeated), (Some(&large), 7, 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_topic_that_is_created_anew_is_begun_with_its_first_record() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    let runner = Runner::start(&mut command(dir.path(), &wasm, address, &["--from-offset", "+0"]));
    produce(address, 0..2, Duration::ZERO).await;
    until("it works", || async { total(&broker, "copies") == 9 }).await;
    let client = ClientBuilder::new(vec![address.to_string()]).build().await.unwrap();
    client.controller_client().unwrap().delete_topic("in", 1_000).await.unwrap();
    until("each partition misses it", || async {
        let misses = |p: i32| runner.lines_with(&format!("error running transform partition={p}"));
        (0..INPUTS).all(|partition| misses(partition) > 0)
    })
    .await;
    broker.create_topic("in", INPUTS, &[]).unwrap();
    // More than the last one had, so that its end can't tell.
    produce(address, 2..9, Duration::ZERO).await;
    let expected = expected(9);
    for (topic, partitions) in [("out", 2), ("copies", INPUTS)] {
        until("every record is there", || async {
            first_times(address, topic, partitions).await.0 == expected
        })
        .await;
    }
    assert_eq!(runner.lines_with("created anew"), 1);
    runner.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_has_the_memory_and_the_wasm_that_its_cluster_gives_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let large = TEE.replace(r#"(memory (export "memory") 2)"#, r#"(memory (export "memory") 40)"#);
    assert_ne!(large, TEE);
    let new = TEE.replace(
        "(func (export \"_start\")",
        "(func $f (return_call $check_abi))\n  (func (export \"_start\")",
    );
    assert_ne!(new, TEE);
    for (wat, setting) in
        [(large, ["--memory-limit", "4194304"]), (new, ["--profile", "wasmtime25"])]
    {
        let wasm = module(dir.path(), &wat);
        let before = total(&broker, "copies");
        let name = ["--name", setting[0].trim_start_matches('-'), "--from-offset", "+0"];
        produce(broker.addr(), 0..1, Duration::ZERO).await;
        let with = [&name[..], &setting].concat();
        let runner = Runner::start(&mut command(dir.path(), &wasm, broker.addr(), &with));
        until("it works", || async { total(&broker, "copies") >= before + 3 }).await;
        runner.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_run_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker(dir.path(), anywhere()).await;
    let (address, wasm) = (broker.addr(), module(dir.path(), TEE));
    let junk = dir.path().join("junk.wasm");
    std::fs::write(&junk, b"no module").unwrap();
    for (wasm, more, part) in [
        (&wasm, &["--output-topic", "missing"][..], "output topic missing does not exist"),
        (&wasm, &["--output-topic", "in"], "in is also an output topic"),
        (&wasm, &["--output-topic", "out"], "named twice"),
        (&wasm, &["--partitions", "0,7"], "has no partition 7"),
        (&wasm, &["--env", "REDPANDA_X=1"], "REDPANDA_"),
        (&wasm, &["--from-offset", "12"], "bad offset"),
        (&junk, &[], "junk.wasm"),
    ] {
        let output = output(&mut command(dir.path(), wasm, address, more));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(part), "{more:?}: {said}");
    }
}
