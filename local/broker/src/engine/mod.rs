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
//! - `worker`: the thread; `turn`: one partition's turn, from `input` through the guest to `output`
//! - `spec`, `beside`: what may be deployed; `handle`, `status`: the transform from outside; `progress`: what is kept on disk

mod beside;
mod handle;
mod input;
mod output;
mod progress;
mod spec;
mod status;
mod turn;
mod worker;

pub use spec::{StartFrom, TransformSpec, TransformTiming};
pub use status::{PartitionStatus, TransformState, TransformStatus};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tickpanda_host::{CompileOptions, Limits, Module, Profile};

use crate::error::BrokerError;
use crate::storage::Store;
use beside::{Route, closes_a_circle};
use handle::Handle;
use worker::Worker;

/// Transforms at most: as many heaps as Redpanda reserves by default.
const MOST: usize = 10;

/// How all guests are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guests {
    pub(crate) timing: TransformTiming,
    pub(crate) limits: Limits,
    pub(crate) profile: Profile,
}

/// All deployed transforms.
#[derive(Debug)]
pub(crate) struct Engine {
    store: Arc<Store>,
    guests: Guests,
    running: Mutex<BTreeMap<String, Handle>>,
}

impl Engine {
    pub(crate) fn new(store: Arc<Store>, guests: Guests) -> Self {
        Self { store, guests, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Handle>> {
        // The map is whole after any panic: handles are put in and taken out in one step.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles and starts a transform, in place of the one of that name if there is one, whose
    /// progress it keeps. Blocks while it compiles.
    pub(crate) fn deploy(&self, spec: TransformSpec) -> Result<(), BrokerError> {
        spec.check()?;
        let invalid =
            |what: String| BrokerError::InvalidTransform { name: spec.name.clone(), what };
        let profile = self.guests.profile;
        let options = CompileOptions { profile, ..CompileOptions::default() };
        let module = Module::compile_for(&spec.wasm, &options);
        let module = module.map_err(|error| invalid(error.to_string()))?;
        let topic = |name: &String| {
            self.store.topic(name).ok_or_else(|| invalid(format!("topic {name:?} does not exist")))
        };
        let input = topic(&spec.input_topic)?;
        let outputs = spec.output_topics.iter().map(topic).collect::<Result<Vec<_>, _>>()?;
        let mut running = self.running();
        if running.len() >= MOST && !running.contains_key(&spec.name) {
            return Err(invalid(format!("the limit of {MOST} transforms is reached")));
        }
        beside_others(&running, &spec)?;
        let name = spec.name.clone();
        let old = running.remove(&name);
        let replaces = old.is_some();
        if let Some(old) = old {
            old.stop();
            old.join();
        }
        let started = progress::Progress::load(&self.store.transforms_dir(), &spec, &input)
            .and_then(|progress| {
                Worker::start(spec, module, input, outputs, progress, self.guests)
            });
        match started {
            Ok(handle) => {
                running.insert(name, handle);
                Ok(())
            }
            Err(error) => {
                if replaces {
                    tracing::error!(
                        transform = name, %error,
                        "the transform has ended and could not be started in its new version: deploy it again"
                    );
                }
                Err(error)
            }
        }
    }

    /// Ends a transform and forgets how far it was: deployed again, it is another one. Blocks until it
    /// has ended.
    pub(crate) fn remove(&self, name: &str) -> Result<(), BrokerError> {
        let mut running = self.running();
        let Some(handle) = running.remove(name) else {
            return Err(BrokerError::UnknownTransform(name.to_owned()));
        };
        let id = handle.id;
        handle.stop();
        handle.join();
        progress::forget(&self.store.transforms_dir(), id)
    }

    /// How far every transform is.
    pub(crate) fn status(&self) -> Vec<TransformStatus> {
        self.running().values().map(Handle::status).collect()
    }

    /// The name of a transform that reads or writes this topic.
    pub(crate) fn user_of(&self, topic: &str) -> Option<String> {
        let running = self.running();
        running.values().find(|handle| handle.uses(topic)).map(|handle| handle.name().to_owned())
    }

    /// The name of a transform that reads the topic.
    pub(crate) fn reader_of(&self, topic: &str) -> Option<String> {
        let running = self.running();
        running.values().find(|handle| handle.input.name == topic).map(|it| it.name().to_owned())
    }

    /// Tells all transforms to end; does not wait.
    pub(crate) fn stop(&self) {
        self.running().values().for_each(Handle::stop);
    }

    /// Ends all transforms, their progress committed. Blocks until they have ended.
    pub(crate) fn shut_down(&self) {
        self.stop();
        let running = std::mem::take(&mut *self.running());
        running.into_values().for_each(Handle::join);
    }
}

/// The rules that need to know what is deployed.
fn beside_others(
    deployed: &BTreeMap<String, Handle>,
    spec: &TransformSpec,
) -> Result<(), BrokerError> {
    let refuse =
        |what: String| Err(BrokerError::InvalidTransform { name: spec.name.clone(), what });
    if let Some(old) = deployed.get(&spec.name) {
        let (input, outputs) = (&old.input.name, &old.output_topics);
        if *input != spec.input_topic || *outputs != spec.output_topics {
            return refuse(format!(
                "its topics can't change, they are {input:?} to {outputs:?} in this order: remove it first"
            ));
        }
    }
    let routes = deployed.values();
    let routes = routes.map(|it| Route { input: &it.input.name, outputs: &it.output_topics });
    let routes: Vec<_> = routes.collect();
    let new = Route { input: &spec.input_topic, outputs: &spec.output_topics };
    if closes_a_circle(new, &routes) {
        return refuse(format!(
            "what it writes would come back to its input topic {:?} through other transforms",
            spec.input_topic
        ));
    }
    Ok(())
}
