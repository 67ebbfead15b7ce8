//! A running transform, from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tickpanda_host::LogPipeline;
use tickpanda_host::processor::{self, ProcessorState};
use uuid::Uuid;

use super::status::{PartitionStatus, TransformState, TransformStatus};
use crate::storage::{Signal, Topic};

/// One input partition, as last published by the thread.
#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) state: ProcessorState,
    /// Why it failed last.
    pub(super) error: String,
    pub(super) next: i64,
    pub(super) committed: i64,
    pub(super) failures: u64,
}

/// What the thread and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    stop: AtomicBool,
    pub(super) signal: Arc<Signal>,
    pub(super) logs: Arc<LogPipeline>,
    views: Mutex<Vec<View>>,
}

impl Shared {
    pub(super) fn new(signal: Arc<Signal>, logs: Arc<LogPipeline>, views: Vec<View>) -> Self {
        Self { stop: AtomicBool::new(false), signal, logs, views: Mutex::new(views) }
    }

    pub(super) fn views(&self) -> MutexGuard<'_, Vec<View>> {
        // Each is replaced as a whole: right after any panic.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// A running transform.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) id: Uuid,
    pub(super) name: String,
    pub(super) input: Arc<Topic>,
    pub(super) output_topics: Vec<String>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: JoinHandle<()>,
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
        let views = self.shared.views().clone();
        let partitions = (0..).zip(views.into_iter().zip(&self.input.partitions));
        let partitions = partitions.map(|(partition, (view, input))| {
            let (_, end) = input.watermarks();
            PartitionStatus {
                partition,
                state: match view.state {
                    ProcessorState::Inactive => TransformState::Inactive,
                    ProcessorState::Running => TransformState::Running,
                    ProcessorState::Errored => TransformState::Errored(view.error),
                    ProcessorState::Unknown => TransformState::Unknown,
                },
                next: view.next,
                committed: view.committed,
                end,
                lag: processor::lag(view.next, end),
                failures: view.failures,
            }
        });
        TransformStatus {
            name: self.name.clone(),
            id: self.id,
            input_topic: self.input.name.clone(),
            output_topics: self.output_topics.clone(),
            partitions: partitions.collect(),
            dropped_logs: self.shared.logs.dropped(),
        }
    }
}
