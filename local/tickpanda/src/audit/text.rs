//! The result for people.

use std::fmt;

use super::report::{
    NEVER, Outcome, PartitionReport, RawReport, ReasonReport, Report, SeqReport, TableReport,
};
use super::sums::TopicSum;
use crate::demo::display::grouped;

/// So many source runs with holes are named in the text.
const RUNS: usize = 10;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.differences {
            writeln!(f, "{difference}")?;
        }
        if !self.differences.is_empty() {
            writeln!(f)?;
        }
        self.raw.iter().try_for_each(|raw| write_raw(f, raw))?;
        self.tables.iter().try_for_each(|table| write_table(f, table))?;
        for ReasonReport { reason, expected, stored } in &self.dead_letters_by_reason {
            writeln!(
                f,
                "  {reason:<14} {} expected, {} there",
                grouped(*expected),
                grouped(*stored)
            )?;
        }
        self.sums.iter().try_for_each(|sum| write_sum(f, sum))?;
        write_seq(f, &self.seq)?;
        if self.late > 0 {
            writeln!(
                f,
                "note: {} rows were there only at a second look: the pipeline is running",
                grouped(self.late)
            )?;
        }
        if !self.other_clusters.is_empty() {
            writeln!(
                f,
                "note: {} wrote into these tables too. Whose a row is that these raw topics do not make, \
                 and whose delivery of a tick came first, can't be told",
                self.other_clusters.join(", ")
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        writeln!(f, "{:.1} s, {:.0} raw records/s", self.seconds, self.records_per_second)?;
        f.write_str(match self.outcome() {
            Outcome::Balanced => "balanced",
            Outcome::Differs => "NOT balanced",
            Outcome::NotCompared => "nothing compared: all raw records are gone",
        })
    }
}

fn write_raw(f: &mut fmt::Formatter<'_>, raw: &RawReport) -> fmt::Result {
    let n = grouped;
    writeln!(
        f,
        "{}: {} raw records = {} with rows + {} nothing + {} rejected{}   {}",
        raw.topic,
        signed(raw.offsets - raw.without_record - raw.compacted),
        n(raw.with_rows),
        n(raw.nothing),
        n(raw.rejected),
        match raw.unread {
            0 => String::new(),
            unread => format!(" + {unread} that the brokers count and did not give"),
        },
        if raw.holds() { "ok" } else { "DIFFERS" }
    )?;
    for (count, what) in [
        (raw.without_record, "offsets more are control batches and aborted transactions"),
        (raw.compacted, "offsets more are empty: the topic is compacted"),
    ] {
        if count > 0 {
            writeln!(f, "  {} {what}", signed(count))?;
        }
    }
    for (reason, count) in &raw.rejected_by_reason {
        writeln!(f, "  {reason:<14} {} rejected", n(*count))?;
    }
    if raw.bad_rows > 0 {
        writeln!(f, "  {} of those with rows have bad rows besides", n(raw.bad_rows))?;
    }
    if raw.misplaced > 0 {
        writeln!(f, "  {} records do not lie on the partition of their key", n(raw.misplaced))?;
    }
    if raw.other_keys > 0 {
        writeln!(f, "  {} records have another key than their rows", n(raw.other_keys))?;
    }
    for partition in &raw.partitions {
        let PartitionReport { partition, first_offset, end_offset, records, rows_judged_after } =
            partition;
        write!(
            f,
            "  partition {partition}: offsets {first_offset}..{end_offset}, {} records",
            n(*records)
        )?;
        match rows_judged_after {
            Some(never) if never == NEVER => {
                writeln!(f, "; all of it is gone, and no row of it is judged")?
            }
            Some(time) => {
                writeln!(f, "; its beginning is gone, rows count if received after {time}")?
            }
            None => writeln!(f)?,
        }
    }
    Ok(())
}

fn write_table(f: &mut fmt::Formatter<'_>, table: &TableReport) -> fmt::Result {
    let n = grouped;
    writeln!(
        f,
        "{}: {} rows expected, {} equal, {} missing, {} extra, {} different   {}",
        table.table,
        n(table.expected),
        n(table.matched),
        n(table.missing),
        n(table.extra),
        n(table.different),
        if table.is_fault() { "DIFFERS" } else { "ok" }
    )?;
    for (count, what) in [
        (table.older_revision, "of the different are older revisions"),
        (table.refused, "refused by the sink, accounted for in dead_letters"),
        (table.before_raw_topic, "rows not judged: older than what is left of the raw topics"),
        (table.newer, "rows more, made by raw records that came meanwhile"),
        (table.not_attributed, "rows not judged: they may be another cluster's"),
    ] {
        if count > 0 {
            writeln!(f, "  {} {what}", n(count))?;
        }
    }
    if let Some(from) = &table.rows_expected_from {
        writeln!(
            f,
            "  rows are expected from {from} on; {} older ones are not missed",
            n(table.before_table)
        )?;
    }
    Ok(())
}

