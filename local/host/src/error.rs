//! What can go wrong, told in the terms of the broker: where in a transform's life it would
//! happen there too.

use std::time::Duration;

use crate::Rejection;

/// An error of the host or of the transform that it runs.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The broker answers the deploy with this error.
    #[error("the broker rejects this module at deploy: {0}")]
    Rejected(Rejection),

    /// `rpk transform deploy` says success, but the broker can't compile, link or place the
    /// module: it tries again every 30 s and the transform's status stays `unknown`.
    #[error("this module would deploy but never run: {0}")]
    NeverRuns(String),

    /// The [`VmConfig`](crate::VmConfig) is not one that the broker takes.
    #[error("transform {transform}: {reason}")]
    Config {
        /// The transform's name.
        transform: String,
        /// What is wrong with which setting.
        reason: String,
    },

    /// The guest ended before it asked for its first batch. The broker starts it again with a
    /// growing back-off.
    #[error("transform {transform} failed at start: {reason}")]
    Start {
        /// The transform's name.
        transform: String,
        /// The trap with its backtrace, or `vm has exited`.
        reason: String,
    },

    /// The guest ended while it worked on a batch, or after it. Its VM is gone; in the broker the
    /// same batch is tried again in a new one, for ever.
    #[error("transform {transform} failed: {reason}")]
    Trap {
        /// The transform's name.
        transform: String,
        /// The trap with its backtrace, or `vm has exited`.
        reason: String,
    },

    /// The guest still worked when the time was over that was given to it, and there was fuel left. The broker knows no
    /// such limit. Its thread goes on until its fuel or the process ends.
    #[error(
        "transform {transform} did not end within {waited:.1?} of wall time although fuel was left: the broker would \
         let it go on (an instruction that fills or copies much memory costs no more than another)"
    )]
    Slow {
        /// The transform's name.
        transform: String,
        /// For how long it was waited.
        waited: Duration,
    },

    /// [`Vm::transform`](crate::Vm::transform) was called on a VM whose guest has ended.
    #[error("transform {transform}: this VM has ended, start a new one")]
    Ended {
        /// The transform's name.
        transform: String,
    },

    /// The batch is not what its header says. Nothing of it was shown to the guest.
    #[error("malformed record batch at offset {base_offset}: {reason}")]
    MalformedBatch {
        /// Of the batch's first record.
        base_offset: i64,
        /// What was expected and found.
        reason: String,
    },

    /// The operating system gave no thread to run the guest on.
    #[error("transform {transform}: can't start its thread: {source}")]
    Thread {
        /// The transform's name.
        transform: String,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl HostError {
    /// Whether the same call on a new [`Vm`](crate::Vm) may succeed. This is where the broker retries, whether
    /// it helps or not: a guest that traps on a record traps on it again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Start { .. }
            | Self::Trap { .. }
            | Self::Slow { .. }
            | Self::Ended { .. }
            | Self::Thread { .. } => true,
            Self::Rejected(_)
            | Self::NeverRuns(_)
            | Self::Config { .. }
            | Self::MalformedBatch { .. } => false,
        }
    }
}
