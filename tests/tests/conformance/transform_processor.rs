//! `transform/tests/transform_processor_test.cc`: what a processor reads, writes and remembers.

use std::time::{Duration, Instant};

use rskafka::record::Record as Sent;
use tickpanda_broker::TransformSpec;
use tickpanda_host::processor::{Commits, PartitionCommit, Processor, StartPosition, Timing, Todo};
use tickpanda_host::{Batch, Limits, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_tests::wasm;

use crate::cluster::{Cluster, SOME_TIME, record, record_at, spec, until};

/// Cases that Redpanda runs with one output and with several run with both here too.
const OUTPUTS: [&[&str]; 2] = [&["out"], &["out", "second", "third"]];

async fn cluster() -> Cluster {
    Cluster::start(&[("in", 1), ("out", 1), ("second", 1), ("third", 1)]).await
}

fn numbered(numbers: std::ops::Range<usize>) -> Vec<Sent> {
    numbers.map(|n| record("mirror", &n.to_string())).collect()
}

fn texts(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn one_record_and_many_come_out_as_they_went_in() {
    for outputs in OUTPUTS {
        for count in [1, 32] {
            let cluster = cluster().await;
            cluster.deploy("identity", "in", outputs).await;
            cluster.produce("in", 0, numbered(0..count)).await;
            assert_eq!(cluster.values("out", 0, count).await, texts(0..count));
            assert_eq!(cluster.status("identity", 0).failures, 0);
            assert_eq!(
                cluster.count("second") + cluster.count("third"),
                0,
                "the first is the default"
            );
        }
    }
}

#[tokio::test]
async fn one_record_and_many_come_out_on_every_output_of_a_tee() {
    let cluster = cluster().await;
    cluster.deploy("tee", "in", OUTPUTS[1]).await;
    for numbers in [0..1, 1..33] {
        cluster.produce("in", 0, numbered(numbers.clone())).await;
        for topic in OUTPUTS[1] {
            assert_eq!(
                cluster.values(topic, 0, numbers.end).await,
                texts(0..numbers.end),
                "{topic}"
            );
        }
    }
    assert_eq!(cluster.status("tee", 0).failures, 0);
}

#[tokio::test]
async fn a_restart_goes_on_after_what_was_committed() {
    for outputs in OUTPUTS {
        let cluster = cluster().await;
        cluster.deploy("identity", "in", outputs).await;
        for n in 0..32 {
            cluster.produce("in", 0, numbered(n..n + 1)).await;
        }
        assert_eq!(cluster.values("out", 0, 32).await, texts(0..32));
        until("all is committed", || cluster.status("identity", 0).committed == 32).await;
        let cluster = cluster.restart().await;
        cluster.deploy("identity", "in", outputs).await;
        for n in 32..64 {
            cluster.produce("in", 0, numbered(n..n + 1)).await;
        }
        assert_eq!(cluster.values("out", 0, 64).await, texts(0..64), "nothing twice");
        assert_eq!(cluster.status("identity", 0).failures, 0);
    }
}

#[tokio::test]
async fn a_batch_of_which_nothing_comes_out_is_committed_too() {
    let cluster = cluster().await;
    cluster.deploy("dynamic", "in", &["out"]).await;
    for (offset, command) in ["mirror", "zero", "mirror"].into_iter().enumerate() {
        cluster.produce("in", 0, vec![record(command, &offset.to_string())]).await;
        let next = i64::try_from(offset).unwrap() + 1;
        until("it is committed", || cluster.status("dynamic", 0).committed == next).await;
    }
    assert_eq!(cluster.values("out", 0, 2).await, ["0", "2"]);
}

#[tokio::test]
async fn the_lag_is_zero_when_all_is_done() {
    for outputs in OUTPUTS {
        let cluster = cluster().await;
        cluster.deploy("identity", "in", outputs).await;
        assert_eq!(cluster.status("identity", 0).lag, 0);
        cluster.produce("in", 0, numbered(0..1)).await;
        cluster.read("out", 0, 1).await;
        until("the lag is 0", || cluster.status("identity", 0).lag == 0).await;
    }
}

#[tokio::test]
async fn the_lag_is_zero_when_what_came_before_the_deploy_is_done() {
    for outputs in OUTPUTS {
        let cluster = cluster().await;
        cluster.produce("in", 0, numbered(0..1)).await;
        cluster.deploy("identity", "in", outputs).await;
        cluster.read("out", 0, 1).await;
        until("the lag is 0", || cluster.status("identity", 0).lag == 0).await;
    }
}

/// What comes of batches of records at these milliseconds, for a transform that starts at a time.
async fn from_time(start: i64, batches: &[&[i64]]) -> Vec<String> {
    let cluster = cluster().await;
    for batch in batches {
        let at = |ms: &i64| record_at("key", &ms.to_string(), SOME_TIME + ms);
        cluster.produce("in", 0, batch.iter().map(at).collect()).await;
    }
    let start = StartPosition::Timestamp(SOME_TIME + start);
    let spec = TransformSpec { start, ..spec("identity", "identity", "in", &["out"]) };
    cluster.broker.deploy(spec).await.unwrap();
    cluster.drained().await;
    cluster.values("out", 0, usize::try_from(cluster.count("out")).unwrap()).await
}

#[tokio::test]
async fn a_start_at_a_time_is_the_first_record_of_that_time() {
    let batches: Vec<[i64; 1]> = (0..10).map(|ms| [ms]).collect();
    let batches: Vec<&[i64]> = batches.iter().map(|batch| &batch[..]).collect();
    assert_eq!(from_time(4, &batches).await, texts(4..10));
}

#[tokio::test]
async fn a_start_at_a_time_takes_a_batch_whole() {
    // As Redpanda's: all records of a batch at one time.
    assert_eq!(from_time(4, &[&[0, 0, 0], &[3, 3, 3], &[6, 6, 6]]).await, ["6", "6", "6"]);
    // The time lies within the second batch.
    assert_eq!(from_time(4, &[&[0, 1, 2], &[3, 4, 5]]).await, texts(3..6));
}

#[tokio::test]
async fn starts_and_stops_may_be_repeated() {
    let cluster = cluster().await;
    cluster.deploy("identity", "in", &["out"]).await;
    cluster.deploy("identity", "in", &["out"]).await;
    cluster.produce("in", 0, numbered(0..1)).await;
    assert_eq!(cluster.values("out", 0, 1).await, ["0"]);
    let cluster = cluster.restart().await;
    let cluster = cluster.restart().await;
    cluster.deploy("identity", "in", &["out"]).await;
    cluster.produce("in", 0, numbered(1..2)).await;
    assert_eq!(cluster.values("out", 0, 2).await, ["0", "1"]);
}

/// A processor with the guest `tee` over three outputs, of which any can refuse to be written.
struct Rig {
    now: Instant,
    vm: Vm,
    processor: Processor,
    commits: Commits,
    kept: Vec<Option<i64>>,
    topics: Vec<Vec<String>>,
}

impl Rig {
    fn new() -> Self {
        let (now, timing) = (Instant::now(), Timing::broker());
        let module = Module::compile(&wasm::guest("tee")).unwrap();
        let limits = Limits::default();
        let config = VmConfig { limits, ..VmConfig::new("tee", "in", OUTPUTS[1].iter().copied()) };
        let mut processor = Processor::new(timing, now);
        processor.loaded(&[None; 3], 0);
        Self {
            now,
            vm: Vm::start(&module, config).unwrap(),
            processor,
            commits: Commits::new(timing, 1, 3),
            kept: vec![None; 3],
            topics: vec![Vec::new(); 3],
        }
    }

    /// Transforms the batch that is next, one record with its offset as value. Writing to the output
    /// `refusing` fails, the others are written; then it starts again from what is kept.
    fn step(&mut self, refusing: Option<usize>) {
        let Todo::Read(offset) = self.processor.todo(self.now) else { panic!("it does not run") };
        let value = offset.to_string();
        let batch =
            Batch::builder().base_offset(offset).record(0, &Record::value(value.as_bytes()));
        let mut outputs = Outputs::default();
        self.vm.transform(&batch.build().unwrap(), &mut outputs).unwrap();
        for output in (0..3).filter(|output| Some(*output) != refusing) {
            if self.processor.wants(output, offset + 1) {
                let of = outputs.iter().filter(|written| written.topic == output);
                let text = |record: Record<'_>| String::from_utf8(record.value.unwrap().to_vec());
                self.topics[output].extend(of.map(|written| text(written.record()).unwrap()));
                self.processor.written(output, offset + 1);
                self.commits.request(0, output, offset + 1, self.now);
            }
        }
        let written = self.commits.take();
        if let [PartitionCommit { outputs, .. }] = &written[..] {
            self.kept.clone_from(outputs);
        }
        self.commits.kept(&written);
        if refusing.is_some() {
            self.now += self.processor.failed(self.now);
            assert_eq!(self.processor.todo(self.now), Todo::Start);
            self.processor.started(self.now);
            assert!(matches!(self.processor.todo(self.now), Todo::Wait(_)));
            self.now += Duration::from_secs(3);
            assert_eq!(self.processor.todo(self.now), Todo::Load);
            self.processor.loaded(&self.kept, 0);
        }
    }
}

#[test]
fn outputs_that_are_ahead_get_nothing_twice_while_the_last_catches_up() {
    let mut rig = Rig::new();
    rig.step(None);
    assert_eq!(rig.kept, [Some(1); 3]);
    // The last output is stuck, for longer than one start.
    for _ in 0..3 {
        rig.step(Some(2));
        assert_eq!(rig.topics, [texts(0..2), texts(0..2), texts(0..1)]);
        assert_eq!(rig.kept, [Some(2), Some(2), Some(1)]);
    }
    rig.step(None);
    assert_eq!(rig.kept, [Some(2); 3], "it has caught up");
    rig.step(None);
    assert_eq!(rig.topics, [texts(0..3), texts(0..3), texts(0..3)], "everything once");
    assert_eq!(rig.processor.failures(), 3);
}
