//! The transform engine: what is produced to an input topic appears on the output topics, as
//! Redpanda would write it.
//!
//! ```text
//! input partition ─▶ read batches ─▶ decompress ─▶ Vm (tickpanda-host) ─▶ frame ─▶ output partition
//!       ▲                                                                    │       (input mod count)
//!       └───────────── next offset, committed after the outputs ◀────────────┘
//! ```
//!
//! One thread and one VM for each transform; it serves the input partitions in turn. When a partition
//! starts, rests and commits is decided by [`tickpanda_host::processor`]. At least once: progress is
//! written after the outputs, so what a killed broker had not committed is transformed again. A batch
//! on which the guest traps is tried again for ever, with a growing back-off, while the other
//! partitions go on in a new VM. Nothing here may decode a record.
//!
//! - `change`: deploying, changing, removing; `settle`: carrying that out; `spec`, `beside`: what may be deployed; `refusal`: why not
//! - `deployment`: what is known of a transform; `kept`: those that a restart brings back; `code`: its module
//! - `worker`: the thread; `turn`: one partition's turn, from `input` through the `guest` to `output`
//! - `handle`, `status`: the transform from outside; `progress`: how far it is, on disk; `logs`: what guests print

mod beside;
mod change;
mod code;
mod deployment;
mod guest;
mod handle;
mod input;
mod kept;
mod logs;
mod output;
mod progress;
mod refusal;
mod settle;
mod spec;
mod status;
mod turn;
mod worker;

pub(crate) use change::Plan;
pub(crate) use code::Code;
pub(crate) use deployment::Change;
pub(crate) use logs::TOPIC as TRANSFORM_LOGS;
pub(crate) use progress::CommittedOffset;
pub use refusal::Refusal;
pub use spec::{StartFrom, TransformSpec, TransformTiming};
pub use status::{PartitionStatus, TransformState, TransformStatus};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tickpanda_host::processor;
use tickpanda_host::{Limits, LogDrops, Profile};
use uuid::Uuid;

use crate::error::BrokerError;
use crate::storage::Store;
use change::Changes;
use deployment::Deployment;
use handle::Handle;
use kept::Kept;

/// How all guests are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guests {
    pub(crate) timing: TransformTiming,
    pub(crate) limits: Limits,
    pub(crate) profile: Profile,
    /// So many at most.
    pub(crate) most: usize,
    /// The broker's id, for the log.
    pub(crate) node: i32,
}

/// A deployed transform, whether it runs or not.
#[derive(Debug)]
struct Transform {
    deployment: Deployment,
    /// Whether a restart brings it back.
    kept: bool,
    /// `None` where its module's file could not be read.
    code: Option<Arc<Code>>,
    /// `None` while it is paused, being replaced, or could not be started.
    running: Option<Handle>,
    /// Why it could not be started.
    problem: String,
    /// Held by whoever ends and starts it.
    turn: Arc<Mutex<()>>,
}

impl Transform {
    /// Nothing runs of it yet, and there is nothing to run.
    fn new(deployment: Deployment, kept: bool) -> Self {
        let (code, running, problem, turn) = (None, None, String::new(), Arc::default());
        Self { deployment, kept, code, running, problem, turn }
    }
}