/// A count that the protocol has signed.
fn signed(count: i64) -> String {
    let digits = grouped(count.unsigned_abs());
    if count < 0 { format!("-{digits}") } else { digits }
}

fn write_sum(f: &mut fmt::Formatter<'_>, sum: &TopicSum) -> fmt::Result {
    writeln!(
        f,
        "{}: {} records, of which the sink has dealt with {} = {} rows + {} duplicates + {} refused{}{}   {}",
        sum.topic,
        sum.on_topic,
        sum.dealt_with,
        sum.rows,
        sum.duplicates,
        sum.refused,
        part(sum.never_read, "that retention took before"),
        part(sum.dropped, "dropped"),
        match sum.not_judged {
            Some(why) => format!("NOT JUDGED: {why}"),
            None if sum.holds() => "ok".to_owned(),
            None => "DIFFERS".to_owned(),
        }
    )
}

/// One more part of a sum, where it has one.
fn part(count: i64, what: &str) -> String {
    if count == 0 { String::new() } else { format!(" + {count} {what}") }
}

fn write_seq(f: &mut fmt::Formatter<'_>, seq: &SeqReport) -> fmt::Result {
    writeln!(
        f,
        "seq: {} numbers of {} source runs, {} lost, {} repeated   {}",
        grouped(seq.numbers),
        seq.runs,
        grouped(seq.lost),
        grouped(seq.repeated),
        match (seq.lost, seq.judged) {
            (1.., _) => "DIFFERS",
            (0, false) => "NOT JUDGED",
            (0, true) => "ok",
        }
    )?;
    if seq.unpublished > 0 {
        writeln!(f, "  {} numbers more that killed sources had drawn", grouped(seq.unpublished))?;
    }
    if seq.not_judged > 0 {
        writeln!(
            f,
            "  {} runs NOT JUDGED: they, or numbers of theirs, may lie in what is gone of the raw topics",
            seq.not_judged
        )?;
    }
    if seq.beyond > 0 {
        writeln!(
            f,
            "  {} records of further source runs NOT JUDGED: too many runs",
            grouped(seq.beyond)
        )?;
    }
    for run in seq.faults.iter().take(RUNS) {
        write!(
            f,
            "  run {}: {} seen, {} lost, {} repeated",
            run.run, run.seen, run.lost, run.repeated
        )?;
        for (index, (first, last)) in run.holes.iter().enumerate() {
            write!(f, "{}", if index == 0 { "; missing " } else { ", " })?;
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}–{last}")?,
            }
        }
        writeln!(f)?;
    }
    if let Some(more @ 1..) = seq.faults.len().checked_sub(RUNS) {
        writeln!(f, "  and {more} runs more (--json names all)")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seqs::RunReport;

    #[test]
    fn the_text_names_ten_runs_and_the_json_all() {
        let run = |run| RunReport {
            run,
            seen: 1,
            judged: Some(0..=1),
            lost: 1,
            unpublished: 0,
            holes: vec![0..=0],
            repeated: 0,
        };
        struct Text(SeqReport);
        impl fmt::Display for Text {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_seq(f, &self.0)
            }
        }
        let report = SeqReport::new((0..25).map(run).collect(), 0);
        assert_eq!((report.faults.len(), report.lost), (25, 25));
        let text = Text(report).to_string();
        assert_eq!(text.matches("; missing 0").count(), RUNS, "{text}");
        assert!(
            text.contains("25 lost") && text.ends_with("and 15 runs more (--json names all)\n")
        );
        let whole = |judged| RunReport { judged, lost: 0, holes: vec![], ..run(7) };
        for (runs, said) in [
            (vec![], "ok"),
            (vec![whole(Some(0..=0))], "ok"),
            (vec![whole(None), whole(Some(0..=0))], "ok"),
            (vec![whole(None)], "NOT JUDGED"),
        ] {
            let text = Text(SeqReport::new(runs, 0)).to_string();
            assert!(text.lines().next().unwrap().ends_with(said), "{text}");
        }
    }
}
