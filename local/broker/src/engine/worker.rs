//! The thread of one transform: it gives each input partition its turn, commits, and sleeps.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tickpanda_host::processor::{
    Commits, PartitionCommit, Processor, ProcessorState, Timing, Todo,
};
use tickpanda_host::{LogPipeline, Outputs};

use super::Guests;
use super::code::Code;
use super::deployment::Deployment;
use super::guest::Guest;
use super::handle::{Handle, Shared, View};
use super::logs;
use super::output::Writers;
use super::progress::Progress;
use crate::error::BrokerError;
use crate::storage::{Signal, Store, Topic, millis};

/// The thread's own.
pub(super) struct Worker {
    pub(super) guest: Guest,
    pub(super) input: Arc<Topic>,
    pub(super) outputs: Outputs,
    pub(super) writers: Writers,
    pub(super) processors: Vec<Processor>,
    pub(super) commits: Commits,
    pub(super) shared: Arc<Shared>,
    progress: Progress,
    timing: Timing,
}

/// What a transform works on.
pub(super) struct Topics {
    pub(super) input: Arc<Topic>,
    pub(super) outputs: Vec<Arc<Topic>>,
}

impl Worker {
    /// Starts the thread, which compiles the module first if that has not been done.
    pub(super) fn start(
        deployment: &Deployment,
        code: Arc<Code>,
        Topics { input, outputs }: Topics,
        progress: Progress,
        Guests { timing, limits, profile, node, .. }: Guests,
        store: Arc<Store>,
    ) -> Result<Handle, BrokerError> {
        let name = deployment.name.clone();
        let count = input.partitions.len();
        let mut commits = Commits::new(timing, count, outputs.len());
        (0..count).for_each(|index| commits.found(&progress.kept(index)));
        let new = if code.is_compiled() { Processor::new } else { Processor::uncompiled };
        let processors = vec![new(timing, Instant::now()); count];
        let signal = Arc::new(Signal::default());
        input.partitions.iter().for_each(|partition| partition.signal(&signal));
        let of = name.clone();
        let logs = Arc::new(LogPipeline::traced_and(&name, move |events| {
            logs::keep(&store, &of, events, node, millis(SystemTime::now()));
        }));
        let views = (0..count).map(|index| view(&processors[index], &commits, index)).collect();
        let shared = Arc::new(Shared::new(signal, Arc::clone(&logs), views));
        let mut worker = Self {
            guest: Guest::new(deployment.clone(), code, (limits, profile), logs),
            input: Arc::clone(&input),
            outputs: Outputs::default(),
            writers: Writers::new(outputs, deployment.compression),
            processors,
            commits,
            shared: Arc::clone(&shared),
            progress,
            timing,
        };
        let thread = std::thread::Builder::new()
            .name("broker-transform".to_owned())
            .spawn(move || {
                worker.create();
                worker.run();
            })
            .map_err(|source| BrokerError::Thread { name: name.clone(), source })?;
        Ok(Handle { name, input, shared, thread })
    }

    /// Compiles the module for all partitions that wait for it; where that fails, they wait again.
    fn create(&mut self) {
        let created = self.guest.create();
        let now = Instant::now();
        let mut again = None;
        for index in 0..self.processors.len() {
            let processor = &mut self.processors[index];
            let waits = processor.state() == ProcessorState::Unknown;
            match &created {
                Ok(()) if waits => processor.created(now),
                Err(error) if waits => {
                    again = Some(processor.not_created(now));
                    self.shared.views()[index].error = error.to_string();
                }
                _ => {}
            }
            self.publish(index);
        }
        if let (Err(error), Some(again)) = (created, again) {
            tracing::warn!(
                transform = self.guest.name(), retry_in = ?again, %error,
                "failed to create transform processor"
            );
        }
    }

    fn run(mut self) {
        let count = self.processors.len();
        let mut first = 0;
        while !self.shared.is_stopped() {
            let mut busy = false;
            for index in (0..count).map(|step| (first + step) % count) {
                if !self.shared.is_stopped() {
                    busy |= self.give_turn(index);
                }
            }
            first = (first + 1) % count.max(1);
            let now = Instant::now();
            if self.commits.due().is_some_and(|due| due <= now) {
                self.commit();
            }
            self.shared.logs.flush_if_due(now);
            if !busy && !self.shared.is_stopped() {
                let until = self.next_event();
                self.shared.signal.wait(until.map(|at| at.saturating_duration_since(now)));
            }
        }
        let last = self.commits.take_all();
        self.keep(&last);
        self.shared.logs.flush();
    }

    /// One partition's turn; whether it did anything.
    fn give_turn(&mut self, index: usize) -> bool {
        let now = Instant::now();
        let busy = match self.processors[index].todo(now) {
            Todo::Wait(_) => false,
            Todo::Create => {
                self.create();
                true
            }
            Todo::Start => {
                self.start_guest(index);
                true
            }
            Todo::Load => {
                // What was written and not yet kept need not be done again.
                self.commit();
                self.processors[index].loaded(&self.progress.kept(index).outputs, 0);
                true
            }
            Todo::Read(from) => self.turn(index, from),
        };
        self.publish(index);
        busy
    }

    /// When there is something to do that no append announces.
    fn next_event(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let polls = self.timing.idle_poll.is_some();
        let turns = self.processors.iter_mut().filter_map(|processor| match processor.todo(now) {
            Todo::Wait(at) => Some(at),
            Todo::Create | Todo::Start | Todo::Load => Some(now),
            Todo::Read(_) => polls.then_some(now),
        });
        turns.chain(self.commits.due()).chain(self.shared.logs.due()).min()
    }

    fn commit(&mut self) {
        let taken = self.commits.take();
        self.keep(&taken);
    }

    fn keep(&mut self, taken: &[PartitionCommit]) {
        if taken.is_empty() {
            return;
        }
        match self.progress.commit(taken) {
            Ok(()) => self.commits.kept(taken),
            Err(error) => {
                tracing::error!(
                    transform = self.guest.name(), %error,
                    "progress could not be written: a crash now would repeat outputs"
                );
                self.commits.failed(taken, Instant::now());
            }
        }
        taken.iter().for_each(|commit| self.publish(commit.partition));
    }

    /// Shows where a partition is.
    fn publish(&self, index: usize) {
        let mut view = view(&self.processors[index], &self.commits, index);
        let mut views = self.shared.views();
        view.error = std::mem::take(&mut views[index].error);
        views[index] = view;
    }
}

fn view(processor: &Processor, commits: &Commits, index: usize) -> View {
    View {
        state: processor.state(),
        error: String::new(),
        next: least(commits.done(index)),
        committed: least(commits.of(index)),
        failures: processor.failures(),
    }
}

/// Where all outputs are done.
pub(super) fn least(outputs: &[Option<i64>]) -> i64 {
    outputs.iter().map(|next| next.unwrap_or(0)).min().unwrap_or(0)
}
