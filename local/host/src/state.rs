//! What the host functions of one VM share: the batch being worked on, clocks, limits, log.

use std::sync::mpsc::{Receiver, Sender};

use wasmtime::{Memory, StoreLimits};

use crate::{Batch, LogLine, Outputs, Usage, vm::Report};

/// Where a guest's messages go.
pub(crate) type LogSink = Box<dyn FnMut(LogLine<'_>) + Send>;

/// The data of one VM's store. It lives on the VM's thread.
pub(crate) struct State {
    /// Known from the guest's first call that needs it.
    pub(crate) memory: Option<Memory>,
    /// Whether `_start` runs. Before, a module's start section may run.
    pub(crate) started: bool,
    /// Asked by wasmtime whenever memory or a table is to grow.
    pub(crate) store_limits: StoreLimits,
    /// What the guest may use up to the next record, in wasmtime's units.
    pub(crate) fuel: u64,
    pub(crate) usage: Usage,
    /// See [`Limits::output_bytes`](crate::Limits::output_bytes).
    pub(crate) output_bytes: usize,
    pub(crate) output_topics: Vec<String>,
    /// Batches from [`Vm::transform`](crate::Vm::transform); closed when the VM is dropped.
    pub(crate) jobs: Receiver<Job>,
    pub(crate) reports: Sender<Report>,
    /// The batch that the guest works on: from `read_batch_header` to the next call of it.
    pub(crate) job: Option<Job>,
    /// `argv`, only the transform's name.
    pub(crate) args: Vec<String>,
    /// `KEY=VALUE` each.
    pub(crate) env: Vec<String>,
    /// Milliseconds since the epoch: of the record or batch last read, before that 0.
    pub(crate) wall_clock: i64,
    /// Nanoseconds; one millisecond passes each time it is read.
    pub(crate) monotonic_clock: u64,
    pub(crate) log: LogSink,
}

/// A batch on its way through the guest.
pub(crate) struct Job {
    pub(crate) batch: Batch,
    /// How many of its records were read.
    pub(crate) read: usize,
    pub(crate) outputs: Outputs,
}