/// All deployed transforms.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<Store>,
    guests: Guests,
    kept: Kept,
    /// Held by whoever decides on a change and writes it down: for a moment, not until it is carried out.
    changes: Mutex<Changes>,
    /// By number. Held for moments only.
    transforms: Mutex<BTreeMap<u64, Transform>>,
    /// Removed ones of which something may still run.
    leaving: Mutex<BTreeSet<Uuid>>,
    /// Threads that carry changes out.
    settling: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn new(store: Arc<Store>, guests: Guests) -> Self {
        let kept = Kept::new(store.deployed_dir());
        Self {
            store,
            guests,
            kept,
            changes: Mutex::default(),
            transforms: Mutex::default(),
            leaving: Mutex::default(),
            settling: Mutex::default(),
        }
    }

    /// Transforms at most.
    pub(crate) fn most(&self) -> usize {
        self.guests.most
    }

    fn transforms(&self) -> MutexGuard<'_, BTreeMap<u64, Transform>> {
        // The map is whole after any panic: transforms are put in and taken out in one step.
        self.transforms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far every transform is, in the order of their first deploys.
    pub(crate) fn status(&self) -> Vec<TransformStatus> {
        self.transforms().values().map(|transform| self.status_of(transform)).collect()
    }

    fn status_of(&self, transform: &Transform) -> TransformStatus {
        let Deployment { name, input_topic, output_topics, env, compression, paused, .. } =
            transform.deployment.clone();
        let id = transform.deployment.id;
        let (partitions, dropped_logs) = match &transform.running {
            Some(handle) => (handle.partitions(), handle.dropped_logs()),
            None => (self.at_rest(transform), LogDrops::default()),
        };
        TransformStatus {
            name,
            id,
            paused,
            env,
            compression,
            input_topic,
            output_topics,
            partitions,
            dropped_logs,
        }
    }

    /// The partitions of a transform that nothing runs, from what is kept of it.
    fn at_rest(&self, transform: &Transform) -> Vec<PartitionStatus> {
        let deployment = &transform.deployment;
        let Some(input) = self.store.topic(&deployment.input_topic) else { return Vec::new() };
        // Whoever starts it next is told what is wrong with the file.
        let kept = progress::peek(&self.store.transforms_dir(), deployment.id).ok().flatten();
        let state = match deployment.paused {
            true => TransformState::Inactive,
            false => TransformState::Unknown(transform.problem.clone()),
        };
        let partitions = (0..).zip(&input.partitions).map(|(partition, log)| {
            let (start, end) = log.watermarks();
            let index = usize::try_from(partition).unwrap_or(0);
            let outputs = kept.as_ref().map(|kept| kept.kept(index).outputs).unwrap_or_default();
            let next = outputs.into_iter().flatten().min().unwrap_or(start);
            PartitionStatus {
                partition,
                state: state.clone(),
                next,
                committed: next,
                end,
                lag: processor::lag(next, end),
                failures: 0,
            }
        });
        partitions.collect()
    }

    /// Does something with a topic that no transform reads or writes. None is deployed meanwhile.
    pub(crate) fn unless_used<T>(
        &self,
        topic: &str,
        work: impl FnOnce() -> Result<T, BrokerError>,
    ) -> Result<T, BrokerError> {
        let _changes = self.changes();
        match self.find(|it| it.uses(topic)) {
            Some(transform) => Err(BrokerError::TopicInUse { topic: topic.to_owned(), transform }),
            None => work(),
        }
    }

    /// The name of a transform that reads the topic.
    pub(crate) fn reader_of(&self, topic: &str) -> Option<String> {
        self.find(|it| it.input_topic == topic)
    }

    fn find(&self, is: impl Fn(&Deployment) -> bool) -> Option<String> {
        let transforms = self.transforms();
        let mut found = transforms.values().map(|it| &it.deployment).filter(|it| is(it));
        found.next().map(|it| it.name.clone())
    }

    /// Where every transform would begin after a crash, output by output; also those that are no more.
    pub(crate) fn committed(&self) -> Result<Vec<CommittedOffset>, BrokerError> {
        let names = self.names();
        progress::committed(&self.store.transforms_dir(), |id| names.get(&id).cloned())
    }

    /// Forgets how far those were that are no more.
    pub(crate) fn collect_garbage(&self) -> Result<(), BrokerError> {
        let _changes = self.changes();
        let names = self.names();
        let leaving = self.leaving().clone();
        let is_there = |id| names.contains_key(&id) || leaving.contains(&id);
        progress::collect(&self.store.transforms_dir(), is_there)
    }

    fn names(&self) -> BTreeMap<Uuid, String> {
        let transforms = self.transforms();
        let deployments = transforms.values().map(|it| &it.deployment);
        deployments.map(|it| (it.id, it.name.clone())).collect()
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeSet<Uuid>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settling(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.settling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all transforms to end; does not wait.
    pub(crate) fn stop(&self) {
        self.transforms().values().filter_map(|it| it.running.as_ref()).for_each(Handle::stop);
    }

    /// Ends all transforms, their progress committed. Blocks until they have ended; nothing is started afterwards.
    pub(crate) fn shut_down(&self) {
        self.changes().end();
        self.stop();
        let settling = std::mem::take(&mut *self.settling());
        for thread in settling {
            // A panic of it has been reported by the panic hook, and there is nothing to undo.
            let _ = thread.join();
        }
        let all = std::mem::take(&mut *self.transforms());
        all.into_values().filter_map(|it| it.running).for_each(Handle::join);
    }
}
