//! A running transform: one thread on which the guest's `_start` runs for ever, and the handle
//! to it.

use std::{
    collections::HashSet,
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use wasmtime::{InstancePre, Store, StoreLimitsBuilder};

use crate::{
    Batch, HostError, LogLine, Module, Outputs,
    state::{Job, LogSink, State},
    trap,
};

/// A transform has at least one output topic and at most this many.
pub const MAX_OUTPUT_TOPICS: usize = 8;

/// The broker's 128 KiB of table at 8 bytes an element.
const MAX_TABLE_ELEMENTS: usize = 16_384;

/// What a guest ends with when it does not trap, in the broker's words.
const EXITED: &str = "vm has exited";

/// What a VM may use. The defaults are the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, 2 MiB (`data_transforms_per_function_memory_limit`). Growing beyond
    /// it fails, which is not a trap; starting above it is.
    pub memory: usize,
    /// Fuel for the start up to the first record, then for each record: 6·10⁹
    /// (`data_transforms_runtime_limit_ms`, 3,000 ms at 2,000,000 units). An instruction costs one unit.
    pub fuel: u64,
    /// Bytes that [`Outputs`] may hold, 256 MiB; what exceeds them is a trap. This limit is the
    /// host's own: in the broker a guest waits until earlier output has gone out.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 2 << 20, fuel: 3_000 * 2_000_000, output_bytes: 256 << 20 }
    }
}

/// What the broker knows of a transform besides its Wasm.
pub struct VmConfig {
    /// The transform's name: its `argv[0]`.
    pub name: String,
    /// Told to the guest as `REDPANDA_INPUT_TOPIC`.
    pub input_topic: String,
    /// Told to the guest as `REDPANDA_OUTPUT_TOPIC_0`…; the first is where records go by default.
    pub output_topics: Vec<String>,
    /// Further environment variables of the guest. In the broker their order is arbitrary.
    pub env: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Called on the VM's thread with each message that the guest prints.
    pub log: LogSink,
}

impl VmConfig {
    /// The broker's default limits, no further environment, and messages to nowhere.
    pub fn new<T: Into<String>>(
        name: impl Into<String>,
        input_topic: impl Into<String>,
        output_topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            name: name.into(),
            input_topic: input_topic.into(),
            output_topics: output_topics.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            limits: Limits::default(),
            log: Box::new(|_| {}),
        }
    }

    /// The same with this done for each message.
    #[must_use]
    pub fn log(mut self, log: impl FnMut(LogLine<'_>) + Send + 'static) -> Self {
        self.log = Box::new(log);
        self
    }

    fn check(&self) -> Result<(), HostError> {
        let count = self.output_topics.len();
        let distinct: HashSet<_> = self.output_topics.iter().collect();
        let reason = if !(1..=MAX_OUTPUT_TOPICS).contains(&count) {
            format!("it has {count} output topics, the broker takes 1 to {MAX_OUTPUT_TOPICS}")
        } else if distinct.len() != count {
            "an output topic is named twice".into()
        } else if distinct.contains(&self.input_topic) {
            format!("its input topic {} is also an output topic", self.input_topic)
        } else {
            return Ok(());
        };
        Err(HostError::Config { transform: self.name.clone(), reason })
    }

    fn environment(&self) -> Vec<String> {
        let user = self.env.iter().map(|(key, value)| format!("{key}={value}"));
        let input = [format!("REDPANDA_INPUT_TOPIC={}", self.input_topic)];
        let outputs = self.output_topics.iter().enumerate();
        let outputs = outputs.map(|(n, topic)| format!("REDPANDA_OUTPUT_TOPIC_{n}={topic}"));
        user.chain(input).chain(outputs).collect()
    }
}

/// What the VM's thread tells its handle.
pub(crate) enum Report {
    /// The guest asks for its first batch.
    Ready,
    /// The guest asks for another batch, so it is done with the one before.
    Done(Outputs),
    /// The guest is no more.
    Ended {
        reason: String,
        /// What it wrote of the batch that it was working on.
        outputs: Outputs,
    },
}

/// A running instance of a transform.
///
/// Its memory lasts from batch to batch. Dropping it ends the guest and its thread.
#[derive(Debug)]
pub struct Vm {
    name: String,
    /// `None` once the guest has ended; the sender's end is what wakes a waiting guest to its own.
    jobs: Option<Sender<Job>>,
    reports: Receiver<Report>,
    thread: Option<JoinHandle<()>>,
}

