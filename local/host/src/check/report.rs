//! What a check has found. Values only: how they are shown is the caller's.

use std::fmt::{self, Display, Formatter};

use crate::{HostError, Profile};

/// What becomes of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker answers the deploy with an error.
    RejectedAtDeploy,
    /// The broker says success, and can't compile or link the module; its status stays `unknown`.
    NeverRuns,
    /// It ends before it asks for a batch; the broker starts it again and again.
    FailsAtStart,
    /// It asks for batches.
    Runs,
}

impl Verdict {
    pub(super) fn of(error: &HostError) -> Self {
        match error {
            HostError::Rejected(_) | HostError::Config { .. } => Self::RejectedAtDeploy,
            HostError::NeverRuns(_) => Self::NeverRuns,
            _ => Self::FailsAtStart,
        }
    }

    /// The earlier it fails the worse.
    pub(super) fn severity(self) -> u8 {
        match self {
            Self::Runs => 0,
            Self::FailsAtStart => 1,
            Self::NeverRuns => 2,
            Self::RejectedAtDeploy => 3,
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RejectedAtDeploy => "rejected at deploy",
            Self::NeverRuns => "deploys but never runs",
            Self::FailsAtStart => "fails at start",
            Self::Runs => "runs",
        })
    }
}

/// The whole of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The worst of what the profiles say.
    pub verdict: Verdict,
    /// In words; empty where it runs.
    pub reason: String,
    /// For each build of the broker; empty where the deploy is rejected, which both do alike.
    pub profiles: Vec<ProfileReport>,
    /// Bytes of the binary.
    pub bytes: usize,
    /// In the module's order, the first 1,000.
    pub imports: Vec<Import>,
    /// How many there are.
    pub import_count: usize,
    /// In the module's order, the first 1,000.
    pub exports: Vec<Item>,
    /// How many there are.
    pub export_count: usize,
    /// Where it starts in one of the profiles at least. What follows is measured then only.
    pub start: Option<StartReport>,
    /// Where there were samples.
    pub samples: Option<SampleReport>,
    /// What it printed at its start and for the samples.
    pub logs: Logs,
    /// By kind of record.
    pub largest: Vec<LargestRecord>,
}

impl Report {
    pub(super) fn new(bytes: usize) -> Self {
        Self {
            verdict: Verdict::Runs,
            reason: String::new(),
            profiles: Vec::new(),
            bytes,
            imports: Vec::new(),
            import_count: 0,
            exports: Vec::new(),
            export_count: 0,
            start: None,
            samples: None,
            logs: Logs::default(),
            largest: Vec::new(),
        }
    }
}

/// What one build of the broker makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileReport {
    /// Which build.
    pub profile: Profile,
    /// What becomes of the package there.
    pub verdict: Verdict,
    /// In words; empty where it runs.
    pub reason: String,
}

/// Something that a module asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The module that it names.
    pub module: String,
    /// The item in it.
    pub name: String,
    /// As in Wasm's text format.
    pub ty: String,
    /// Whether the broker has an item of that name.
    pub known: bool,
}

/// Something that a module gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// As in Wasm's text format.
    pub ty: String,
}

/// What the start took, up to the first call for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartReport {
    /// Bytes that the module declares.
    pub initial_memory: u64,
    /// Bytes after the start.
    pub memory: usize,
    /// Units of fuel.
    pub fuel: u64,
}

/// What the samples took and gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampleReport {
    /// How many were tried; fewer than there are where too many failed or the time was over.
    pub tried: usize,
    /// Those that the transform did not survive, the first few. The broker would try each for ever.
    pub failures: Vec<SampleFailure>,
    /// How many it did not survive.
    pub failed: usize,
    /// Bytes of memory at the end, of one VM for all samples (a new one after each failure).
    pub peak_memory: usize,
    /// Units of fuel for the most expensive sample, be it one that was not survived.
    pub max_fuel: u64,
    /// Units of fuel a sample, the mean of those that were survived.
    pub mean_fuel: u64,
    /// What was written, by output topic.
    pub topics: Vec<TopicUse>,
}

/// A sample that ended the transform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampleFailure {
    /// Which one, from 0.
    pub sample: usize,
    /// The trap with its backtrace.
    pub reason: String,
}

/// What was written to an output topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicUse {
    /// Its name.
    pub topic: String,
    /// How many records.
    pub records: u64,
    /// Their keys, values and headers with their framing.
    pub bytes: u64,
}

/// What the transform printed, and what becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Messages that get to the log topic.
    pub written: u64,
    /// Of those, cut to 1,024 bytes.
    pub cut: u64,
    /// Dropped: not UTF-8 within 1,024 bytes.
    pub dropped_not_utf8: u64,
    /// Dropped: a control character other than newline and tab.
    pub dropped_control: u64,
    /// The first few.
    pub first: Vec<String>,
}

/// What a record was made of to find the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A value of arbitrary bytes, without key and headers.
    Garbage,
    /// The largest of the samples, its value repeated to the size wanted.
    Sample,
}

impl Display for RecordKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Garbage => "garbage",
            Self::Sample => "sample",
        })
    }
}

/// The largest record that the transform survives as its first, in a new VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LargestRecord {
    /// What it was tried with.
    pub kind: RecordKind,
    /// Bytes of its value. `None` if not even an empty one is survived.
    pub bytes: Option<usize>,
    /// Whether one byte more is not survived; otherwise the search was ended by its limits.
    pub exact: bool,
    /// What happens to the next larger one that was tried.
    pub beyond: Option<String>,
}
