//! The thread of one transform.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tickpanda_host::{Batch, BatchHeader, HostError, LogLevel, Module, Outputs, Vm, VmConfig};
use uuid::Uuid;

use super::output::{OutputError, Writers};
use super::progress::Progress;
use super::spec::{TransformSpec, TransformTiming};
use super::status::{PartitionStatus, TransformState, TransformStatus};
use crate::batch::{HEADER, Header, Malformed};
use crate::error::BrokerError;
use crate::records;
use crate::settings::MAX_BATCH;
use crate::storage::{ReadError, Signal, Topic, millis};

/// Input that one partition may take before the next one's turn, in bytes; at least one batch.
const TURN: usize = 256 << 10;

/// Why a partition's turn failed.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("cannot read the input: {0}")]
    Read(#[from] ReadError),
    #[error("a damaged batch in the input: {0}")]
    Batch(#[from] Malformed),
    #[error("cannot write the output: {0}")]
    Output(#[from] OutputError),
}

/// One input partition.
#[derive(Debug, Clone)]
struct Lane {
    next: i64,
    committed: i64,
    /// Failures in a row, for the back-off, and since the start.
    in_a_row: u32,
    failures: u64,
    rests_until: Option<Instant>,
    error: Option<String>,
}

/// What the thread and its handle share.
#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    signal: Arc<Signal>,
    lanes: Mutex<Vec<Lane>>,
}

impl Shared {
    fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        // Numbers and texts that are each set in one step: whole after any panic.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running transform, from outside.
#[derive(Debug)]
pub(super) struct Handle {
    id: Uuid,
    name: String,
    input: Arc<Topic>,
    output_topics: Vec<String>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl Handle {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn uses(&self, topic: &str) -> bool {
        self.input.name == topic || self.output_topics.iter().any(|output| output == topic)
    }

    /// Tells the thread to end after the batch it works on.
    pub(super) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.signal.wake();
    }

    /// Waits for its end.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!(
                transform = self.name,
                "the transform's thread had panicked: what it last did may be repeated"
            );
        }
    }

    pub(super) fn status(&self) -> TransformStatus {
        let lanes = self.shared.lanes().clone();
        let partitions = (0..).zip(lanes.iter().zip(&self.input.partitions)).map(
            |(partition, (lane, input))| {
                let (_, end) = input.watermarks();
                PartitionStatus {
                    partition,
                    state: lane
                        .error
                        .clone()
                        .map_or(TransformState::Running, TransformState::Errored),
                    next: lane.next,
                    committed: lane.committed,
                    end,
                    lag: (end - lane.next).max(0),
                    failures: lane.failures,
                }
            },
        );
        TransformStatus {
            name: self.name.clone(),
            id: self.id,
            input_topic: self.input.name.clone(),
            output_topics: self.output_topics.clone(),
            partitions: partitions.collect(),
        }
    }
}

