//! Runs the samples through the transform, one batch each, so that what happens is known to be
//! the work of one record.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    CheckOptions, Logs, Package, Report, Sample, SampleFailure, SampleReport, TopicUse, left,
    reason,
};
use crate::{Batch, HostError, LogDrop, LogLine, Module, Outputs, Record, Vm};

/// After so many failures the rest is not tried: each costs a new VM.
const MOST_FAILURES: usize = 100;
/// Failures, and messages, that are told in full.
const SHOWN: usize = 10;

pub(super) fn run(
    module: &Module,
    package: &Package,
    samples: &[Sample],
    (options, until): (&CheckOptions, Instant),
    report: &mut Report,
) {
    let logs = Arc::new(Mutex::new(Logs::default()));
    let result = try_all(module, package, samples, (options, until), &logs);
    report.logs = logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
    report.samples = (!samples.is_empty()).then_some(result);
}

fn try_all(
    module: &Module,
    package: &Package,
    samples: &[Sample],
    (options, until): (&CheckOptions, Instant),
    logs: &Arc<Mutex<Logs>>,
) -> SampleReport {
    let mut tried = Tried::new(package);
    let start = || start(module, package, (options, until), logs).ok();
    let mut running = start();
    for (n, sample) in samples.iter().enumerate() {
        if tried.report.failed == MOST_FAILURES {
            break;
        }
        let patience = left(until);
        // It started a moment ago, and a transform is deterministic: only time can have been short.
        let Some(vm) = running.as_mut().filter(|_| patience > Duration::ZERO) else { break };
        tried.report.tried += 1;
        let result = transform(vm, sample, &mut tried, patience);
        if let Err(error) = result {
            tried.fail(n, reason(&error));
            tried.leave(running.as_ref());
            running = start();
        }
    }
    tried.leave(running.as_ref());
    tried.finish()
}

fn start(
    module: &Module,
    package: &Package,
    (options, until): (&CheckOptions, Instant),
    logs: &Arc<Mutex<Logs>>,
) -> Result<Vm, HostError> {
    let logs = Arc::clone(logs);
    let config = package
        .config(options.limits)
        .log(move |line| note(&mut logs.lock().unwrap_or_else(PoisonError::into_inner), line));
    Vm::start_within(module, config, Some(left(until)))
}

fn note(logs: &mut Logs, line: LogLine<'_>) {
    match line.text {
        Ok(text) => {
            logs.written += 1;
            logs.cut += u64::from(line.cut);
            if logs.first.len() < SHOWN {
                logs.first.push(text.to_owned());
            }
        }
        Err(LogDrop::NotUtf8) => logs.dropped_not_utf8 += 1,
        Err(LogDrop::ControlCharacter) => logs.dropped_control += 1,
    }
}

fn transform(
    vm: &mut Vm,
    sample: &Sample,
    tried: &mut Tried,
    patience: Duration,
) -> Result<(), HostError> {
    let batch = Batch::builder().record(sample.timestamp, &sample.record()).build()?;
    vm.transform_within(&batch, &mut tried.out, Some(patience))?;
    for output in tried.out.iter() {
        if let Some(topic) = tried.report.topics.get_mut(output.topic) {
            topic.records += 1;
            topic.bytes += output.payload.len() as u64;
        }
    }
    Ok(())
}

impl Sample {
    pub(super) fn record(&self) -> Record<'_> {
        let headers = self.headers.iter().map(|(key, value)| (&key[..], value.as_deref()));
        Record {
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: headers.collect(),
        }
    }
}

/// What was found so far, of all VMs.
struct Tried {
    report: SampleReport,
    out: Outputs,
    records: u64,
    fuel: u64,
}

impl Tried {
    fn new(package: &Package) -> Self {
        let topics = package.output_topics.iter();
        let topics = topics.map(|topic| TopicUse { topic: topic.clone(), records: 0, bytes: 0 });
        let report = SampleReport { topics: topics.collect(), ..SampleReport::default() };
        Self { report, out: Outputs::default(), records: 0, fuel: 0 }
    }

    fn fail(&mut self, sample: usize, reason: String) {
        self.report.failed += 1;
        if self.report.failures.len() < SHOWN {
            self.report.failures.push(SampleFailure { sample, reason });
        }
    }

    /// A VM is left: what it used counts.
    fn leave(&mut self, vm: Option<&Vm>) {
        let Some(usage) = vm.map(Vm::usage) else { return };
        self.records += usage.records;
        self.fuel = self.fuel.saturating_add(usage.records_fuel);
        self.report.max_fuel = self.report.max_fuel.max(usage.most_fuel);
        self.report.peak_memory = self.report.peak_memory.max(usage.memory);
    }

    fn finish(self) -> SampleReport {
        let mean_fuel = self.fuel.checked_div(self.records).unwrap_or(0);
        SampleReport { mean_fuel, ..self.report }
    }
}
