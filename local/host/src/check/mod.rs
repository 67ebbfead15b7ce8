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

use std::time::Duration;

use crate::{
    BINARY_MAX_SIZE, CompileOptions, HostError, Limits, Module, Profile, Vm, VmConfig, deploy,
    imports, parser::Declarations,
};

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
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self {
            profiles: Profile::ALL.into(),
            limits: Limits::default(),
            binary_max_size: BINARY_MAX_SIZE,
            search: Duration::from_secs(10),
        }
    }
}

/// Judges a package, and measures it where it runs.
///
/// Takes as long as the module does: a few seconds for the worst, because fuel bounds each record,
/// and the search for the largest record has a limit of its own.
pub fn check(wasm: &[u8], package: &Package, samples: &[Sample], options: &CheckOptions) -> Report {
    let mut report = Report::new(wasm.len());
    let declared = deploy::check(wasm, options.binary_max_size)
        .and_then(|declared| package.config(options.limits).check().map(|()| declared));
    match declared {
        Ok(declared) => list(&declared, &mut report),
        Err(error) => {
            if let Ok(declared) = crate::parser::parse(wasm) {
                list(&declared, &mut report);
            }
            report.verdict = Verdict::RejectedAtDeploy;
            report.reason = reason(&error);
            return report;
        }
    }
    let mut measured = None;
    for profile in &options.profiles {
        let (verdict, reason) = match start(wasm, package, *profile, options) {
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
        samples::run(&module, package, samples, options, &mut report);
        report.largest = largest::search(&module, package, samples, options);
    }
    report
}

fn start(
    wasm: &[u8],
    package: &Package,
    profile: Profile,
    options: &CheckOptions,
) -> Result<(Module, Vm), HostError> {
    let binary_max_size = options.binary_max_size;
    let module = Module::compile_for(wasm, &CompileOptions { profile, binary_max_size })?;
    let vm = Vm::start(&module, package.config(options.limits))?;
    Ok((module, vm))
}

fn list(declared: &Declarations, report: &mut Report) {
    report.imports = declared
        .imports
        .iter()
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
        HostError::Ended { .. } | HostError::MalformedBatch { .. } | HostError::Thread { .. } => {
            error.to_string()
        }
    }
}
