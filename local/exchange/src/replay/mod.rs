//! Recorded frames: a file of them, one verbatim frame a line, checked whole before anything is
//! sent ([`scan_replay`]), then streamed in order, byte for byte, never wholly in memory.

mod line;
mod reader;
mod scan;

pub(crate) use line::sub_of;
pub(crate) use reader::Recording;
pub(crate) use scan::MAX_SUBS;
pub use scan::{ReplayError, ReplayScan, scan_replay};

/// A line may be this long; the vendor's own frames are some hundred bytes.
const MAX_LINE_BYTES: usize = 1 << 20;
