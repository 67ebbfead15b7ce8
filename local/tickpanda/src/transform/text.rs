//! The report of a check for people.

use std::fmt::Display;

use tickpanda_host::check::{CheckOptions, LargestRecord, RecordKind, Report};

use super::{package::Package, samples::Samples};
use crate::demo::display::grouped;

/// Where the second column begins.
const COLUMN: usize = 18;

/// The verdict on the first line, then what it rests on.
pub(super) fn report(
    file: &str,
    report: &Report,
    package: &Package,
    samples: &Samples,
    options: &CheckOptions,
) -> String {
    let mut text = format!("{file}: {}\n", report.verdict);
    if !report.reason.is_empty() {
        line(&mut text, "why", &report.reason);
    }
    for one in &report.profiles {
        line(&mut text, &format!("in {}", one.profile), &one.verdict);
    }
    line(&mut text, "binary", &format!("{} bytes", grouped(report.bytes as u64)));
    for (n, import) in report.imports.iter().enumerate() {
        let unknown = if import.known { "" } else { "   the broker has no such import" };
        let item = format!("{}::{} {}{unknown}", import.module, import.name, import.ty);
        line(&mut text, if n == 0 { "imports" } else { "" }, &item);
    }
    for (n, export) in report.exports.iter().enumerate() {
        let item = format!("{} {}", export.name, export.ty);
        line(&mut text, if n == 0 { "exports" } else { "" }, &item);
    }
    if let Some(start) = report.start {
        let tried = report.samples.as_ref();
        let peak = tried.map_or(start.memory, |tried| tried.peak_memory);
        let memory = format!(
            "{} bytes at first, {} at most, of {}",
            grouped(start.initial_memory),
            grouped(peak as u64),
            grouped(options.limits.memory as u64)
        );
        line(&mut text, "memory", &memory);
        let mut fuel = format!("{} for the start", grouped(start.fuel));
        if let Some(tried) = tried {
            fuel += &format!(
                ", {} a sample, {} at most,",
                grouped(tried.mean_fuel),
                grouped(tried.max_fuel)
            );
        }
        line(&mut text, "fuel", &format!("{fuel} of {}", grouped(options.limits.fuel)));
    }
    if let Some(tried) = &report.samples {
        line(
            &mut text,
            "samples",
            &format!(
                "{} of {} tried, {} not survived",
                tried.tried,
                samples.records.len(),
                tried.failed
            ),
        );
        for failure in &tried.failures {
            let number = samples.lines.get(failure.sample).copied().unwrap_or_default();
            line(&mut text, &format!("  line {number}"), &failure.reason);
        }
        let used = tried.topics.iter().filter(|topic| topic.records > 0);
        for (n, topic) in used.enumerate() {
            let use_ = format!(
                "{}: {} records, {} bytes",
                topic.topic,
                grouped(topic.records),
                grouped(topic.bytes)
            );
            line(&mut text, if n == 0 { "output" } else { "" }, &use_);
        }
    }
    if report.start.is_some() {
        let logs = &report.logs;
        let shown = format!(
            "{} written, {} of them cut at 1,024 bytes; dropped: {} not UTF-8, {} with a control character",
            logs.written, logs.cut, logs.dropped_not_utf8, logs.dropped_control
        );
        line(&mut text, "logs", &shown);
        for message in &logs.first {
            line(&mut text, "", &format!("{:?}", message.trim_end()));
        }
    }
    for (n, found) in report.largest.iter().enumerate() {
        line(&mut text, if n == 0 { "largest record" } else { "" }, &largest(found));
    }
    for note in &package.notes {
        line(&mut text, "note", note);
    }
    text
}

fn largest(found: &LargestRecord) -> String {
    let kind = match found.kind {
        RecordKind::Garbage => "of garbage",
        RecordKind::Sample => "of the largest sample, repeated",
    };
    let bytes = |bytes: usize| grouped(bytes as u64);
    match (found.bytes, found.exact) {
        (Some(most), true) => format!("{} bytes {kind}, as the first record", bytes(most)),
        (Some(most), false) => {
            format!("at least {} bytes {kind} (the search was ended)", bytes(most))
        }
        (None, true) => format!("none {kind}: not even an empty value is survived"),
        (None, false) => format!("not known {kind}: the search was ended"),
    }
}

/// A name, and what is said of it; further lines of it stand below its first.
fn line(text: &mut String, name: &str, said: &dyn Display) {
    let said = said.to_string();
    let mut name = name;
    for part in said.lines() {
        text.push_str(format!("  {name:<COLUMN$}{part}",).trim_end());
        text.push('\n');
        name = "";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_of_a_reason_stand_below_its_first() {
        let mut text = String::new();
        line(&mut text, "why", &"a trap\n  guest::main");
        assert_eq!(text, "  why               a trap\n                      guest::main\n");
    }
}
