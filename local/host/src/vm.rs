//! A running transform: one thread on which the guest's `_start` runs for ever, and the handle
//! to it.

use std::{
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use wasmtime::{InstancePre, Store, StoreLimitsBuilder};

use crate::{
    Batch, HostError, Module, Outputs, Usage, VmConfig,
    state::{Job, State},
    trap,
};

/// The broker's 128 KiB of table at 8 bytes an element.
const MAX_TABLE_ELEMENTS: usize = 16_384;

/// What a guest ends with when it does not trap, in the broker's words.
const EXITED: &str = "vm has exited";

/// What the VM's thread tells its handle.
pub(crate) enum Report {
    /// The guest asks for its first batch.
    Ready(Usage),
    /// The guest asks for another batch, so it is done with the one before.
    Done(Outputs, Usage),
    /// The guest is no more.
    Ended {
        reason: String,
        /// What it wrote of the batch that it was working on.
        outputs: Outputs,
        usage: Usage,
    },
}

/// A running instance of a transform.
///
/// Its memory lasts from batch to batch. Dropping it ends the guest and its thread, unless that was given up
/// ([`HostError::Slow`]).
#[derive(Debug)]
pub struct Vm {
    name: String,
    /// `None` once the guest has ended; the sender's end is what wakes a waiting guest to its own.
    jobs: Option<Sender<Job>>,
    reports: Receiver<Report>,
    usage: Usage,
    thread: Option<JoinHandle<()>>,
}

impl Vm {
    /// Starts the guest and waits until it asks for its first batch.
    ///
    /// # Errors
    /// [`HostError::Start`] with the trap if it ends before; [`HostError::NeverRuns`] and
    /// [`HostError::Config`] for what the broker would not even start; [`HostError::Thread`].
    pub fn start(module: &Module, config: VmConfig) -> Result<Self, HostError> {
        Self::start_within(module, config, None)
    }

    /// The same, waiting no longer than `patience`: fuel bounds a guest's instructions, but not the time that one of
    /// them takes.
    ///
    /// # Errors
    /// As [`start`](Self::start), and [`HostError::Slow`] when the time is over.
    pub fn start_within(
        module: &Module,
        config: VmConfig,
        patience: Option<Duration>,
    ) -> Result<Self, HostError> {
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
        let mut vm =
            Self { name, jobs: Some(jobs), reports, usage: Usage::default(), thread: Some(thread) };
        match vm.report(patience)? {
            Ok(Report::Ready(usage)) => {
                vm.usage = usage;
                Ok(vm)
            }
            Ok(Report::Ended { reason, .. }) => {
                vm.jobs = None;
                Err(HostError::Start { transform: vm.name.clone(), reason })
            }
            Ok(Report::Done(..)) | Err(_) => Err(vm.lost()),
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
        self.transform_within(batch, out, None)
    }

    /// The same, waiting no longer than `patience`.
    ///
    /// # Errors
    /// As [`transform`](Self::transform), and [`HostError::Slow`] when the time is over: then what it wrote is lost.
    pub fn transform_within(
        &mut self,
        batch: &Batch,
        out: &mut Outputs,
        patience: Option<Duration>,
    ) -> Result<(), HostError> {
        out.clear();
        let Some(jobs) = &self.jobs else {
            return Err(HostError::Ended { transform: self.name.clone() });
        };
        if batch.is_empty() {
            return Ok(());
        }
        let job = Job { batch: batch.clone(), read: 0, outputs: std::mem::take(out) };
        // A guest that waits for a batch can't end, so only a panic can have closed the channel,
        // and then there is no report either.
        let _ = jobs.send(job);
        match self.report(patience)? {
            Ok(Report::Done(outputs, usage)) => {
                *out = outputs;
                self.usage = usage;
                Ok(())
            }
            Ok(Report::Ended { reason, outputs, usage }) => {
                *out = outputs;
                self.usage = usage;
                self.jobs = None;
                Err(HostError::Trap { transform: self.name.clone(), reason })
            }
            Ok(Report::Ready(_)) | Err(_) => Err(self.lost()),
        }
    }

    /// What the guest's thread tells next; the inner error where it is gone.
    fn report(&mut self, patience: Option<Duration>) -> Result<Result<Report, ()>, HostError> {
        let Some(waited) = patience else { return Ok(self.reports.recv().map_err(|_| ())) };
        match self.reports.recv_timeout(waited) {
            Ok(report) => Ok(Ok(report)),
            Err(RecvTimeoutError::Disconnected) => Ok(Err(())),
            Err(RecvTimeoutError::Timeout) => {
                self.jobs = None;
                // Nobody can end it. It ends when the guest asks for a batch, at the end of its fuel, or with the
                // process, which waits for no thread.
                drop(self.thread.take());
                Err(HostError::Slow { transform: self.name.clone(), waited })
            }
        }
    }

    /// What the guest has used of memory and fuel, as of its last call for a batch or of its end.
    pub fn usage(&self) -> Usage {
        self.usage
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

/// The state of a VM that will never run.
pub(crate) fn idle_state() -> State {
    let (reports, jobs) = (mpsc::channel().0, mpsc::channel().1);
    new_state(VmConfig::new("", "", [""]), jobs, reports)
}

fn new_state(config: VmConfig, jobs: Receiver<Job>, reports: Sender<Report>) -> State {
    State {
        memory: None,
        started: false,
        store_limits: StoreLimitsBuilder::new()
            .memory_size(config.limits.memory)
            .table_elements(MAX_TABLE_ELEMENTS)
            .instances(1)
            .tables(1)
            .memories(1)
            .build(),
        fuel: config.limits.fuel,
        usage: Usage::default(),
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
    let memory = store.data().memory.map_or(0, |memory| memory.data_size(&store));
    let fuel_left = store.get_fuel().unwrap_or(0);
    let State { job, reports, mut usage, fuel, .. } = store.into_data();
    if job.as_ref().is_some_and(|job| job.read > 0) {
        usage.most_fuel = usage.most_fuel.max(fuel.saturating_sub(fuel_left));
    }
    usage.memory = usage.memory.max(memory);
    let outputs = job.map(|job| job.outputs).unwrap_or_default();
    // Nobody listens when the Vm was dropped, which then is why the guest ended.
    let _ = reports.send(Report::Ended { reason, outputs, usage });
}

fn start(store: &mut Store<State>, instance: &InstancePre<State>) -> wasmtime::Result<()> {
    let fuel = store.data().fuel;
    store.set_fuel(fuel)?;
    let instance = instance.instantiate(&mut *store)?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    // What the module's own start section used is not counted against `_start`.
    store.set_fuel(fuel)?;
    store.data_mut().started = true;
    start.call(store, ())
}