/// The thread's own.
pub(super) struct Worker {
    spec: TransformSpec,
    module: Module,
    /// `None` before the first batch and after a trap.
    vm: Option<Vm>,
    input: Arc<Topic>,
    outputs: Outputs,
    writers: Writers,
    progress: Progress,
    timing: TransformTiming,
    shared: Arc<Shared>,
    next_commit: Instant,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(
        mut spec: TransformSpec,
        module: Module,
        input: Arc<Topic>,
        outputs: Vec<Arc<Topic>>,
        progress: Progress,
        timing: TransformTiming,
    ) -> Result<Handle, BrokerError> {
        // Compiled: nobody needs its bytes any more.
        spec.wasm = Vec::new();
        let lane = |next| Lane {
            next,
            committed: next,
            in_a_row: 0,
            failures: 0,
            rests_until: None,
            error: None,
        };
        let signal = Arc::new(Signal::default());
        input.partitions.iter().for_each(|partition| partition.signal(&signal));
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            signal,
            lanes: Mutex::new(progress.next().map(lane).collect()),
        });
        let (id, name, output_topics) =
            (progress.id(), spec.name.clone(), spec.output_topics.clone());
        let next_commit = Instant::now() + timing.commit_interval;
        let worker = Self {
            spec,
            module,
            vm: None,
            input: Arc::clone(&input),
            outputs: Outputs::default(),
            writers: Writers::new(outputs),
            progress,
            timing,
            shared: Arc::clone(&shared),
            next_commit,
        };
        let thread = std::thread::Builder::new()
            .name("broker-transform".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| BrokerError::InvalidTransform {
                name: name.clone(),
                what: format!("no thread to run it on: {error}"),
            })?;
        Ok(Handle { id, name, input, output_topics, shared, thread })
    }

    fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    fn run(mut self) {
        let count = self.input.partitions.len();
        let mut first = 0;
        while !self.stopped() {
            let mut busy = false;
            for step in 0..count {
                if !self.stopped() {
                    busy |= self.turn((first + step) % count);
                }
            }
            first = (first + 1) % count;
            let rest = self.commit_if_due();
            if !busy && !self.stopped() {
                let rest = rest.into_iter().chain(self.shortest_rest()).min();
                self.shared.signal.wait(rest);
            }
        }
        self.commit();
    }

    /// How long until the first resting partition may try again.
    fn shortest_rest(&self) -> Option<Duration> {
        let now = Instant::now();
        let lanes = self.shared.lanes();
        lanes
            .iter()
            .filter_map(|lane| lane.rests_until)
            .map(|at| at.saturating_duration_since(now))
            .min()
    }

    /// One partition's turn; whether it did anything.
    fn turn(&mut self, index: usize) -> bool {
        let lane = self.shared.lanes()[index].clone();
        if lane.rests_until.is_some_and(|until| until > Instant::now()) {
            return false;
        }
        let mut next = lane.next;
        let mut done = self.work(index, &mut next);
        // What came out of the batches before one that failed is theirs, and stays.
        let written = self.writers.flush(index, now_ms());
        if let Err(error) = written {
            self.writers.clear();
            next = lane.next;
            done = Err(error.into());
        }
        {
            let mut lanes = self.shared.lanes();
            lanes[index].next = next;
            if next != lane.next || done.is_ok() {
                lanes[index].in_a_row = 0;
                lanes[index].rests_until = None;
                lanes[index].error = None;
            }
        }
        match done {
            Ok(()) => next != lane.next,
            Err(error) => {
                self.fail(index, &error);
                true
            }
        }
    }

    /// Transforms what a turn allows, moving `next` behind each batch that is done.
    fn work(&mut self, index: usize, next: &mut i64) -> Result<(), TurnError> {
        let partition = &self.input.partitions[index];
        let found = match partition.find(*next) {
            Err(ReadError::OutOfRange { offset, start, end }) => {
                let to = if offset < start { start } else { end };
                tracing::warn!(
                    transform = self.spec.name,
                    partition = index,
                    from = offset,
                    to,
                    "the input no longer has the next offset: going on where it can be read"
                );
                *next = to;
                return Ok(());
            }
            found => found?,
        };
        let Some(slice) = found.slice else { return Ok(()) };
        let mut rest = slice.read(TURN, true).map_err(ReadError::Io)?;
        while !rest.is_empty() && !self.stopped() {
            let header = Header::parse(&rest)?;
            let raw = rest.split_to(header.size.min(rest.len()));
            if !header.checksum_matches(&raw) {
                return Err(Malformed::Checksum.into());
            }
            let batch = Batch::new(guest_header(&header), plain(&header, &raw)?)?;
            self.transform(&batch)?;
            self.writers.take(&self.outputs, index, now_ms())?;
            *next = header.next_offset();
        }
        Ok(())
    }

    fn transform(&mut self, batch: &Batch) -> Result<(), HostError> {
        let vm = match &mut self.vm {
            Some(vm) => vm,
            None => {
                let vm = Vm::start(&self.module, self.vm_config())?;
                self.vm.insert(vm)
            }
        };
        let done = vm.transform(batch, &mut self.outputs);
        if done.is_err() {
            self.vm = None;
        }
        done
    }

    fn vm_config(&self) -> VmConfig {
        let name = self.spec.name.clone();
        let mut config = VmConfig::new(&name, &self.spec.input_topic, &self.spec.output_topics);
        config.env.clone_from(&self.spec.env);
        config.log(move |line| match (line.text, line.level) {
            (Ok(text), LogLevel::Info) => {
                tracing::info!(target: "transform", transform = name, "{}", text.trim_end());
            }
            (Ok(text), LogLevel::Warn) => {
                tracing::warn!(target: "transform", transform = name, "{}", text.trim_end());
            }
            (Err(dropped), _) => {
                tracing::debug!(target: "transform", transform = name, "a message that Redpanda would drop: {dropped}");
            }
        })
    }

    fn fail(&mut self, index: usize, error: &TurnError) {
        let (rest, next) = {
            let mut lanes = self.shared.lanes();
            let lane = &mut lanes[index];
            lane.in_a_row = lane.in_a_row.saturating_add(1);
            lane.failures += 1;
            lane.error = Some(error.to_string());
            let rest = self.timing.rest(lane.in_a_row);
            lane.rests_until = Some(Instant::now() + rest);
            (rest, lane.next)
        };
        tracing::warn!(
            transform = self.spec.name, partition = index, offset = next, retry_in = ?rest, %error,
            "error running transform"
        );
        // So that the retry begins with the batch that failed, also after a restart.
        self.commit();
    }

    /// Commits if there is progress and the interval is over; how long until then.
    fn commit_if_due(&mut self) -> Option<Duration> {
        let dirty = self.shared.lanes().iter().any(|lane| lane.next != lane.committed);
        if !dirty {
            return None;
        }
        let now = Instant::now();
        if now >= self.next_commit {
            self.commit();
            // Not dirty any more, unless it failed, and then it is tried again at its time.
            return Some(self.timing.commit_interval);
        }
        Some(self.next_commit - now)
    }

    fn commit(&mut self) {
        let next: Vec<i64> = self.shared.lanes().iter().map(|lane| lane.next).collect();
        self.next_commit = Instant::now() + self.timing.commit_interval;
        match self.progress.commit(next.iter().copied()) {
            Ok(()) => {
                let mut lanes = self.shared.lanes();
                lanes.iter_mut().zip(next).for_each(|(lane, next)| lane.committed = next);
            }
            Err(error) => report_commit(&self.spec.name, &error),
        }
    }
}

fn report_commit(transform: &str, error: &io::Error) {
    tracing::error!(transform, %error, "progress could not be written: a crash now would repeat outputs");
}

fn now_ms() -> i64 {
    millis(SystemTime::now())
}

/// The batch's records, without a copy where they are not compressed.
fn plain(header: &Header, raw: &Bytes) -> Result<Bytes, Malformed> {
    if header.codec() == 0 {
        return Ok(raw.slice(HEADER..));
    }
    Ok(Bytes::from(records::plain(header, raw, MAX_BATCH)?.into_owned()))
}

fn guest_header(header: &Header) -> BatchHeader {
    BatchHeader {
        base_offset: header.base_offset,
        record_count: header.count,
        partition_leader_epoch: header.leader_epoch,
        attributes: header.attributes,
        last_offset_delta: header.last_offset_delta,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    }
}
