//! Crashes: what was acknowledged stays, what was half-written goes.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rskafka::client::partition::Compression;
use tickpanda_broker::{Broker, BrokerConfig, BrokerError};

use crate::util::{batch, copy_dir, partition, read_from, record, start, until, value};

/// The newest segment of a partition.
fn last_segment(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap()
}

async fn filled(dir: &Path, records: i64) -> Broker {
    let broker = start(dir).await;
    broker.create_topic("t", 1, &[("segment.bytes", "4096")]).unwrap();
    let client = partition(broker.addr(), "t", 0).await;
    for i in 0..records {
        client.produce(vec![record(format!("{i}"))], Compression::NoCompression).await.unwrap();
    }
    broker
}

/// Starts on the directory, checks that the first `expected` records are all there is, appends.
async fn holds(dir: &Path, expected: i64, what: &str) {
    let broker = start(dir).await;
    assert_eq!(broker.watermarks("t"), [(0, expected)], "{what}");
    let client = partition(broker.addr(), "t", 0).await;
    let next = client
        .produce(vec![record(format!("{expected}"))], Compression::NoCompression)
        .await
        .unwrap();
    assert_eq!(next, [expected], "{what}");
    let all = read_from(&client, 0, 10_000).await;
    assert_eq!(all.len() as i64, expected + 1, "{what}");
    assert!(all.iter().all(|r| value(r) == r.offset.to_string().as_bytes()), "{what}");
}

#[tokio::test]
async fn a_torn_or_garbled_tail_is_cut_and_all_before_it_stays() {
    let live = tempfile::tempdir().unwrap();
    let broker = filled(live.path(), 100).await;
    type Damage = fn(&Path);
    fn append(segment: &Path, bytes: &[u8]) {
        OpenOptions::new().append(true).open(segment).unwrap().write_all(bytes).unwrap();
    }
    let cases: [(&str, Damage, i64); 6] = [
        ("a copy of the running broker's directory", |_| {}, 100),
        ("half a header", |s| append(s, &batch(&[b"torn"])[..30]), 100),
        ("half a batch", |s| append(s, &batch(&[b"torn"])[..70]), 100),
        ("zeros, as a file system may leave", |s| append(s, &[0; 5000]), 100),
        ("a whole batch of another offset", |s| append(s, &batch(&[b"stray"])), 100),
        (
            "a flipped bit in the last batch",
            |s| {
                let mut bytes = fs::read(s).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(s, bytes).unwrap();
            },
            99,
        ),
    ];
    for (what, damage, expected) in cases {
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(live.path(), crashed.path());
        damage(&last_segment(&crashed.path().join("topics/t/0")));
        holds(crashed.path(), expected, what).await;
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_cut_of_the_last_segment_keeps_its_whole_batches() {
    let live = tempfile::tempdir().unwrap();
    filled(live.path(), 3).await.shutdown().await.unwrap();
    let whole = fs::read(last_segment(&live.path().join("topics/t/0"))).unwrap();
    let size = whole.len() / 3;
    for cut in (0..=whole.len()).step_by(7).chain([size, 2 * size, whole.len()]) {
        let crashed = tempfile::tempdir().unwrap();
        copy_dir(live.path(), crashed.path());
        fs::write(last_segment(&crashed.path().join("topics/t/0")), &whole[..cut]).unwrap();
        let broker = start(crashed.path()).await;
        assert_eq!(
            broker.watermarks("t"),
            [(0, (cut / size) as i64)],
            "cut at {cut} of {}",
            whole.len()
        );
    }
}

#[tokio::test]
async fn damage_that_no_crash_explains_is_reported_with_the_file() {
    let whole = tempfile::tempdir().unwrap();
    filled(whole.path(), 100).await.shutdown().await.unwrap();
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 2] = [
        ("a closed segment that is cut", |bytes| bytes.truncate(bytes.len() / 2)),
        // A batch's offset lies outside its checksum.
        ("a batch of another offset in it", |bytes| bytes[..8].copy_from_slice(&[0x7f; 8])),
    ];
    for (what, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        copy_dir(whole.path(), dir.path());
        let first = dir.path().join("topics/t/0/00000000000000000000.log");
        let mut bytes = fs::read(&first).unwrap();
        damage(&mut bytes);
        fs::write(&first, bytes).unwrap();
        let refused = Broker::start(BrokerConfig::new(dir.path())).await.unwrap_err();
        assert!(matches!(refused, BrokerError::Corrupt { .. }), "{what}: {refused}");
        assert!(refused.to_string().contains("00000000000000000000.log"), "{what}: {refused}");
    }
}

#[tokio::test]
async fn topics_without_their_list_are_not_taken_for_rubbish() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 100).await.shutdown().await.unwrap();
    let (list, away) = (dir.path().join("meta.json"), dir.path().join("away"));
    fs::rename(&list, &away).unwrap();
    let refused = Broker::start(BrokerConfig::new(dir.path())).await.unwrap_err();
    assert!(refused.to_string().contains("meta.json"), "{refused}");
    fs::rename(&away, &list).unwrap();
    holds(dir.path(), 100, "the list is back").await;
}

