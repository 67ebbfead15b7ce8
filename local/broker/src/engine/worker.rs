//! The thread of one transform: it gives each input partition its turn, commits, and sleeps.

use std::sync::Arc;
use std::time::Instant;

use tickpanda_host::processor::{Commits, PartitionCommit, Processor, Timing, Todo};
use tickpanda_host::{LogPipeline, Module, Outputs, RestartingVm, VmConfig};

use super::Guests;
use super::handle::{Handle, Shared, View};
use super::output::Writers;
use super::progress::Progress;
use super::spec::TransformSpec;
use crate::error::BrokerError;
use crate::storage::{Signal, Topic};

/// The thread's own.
pub(super) struct Worker {
    /// One for all input partitions, as Redpanda has one for each core; this thread is its core.
    pub(super) guest: RestartingVm,
    pub(super) input: Arc<Topic>,
    pub(super) outputs: Outputs,
    pub(super) writers: Writers,
    pub(super) processors: Vec<Processor>,
    pub(super) commits: Commits,
    pub(super) shared: Arc<Shared>,
    progress: Progress,
    timing: Timing,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start(
        spec: TransformSpec,
        module: Module,
        input: Arc<Topic>,
        outputs: Vec<Arc<Topic>>,
        progress: Progress,
        Guests { timing, limits, .. }: Guests,
    ) -> Result<Handle, BrokerError> {
        let (name, output_topics) = (spec.name.clone(), spec.output_topics.clone());
        let count = input.partitions.len();
        let mut commits = Commits::new(timing, count, outputs.len());
        (0..count).for_each(|index| commits.found(&progress.kept(index)));
        let processors = vec![Processor::new(timing, Instant::now()); count];
        let signal = Arc::new(Signal::default());
        input.partitions.iter().for_each(|partition| partition.signal(&signal));
        let logs = Arc::new(LogPipeline::traced(&name));
        let mut config = VmConfig::new(&name, &spec.input_topic, &spec.output_topics);
        (config.env, config.limits) = (spec.env, limits);
        let views = (0..count).map(|index| view(&processors[index], &commits, index)).collect();
        let shared = Arc::new(Shared::new(signal, Arc::clone(&logs), views));
        let id = progress.id();
        let worker = Self {
            guest: RestartingVm::new(module, config, logs),
            input: Arc::clone(&input),
            outputs: Outputs::default(),
            writers: Writers::new(outputs),
            processors,
            commits,
            shared: Arc::clone(&shared),
            progress,
            timing,
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
            // Compiled before it was deployed.
            Todo::Create => {
                self.processors[index].created(now);
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
            Todo::Create | Todo::Load => Some(now),
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
