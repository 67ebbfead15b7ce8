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
    let mut text = format!("{}: {}\n", shown(file), report.verdict);
    if !report.reason.is_empty() {
        line(&mut text, "why", &report.reason);
    }
    for one in &report.profiles {
        line(&mut text, &format!("in {}", one.profile), &one.verdict);
    }
    line(&mut text, "binary", &format!("{} bytes", grouped(report.bytes as u64)));
    for (n, import) in report.imports.iter().enumerate() {
        let unknown = if import.known { "" } else { "   the broker has no such import" };
        let (module, name) = (shown(&import.module), shown(&import.name));
        let item = format!("{module}::{name} {}{unknown}", import.ty);
        line(&mut text, if n == 0 { "imports" } else { "" }, &item);
    }
    more(&mut text, report.import_count, report.imports.len());
    for (n, export) in report.exports.iter().enumerate() {
        let item = format!("{} {}", shown(&export.name), export.ty);
        line(&mut text, if n == 0 { "exports" } else { "" }, &item);
    }
    more(&mut text, report.export_count, report.exports.len());
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
                shown(&topic.topic),
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

/// That a list goes on.
fn more(text: &mut String, count: usize, listed: usize) {
    if count > listed {
        line(text, "", &format!("and {} more", grouped((count - listed) as u64)));
    }
}

/// Of a stranger's module: what would move the cursor, colour the screen or turn the direction is written out.
fn shown(name: &str) -> String {
    let moves = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if moves(c) { text.extend(c.escape_default()) } else { text.push(c) }
    }
    text
}

/// A name, and what is said of it; further lines of it stand below its first.
fn line(text: &mut String, name: &str, said: &dyn Display) {
    let said = said.to_string();
    let mut name = name;
    for part in said.lines() {
        text.push_str(format!("  {name:<COLUMN$}{}", shown(part)).trim_end());
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

    #[test]
    fn a_strangers_names_and_reasons_can_not_steer_the_terminal() {
        assert_eq!(shown("a\x1b[2J\nb\u{202e}c ü"), "a\\u{1b}[2J\\nb\\u{202e}c ü");
        let mut text = String::new();
        line(&mut text, "why", &"a \x1b]0;title\x07 trap\r\n  guest\u{9b}31m");
        assert_eq!(
            text,
            "  why               a \\u{1b}]0;title\\u{7} trap\n                      guest\\u{9b}31m\n"
        );
    }
}