/// A broker in a process of its own; killed with -9 when dropped.
struct Process(Child, SocketAddr);

impl Process {
    fn start(dir: &Path) -> Self {
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().unwrap().parent().unwrap().join("examples/broker-serve");
        let child =
            Command::new(&program).arg(dir).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = child.unwrap_or_else(|e| {
            panic!("{e}: {program:?} is built by cargo test of the whole crate")
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.trim().parse().expect("the broker's address");
        Self(child, addr)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_before_kill_9_is_there_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let setup = start(dir.path()).await;
    setup.create_topic("t", 2, &[("segment.bytes", "100000")]).unwrap();
    setup.shutdown().await.unwrap();
    let mut acknowledged: [Vec<(i64, String)>; 2] = Default::default();
    for round in 0..4 {
        let process = Process::start(dir.path());
        let count = Arc::new(AtomicU64::new(0));
        let producers: Vec<_> = (0..2)
            .map(|index| {
                let (addr, count) = (process.1, Arc::clone(&count));
                tokio::spawn(async move {
                    let client = partition(addr, "t", index).await;
                    let mut acknowledged = Vec::new();
                    for n in 0.. {
                        let values: Vec<_> =
                            (0..20).map(|i| format!("{round} {index} {n} {i}")).collect();
                        let records = values.iter().map(record).collect();
                        // The broker is killed at some point: this is how the loop ends.
                        let produce = client.produce(records, Compression::NoCompression);
                        let produced =
                            tokio::time::timeout(std::time::Duration::from_secs(3), produce).await;
                        let Ok(Ok(offsets)) = produced else { break };
                        acknowledged.extend(offsets.into_iter().zip(values));
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    acknowledged
                })
            })
            .collect();
        until("enough is acknowledged", || async { count.load(Ordering::Relaxed) > 300 }).await;
        drop(process);
        for (index, producer) in producers.into_iter().enumerate() {
            acknowledged[index].extend(producer.await.unwrap());
        }
    }
    let process = Process::start(dir.path());
    for (index, acknowledged) in (0..).zip(acknowledged) {
        let client = partition(process.1, "t", index).await;
        let all = read_from(&client, 0, 1 << 20).await;
        assert!(
            all.iter().enumerate().all(|(i, r)| r.offset == i as i64),
            "offsets without a hole"
        );
        for (offset, expected) in &acknowledged {
            let found = all.get(usize::try_from(*offset).unwrap()).map(value);
            assert_eq!(found, Some(expected.as_bytes()), "partition {index} offset {offset}");
        }
        println!("partition {index}: {} acknowledged, {} there", acknowledged.len(), all.len());
        assert!(acknowledged.len() > 20 * 4 * 50);
    }
}
