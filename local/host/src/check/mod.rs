//! What would become of a package: a transform's Wasm and its description, judged without a broker.
//!
//! ```text
//!  wasm ─▶ deploy rules ─▶ compile and link, as each build of the broker ─▶ start ─▶ samples ─▶ largest record
//!          rejected        deploys but never runs                          fails      └────── runs ──────┘
//! ```
//!
//! Everything is found out by doing it: the same [`Module`] and [`Vm`] that run a transform, in
//! the broker's limits. So it works for any transform in any language.

mod largest;
mod report;
mod samples;

pub use report::{
    Import, Item, LargestRecord, Logs, ProfileReport, RecordKind, Report, SampleFailure,
    SampleReport, StartReport, TopicUse, Verdict,
};

use std::time::{Duration, Instant};

use crate::{
    BINARY_MAX_SIZE, CompileOptions, HostError, Limits, Module, Profile, Vm, VmConfig, deploy,
    imports, parser::Declarations,
};

/// Nobody waits longer, and so much can be added to any time.
const MOST_PATIENCE: Duration = Duration::from_secs(86_400);
/// Imports, and exports, that are listed. A module of the permitted size can have millions, with types as long as it likes.
const MOST_LISTED: usize = 1_000;

/// What is deployed besides the Wasm: the part of `transform.yaml` that a transform can see.
#[derive(Clone, Debug)]
pub struct Package {
    /// The transform's name.
    pub name: String,
    /// Where its records come from.
    pub input_topic: String,
    /// Where they go, 1 to 8; the first is the default.
    pub output_topics: Vec<String>,
    /// Further environment variables.
    pub env: Vec<(String, String)>,
}

impl Package {
    fn config(&self, limits: Limits) -> VmConfig {
        let Self { name, input_topic, output_topics, env } = self.clone();
        VmConfig { env, limits, ..VmConfig::new(name, input_topic, output_topics) }
    }
}

/// A record to try the transform with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// `None` is Kafka's null.
    pub key: Option<Vec<u8>>,
    /// `None` is Kafka's null.
    pub value: Option<Vec<u8>>,
    /// In order; a value may be null.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
}

/// How to judge.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// The builds of the broker in which it must run; the first in which it does is measured.
    pub profiles: Vec<Profile>,
    /// What a cluster's settings give a transform.
    pub limits: Limits,
    /// `data_transforms_binary_max_size`, in bytes.
    pub binary_max_size: usize,
    /// For how long the largest record is searched, for each kind of record.
    pub search: Duration,
    /// For how long the guest is waited for, in all: its starts, the samples and the search. The broker has no such
    /// limit, but fuel alone bounds no time.
    pub patience: Duration,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            profiles: Profile::ALL.into(),
            limits: Limits::default(),
            binary_max_size: BINARY_MAX_SIZE,
            search: Duration::from_secs(10),
            patience: Duration::from_secs(60),
        }
    }
}

/// Judges a package, and measures it where it runs.
///
/// Takes as long as the module does, and not much longer than [`CheckOptions::patience`] beside the time to compile it.
/// Fuel would not bound that: an instruction costs one unit, also one that fills two megabytes. A guest that does not
/// ask for a batch by then counts as failed at its start, and the reason says that the broker would go on. A thread
/// that a guest still holds is left behind, and ends with its fuel or with the process.
pub fn check(wasm: &[u8], package: &Package, samples: &[Sample], options: &CheckOptions) -> Report {
    let mut report = Report::new(wasm.len());
    let declared = deploy::check(wasm, options.binary_max_size)
        .and_then(|declared| package.config(options.limits).check().map(|()| declared));
    match declared {
        Ok(declared) => list(&declared, &mut report),
        Err(error) => {
            // One that is too large nobody has looked into, and nobody does.
            if deploy::fits(wasm, options.binary_max_size)
                && let Ok(declared) = crate::parser::parse(wasm)
            {
                list(&declared, &mut report);
            }
            report.verdict = Verdict::RejectedAtDeploy;
            report.reason = reason(&error);
            return report;
        }
    }
    let until = Instant::now() + options.patience.min(MOST_PATIENCE);
    let mut measured = None;
    for (n, profile) in options.profiles.iter().enumerate() {
        // A start that does not end takes no time from the one after it.
        let parts = u32::try_from(options.profiles.len() - n).unwrap_or(u32::MAX);
        let patience = left(until) / parts;
        let (verdict, reason) = match start(wasm, package, *profile, options, patience) {
            Ok(started) => {
                measured.get_or_insert(started);
                (Verdict::Runs, String::new())
            }
            Err(error) => (Verdict::of(&error), self::reason(&error)),
        };
        report.profiles.push(ProfileReport { profile: *profile, verdict, reason });
    }
    // The worst of them counts: nobody can tell which build a broker is.
    if let Some(worst) = report.profiles.iter().max_by_key(|profile| profile.verdict.severity()) {
        report.verdict = worst.verdict;
        report.reason = match report.profiles.iter().find(|other| other.verdict != worst.verdict) {
            Some(other) => format!(
                "in brokers with {}: {} (in those with {} it {})",
                worst.profile, worst.reason, other.profile, other.verdict
            ),
            None => worst.reason.clone(),
        };
    }
    if let Some((module, vm)) = measured {
        let usage = vm.usage();
        report.start = Some(StartReport {
            initial_memory: module.initial_memory(),
            memory: usage.memory,
            fuel: usage.start_fuel,
        });
        drop(vm);
        samples::run(&module, package, samples, (options, until), &mut report);
        report.largest = largest::search(&module, package, samples, (options, until));
    }
    report
}

/// How long is still to be waited.
fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

fn start(
    wasm: &[u8],
    package: &Package,
    profile: Profile,
    options: &CheckOptions,
    patience: Duration,
) -> Result<(Module, Vm), HostError> {
    let binary_max_size = options.binary_max_size;
    let module = Module::compile_for(wasm, &CompileOptions { profile, binary_max_size })?;
    let vm = Vm::start_within(&module, package.config(options.limits), Some(patience))?;
    Ok((module, vm))
}

fn list(declared: &Declarations, report: &mut Report) {
    report.import_count = declared.imports.len();
    report.export_count = declared.exports.len();
    report.imports = declared
        .imports
        .iter()
        .take(MOST_LISTED)
        .map(|import| Import {
            module: import.module.clone(),
            name: import.name.clone(),
            ty: import.entity.to_string(),
            known: imports::is_known(&import.module, &import.name),
        })
        .collect();
    report.exports = declared
        .exports
        .iter()
        .take(MOST_LISTED)
        .map(|export| Item { name: export.name.clone(), ty: export.entity.to_string() })
        .collect();
}

/// The error without what the verdict says already.
fn reason(error: &HostError) -> String {
    match error {
        HostError::Rejected(rejection) => rejection.to_string(),
        HostError::NeverRuns(reason)
        | HostError::Config { reason, .. }
        | HostError::Start { reason, .. }
        | HostError::Trap { reason, .. } => reason.clone(),
        HostError::Slow { .. }
        | HostError::Ended { .. }
        | HostError::MalformedBatch { .. }
        | HostError::Thread { .. } => error.to_string(),
    }
}
