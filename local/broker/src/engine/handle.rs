//! A running transform, from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tickpanda_host::processor::{self, ProcessorState};
use tickpanda_host::{LogDrops, LogPipeline};

use super::status::{PartitionStatus, TransformState};
use crate::storage::{Partition, Signal, Topic};

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
    pub(super) name: String,
    pub(super) input: Arc<Topic>,
    pub(super) shared: Arc<Shared>,
    pub(super) thread: JoinHandle<()>,
}

impl Handle {
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

    /// Messages of the guest that nobody saw.
    pub(super) fn dropped_logs(&self) -> LogDrops {
        self.shared.logs.dropped()
    }

    /// Where each input partition is.
    pub(super) fn partitions(&self) -> Vec<PartitionStatus> {
        let views = self.shared.views().clone();
        let partitions = (0..).zip(views.into_iter().zip(&self.input.partitions));
        let status = |(partition, (view, input)): (i32, (View, &Arc<Partition>))| {
            let (_, end) = input.watermarks();
            PartitionStatus {
                partition,
                state: match view.state {
                    ProcessorState::Inactive => TransformState::Inactive,
                    ProcessorState::Running => TransformState::Running,
                    ProcessorState::Errored => TransformState::Errored(view.error),
                    ProcessorState::Unknown => TransformState::Unknown(view.error),
                },
                next: view.next,
                committed: view.committed,
                end,
                lag: processor::lag(view.next, end),
                failures: view.failures,
            }
        };
        partitions.map(status).collect()
    }
}
