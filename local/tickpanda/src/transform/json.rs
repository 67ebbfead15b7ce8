//! The report of a check for machines.

use serde_json::{Value, json};
use tickpanda_host::check::{CheckOptions, Report};

use super::{package::Package, samples::Samples};

/// One object. What was not measured is null.
pub(super) fn report(
    file: &str,
    report: &Report,
    package: &Package,
    samples: &Samples,
    options: &CheckOptions,
) -> Value {
    let tried = report.samples.as_ref();
    let line = |sample: usize| samples.lines.get(sample);
    json!({
        "file": file,
        "verdict": report.verdict.to_string(),
        "reason": report.reason,
        "bytes": report.bytes,
        "package": {
            "name": package.described.name,
            "input_topic": package.described.input_topic,
            "output_topics": package.described.output_topics,
        },
        "profiles": list(&report.profiles, |one| json!({
            "profile": one.profile.to_string(),
            "verdict": one.verdict.to_string(),
            "reason": one.reason,
        })),
        "imports": list(&report.imports, |import| json!({
            "module": import.module, "name": import.name, "type": import.ty, "known": import.known,
        })),
        "import_count": report.import_count,
        "export_count": report.export_count,
        "exports": list(&report.exports, |item| json!({ "name": item.name, "type": item.ty })),
        "memory": {
            "initial": report.start.map(|start| start.initial_memory),
            "after_start": report.start.map(|start| start.memory),
            "peak": tried.map(|tried| tried.peak_memory).or(report.start.map(|start| start.memory)),
            "limit": options.limits.memory,
        },
        "fuel": {
            "start": report.start.map(|start| start.fuel),
            "sample_max": tried.map(|tried| tried.max_fuel),
            "sample_mean": tried.map(|tried| tried.mean_fuel),
            "limit": options.limits.fuel,
        },
        "samples": tried.map(|tried| json!({
            "given": samples.records.len(),
            "tried": tried.tried,
            "failed": tried.failed,
            "failures": list(&tried.failures, |failure| json!({
                "line": line(failure.sample), "reason": failure.reason,
            })),
            "output": list(&tried.topics, |topic| json!({
                "topic": topic.topic, "records": topic.records, "bytes": topic.bytes,
            })),
        })),
        "logs": {
            "written": report.logs.written,
            "cut": report.logs.cut,
            "dropped_not_utf8": report.logs.dropped_not_utf8,
            "dropped_control_character": report.logs.dropped_control,
            "first": report.logs.first,
        },
        "largest_record": list(&report.largest, |largest| json!({
            "kind": largest.kind.to_string(),
            "value_bytes": largest.bytes,
            "exact": largest.exact,
            "beyond": largest.beyond,
        })),
        "notes": package.notes,
    })
}

fn list<T>(items: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
    items.iter().map(value).collect()
}