impl Vm {
    /// Starts the guest and waits until it asks for its first batch.
    ///
    /// # Errors
    /// [`HostError::Start`] with the trap if it ends before; [`HostError::NeverRuns`] and
    /// [`HostError::Config`] for what the broker would not even start; [`HostError::Thread`].
    pub fn start(module: &Module, config: VmConfig) -> Result<Self, HostError> {
        config.check()?;
        module.check_memory_limit(config.limits.memory)?;
        let name = config.name.clone();
        let (jobs, job_receiver) = mpsc::channel();
        let (report_sender, reports) = mpsc::channel();
        let state = new_state(config, job_receiver, report_sender);
        let instance = module.instance.clone();
        let thread = thread::Builder::new()
            .name(format!("wasm {name}"))
            .spawn(move || run(&instance, state))
            .map_err(|source| HostError::Thread { transform: name.clone(), source })?;
        let mut vm = Self { name, jobs: Some(jobs), reports, thread: Some(thread) };
        match vm.reports.recv() {
            Ok(Report::Ready) => Ok(vm),
            Ok(Report::Ended { reason, .. }) => {
                vm.jobs = None;
                Err(HostError::Start { transform: vm.name.clone(), reason })
            }
            Ok(Report::Done(_)) | Err(_) => Err(vm.lost()),
        }
    }

    /// Has the guest transform one batch and waits until it asks for the next. What it wrote is
    /// in `out`, which is cleared first. A batch without records is not shown to the guest.
    ///
    /// # Errors
    /// [`HostError::Trap`] if the guest ended: then this VM is dead and `out` holds what was written until then
    /// (in the broker some, all or none of that is on the topics already). The caller
    /// starts a new one and tries the batch again, or gives up, which the broker never does.
    pub fn transform(&mut self, batch: &Batch, out: &mut Outputs) -> Result<(), HostError> {
        out.clear();
        let Some(jobs) = &self.jobs else {
            return Err(HostError::Ended { transform: self.name.clone() });
        };
        if batch.is_empty() {
            return Ok(());
        }
        let job = Job { batch: batch.clone(), read: 0, outputs: std::mem::take(out) };
        // If the guest ended since its last batch, its last report is waiting.
        let _ = jobs.send(job);
        match self.reports.recv() {
            Ok(Report::Done(outputs)) => {
                *out = outputs;
                Ok(())
            }
            Ok(Report::Ended { reason, outputs }) => {
                *out = outputs;
                self.jobs = None;
                Err(HostError::Trap { transform: self.name.clone(), reason })
            }
            Ok(Report::Ready) | Err(_) => Err(self.lost()),
        }
    }

    /// The thread went without a report: the log callback panicked.
    fn lost(&mut self) -> HostError {
        self.jobs = None;
        HostError::Trap {
            transform: self.name.clone(),
            reason: "its thread has panicked, probably in the log callback".into(),
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // The guest waits for a batch or has ended, so this is short. A panic of the thread
            // was told by `lost`.
            let _ = thread.join();
        }
    }
}

fn new_state(config: VmConfig, jobs: Receiver<Job>, reports: Sender<Report>) -> State {
    State {
        memory: None,
        store_limits: StoreLimitsBuilder::new()
            .memory_size(config.limits.memory)
            .table_elements(MAX_TABLE_ELEMENTS)
            .instances(1)
            .tables(1)
            .memories(1)
            .build(),
        fuel: config.limits.fuel,
        output_bytes: config.limits.output_bytes,
        env: config.environment(),
        args: vec![config.name],
        output_topics: config.output_topics,
        jobs,
        reports,
        job: None,
        wall_clock: 0,
        monotonic_clock: 0,
        log: config.log,
    }
}

/// The whole life of the VM's thread.
fn run(instance: &InstancePre<State>, state: State) {
    let mut store = Store::new(instance.module().engine(), state);
    store.limiter(|state| &mut state.store_limits);
    let reason = match start(&mut store, instance) {
        Ok(()) => EXITED.into(),
        Err(error) => trap::describe(&error),
    };
    let State { job, reports, .. } = store.into_data();
    let outputs = job.map(|job| job.outputs).unwrap_or_default();
    // Nobody listens when the Vm was dropped, which then is why the guest ended.
    let _ = reports.send(Report::Ended { reason, outputs });
}

fn start(store: &mut Store<State>, instance: &InstancePre<State>) -> wasmtime::Result<()> {
    let fuel = store.data().fuel;
    store.set_fuel(fuel)?;
    let instance = instance.instantiate(&mut *store)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    start.call(store, ())
}
