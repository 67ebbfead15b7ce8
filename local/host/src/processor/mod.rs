//! What the broker does around a VM: when a transform starts, reads, rests and commits, and where
//! its output goes.
//!
//! Plain values and functions. Time and chance come in as arguments; reading, running the guest,
//! writing and keeping offsets are the caller's. So whoever hosts a transform, in a broker or beside a cluster, has the
//! broker's semantics by asking a [`Processor`] what to do and telling it what became of it:
//!
//! ```text
//!          start attempt: the guest's main     one commit interval, then the kept offsets
//!  not_created ──────────────▶ inactive ───────────────────────────▶ running ──▶ read, transform, write
//!      ▲  30 s  │               │  ▲                                    │  ▲          │ written, output by output
//!      └────────┘        failed ▼  │  1, 2, 4 … 30 s                    │  └──────────┘
//!                               errored ◀──────── failed ───────────────┘      Commits ── every 3 s ──▶ kept
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `machine` | [`Processor`]: one input partition's states |
//! | `timing` | [`Timing`]: the broker's waits, or prompt ones |
//! | `backoff` | how long to rest after a failure |
//! | `progress` | how far each output is, and what is not to be written again |
//! | `commits` | [`Commits`]: what is to be kept, and when |
//! | `start` | [`StartPosition`]: where a transform without progress begins |
//! | `placement` | [`output_partition`], [`OutputBatch`]: where output goes and how it is framed |

mod backoff;
mod commits;
mod machine;
mod placement;
mod progress;
mod start;
mod timing;

#[cfg(test)]
mod histories;

pub use commits::{Commits, PartitionCommit};
pub use machine::{Processor, ProcessorState, Todo, lag};
pub use placement::{OutputBatch, TimestampType, output_partition};
pub use start::{BadStartPosition, StartPosition};
pub use timing::{Timing, chance};
