//! The result in numbers: what JSON shows, and what [`text`](super::text) says to people.

use std::collections::BTreeMap;

use serde::Serialize;
use tickpanda_model::dead_letter::Reason;
use tickpanda_sink::row::{Micros, Table};

use super::compare::Findings;
use super::entry::NO_TIME;
use super::explain::Difference;
use super::judge::{Verdict, table_index};
use super::range::{Bound, Span};
use super::raw::Topic;
use super::sums::TopicSum;
use super::tables::Kept;
use crate::seqs::RunReport;

/// In place of a time: no row of the partition is judged.
pub(super) const NEVER: &str = "never";

/// One partition of a raw topic, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct PartitionReport {
    pub(crate) partition: usize,
    pub(crate) first_offset: i64,
    pub(crate) end_offset: i64,
    pub(crate) records: u64,
    /// Rows received up to then are not judged, because retention took the partition's beginning;
    /// `null` where it has its beginning.
    pub(crate) rows_judged_after: Option<String>,
}

/// A raw topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RawReport {
    pub(crate) topic: String,
    /// What there was to read, by the brokers' count: from the partitions' beginnings to their ends.
    pub(crate) offsets: i64,
    /// What was read.
    pub(crate) records: u64,
    /// Offsets that control batches and aborted transactions take.
    pub(crate) without_record: i64,
    /// Offsets that are empty because the topic is compacted.
    pub(crate) compacted: i64,
    /// Offsets that nothing explains.
    pub(crate) unread: i64,
    pub(crate) with_rows: u64,
    pub(crate) bad_rows: u64,
    pub(crate) nothing: u64,
    pub(crate) rejected: u64,
    pub(crate) rejected_by_reason: BTreeMap<&'static str, u64>,
    pub(crate) misplaced: u64,
    /// Records that made rows of another key than their own.
    pub(crate) other_keys: u64,
    pub(crate) partitions: Vec<PartitionReport>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TableReport {
    pub(crate) table: &'static str,
    /// Rows that the raw topics make, each once.
    pub(crate) expected: u64,
    pub(crate) matched: u64,
    pub(crate) refused: u64,
    pub(crate) missing: u64,
    pub(crate) extra: u64,
    /// Of both sides and not equal, older revisions included.
    pub(crate) different: u64,
    pub(crate) older_revision: u64,
    /// In the table; the raw topic no longer reaches back so far.
    pub(crate) before_raw_topic: u64,
    /// Expected; the table no longer reaches back so far.
    pub(crate) before_table: u64,
    /// In the table, made by records that came behind the snapshot.
    pub(crate) newer: u64,
    /// In the table; perhaps of another cluster.
    pub(crate) not_attributed: u64,
    /// Expected rows before then are not missed; `null` where all are.
    pub(crate) rows_expected_from: Option<String>,
}

/// Dead letters of a reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ReasonReport {
    pub(crate) reason: &'static str,
    pub(crate) expected: u64,
    pub(crate) stored: u64,
}

/// A source run that is not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeqRun {
    pub(crate) run: String,
    pub(crate) seen: u64,
    pub(crate) lost: u64,
    pub(crate) unpublished: u64,
    pub(crate) repeated: u64,
    /// The first missing numbers, from and to.
    pub(crate) holes: Vec<(u64, u64)>,
}

/// All source runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct SeqReport {
    pub(crate) runs: u64,
    pub(crate) numbers: u64,
    pub(crate) lost: u64,
    /// Missing numbers of runs that were killed, by their ledgers (`--source-state`).
    pub(crate) unpublished: u64,
    pub(crate) repeated: u64,
    /// Runs of which nothing can be said, because retention took the topic's beginning.
    pub(crate) not_judged: u64,
    /// Records of further runs: too many to be told apart, and not judged.
    pub(crate) beyond: u64,
    /// Whether any run was judged, where there are any.
    pub(crate) judged: bool,
    /// The runs with lost or repeated numbers.
    pub(crate) faults: Vec<SeqRun>,
}

/// Everything that `--json` writes.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) balanced: bool,
    /// Whether there was anything to compare: `false` where all raw records are gone.
    pub(crate) compared: bool,
    /// Whether anything differs.
    pub(crate) differs: bool,
    pub(crate) seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) raw: Vec<RawReport>,
    pub(crate) tables: Vec<TableReport>,
    pub(crate) dead_letters_by_reason: Vec<ReasonReport>,
    pub(crate) seq: SeqReport,
    pub(crate) sums: Vec<TopicSum>,
    /// Rows that were there only at a second look.
    pub(crate) late: u64,
    /// Letters of the stage `sink` about the output topics.
    pub(crate) sink_refusals: u64,
    /// Other clusters, or topics of these names that were deleted, that wrote into the same tables.
    pub(crate) other_clusters: Vec<String>,
    pub(crate) differences: Vec<Difference>,
    /// What else a reader must know.
    pub(crate) notes: Vec<String>,
}

impl RawReport {
    pub(crate) fn new(topic: &Topic) -> Self {
        let partitions = topic.partitions.iter().enumerate();
        let partition = |(partition, span): (usize, &Span)| PartitionReport {
            partition,
            first_offset: span.first + span.taken,
            end_offset: span.end,
            records: span.records,
            rows_judged_after: match span.bound() {
                Bound::Nothing => None,
                Bound::UpTo(time) => Some(Micros::from_since_2000(time).to_string()),
                Bound::Everything => Some(NEVER.to_owned()),
            },
        };
        let outcomes = &topic.outcomes;
        let offsets = topic.offsets();
        let empty = offsets - i64::try_from(outcomes.records).unwrap_or(i64::MAX);
        let hidden: i64 = topic.partitions.iter().map(|span| span.hidden).sum();
        let without_record = hidden.min(empty).max(0);
        let compacted = if topic.compacted { (empty - without_record).max(0) } else { 0 };
        RawReport {
            topic: topic.name.clone(),
            offsets,
            records: outcomes.records,
            without_record,
            compacted,
            unread: empty - without_record - compacted,
            with_rows: outcomes.rows,
            bad_rows: outcomes.bad_rows,
            nothing: outcomes.nothing,
            rejected: outcomes.rejected.values().sum(),
            rejected_by_reason: outcomes.rejected.clone(),
            misplaced: topic.misplaced,
            other_keys: topic.other_keys,
            partitions: partitions.map(partition).collect(),
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.unread == 0 && self.records == self.with_rows + self.nothing + self.rejected
    }

    /// Whether there were records, and retention has taken all of them.
    pub(super) fn is_gone(&self) -> bool {
        self.records == 0 && self.partitions.iter().any(|partition| partition.end_offset > 0)
    }
}

impl TableReport {
    pub(crate) fn new(table: Table, findings: &Findings, kept: Kept) -> Self {
        let of = |verdict| findings.of(table, verdict);
        let different = of(Verdict::Different) + of(Verdict::Older);
        let mut from = kept.by_rule[table_index(table)];
        if of(Verdict::OutsideTable) > 0 {
            from = from.max(kept.by_chunks[table_index(table)]);
        }
        let expected = of(Verdict::Matched)
            + of(Verdict::Refused)
            + of(Verdict::Missing)
            + of(Verdict::OutsideTable)
            + different;
        TableReport {
            table: table.name(),
            expected,
            matched: of(Verdict::Matched),
            refused: of(Verdict::Refused),
            missing: of(Verdict::Missing),
            extra: of(Verdict::Extra),
            different,
            older_revision: of(Verdict::Older),
            before_raw_topic: of(Verdict::OutsideTopic),
            before_table: of(Verdict::OutsideTable),
            newer: of(Verdict::Newer),
            not_attributed: of(Verdict::Foreign),
            rows_expected_from: (from != NO_TIME)
                .then(|| Micros::from_since_2000(from).to_string()),
        }
    }

    pub(super) fn is_fault(&self) -> bool {
        self.missing + self.extra + self.different > 0
    }
}

/// Dead letters by reason, as the findings have them.
pub(crate) fn reasons(findings: &Findings) -> Vec<ReasonReport> {
    let name =
        |mark: u8| Reason::ALL.get(usize::from(mark)).map_or("(unknown)", |reason| reason.code());
    let reasons = findings.reasons.iter().map(|(mark, count)| ReasonReport {
        reason: name(*mark),
        expected: count.expected,
        stored: count.stored,
    });
    reasons.collect()
}

impl SeqReport {
    pub(crate) fn new(runs: Vec<RunReport>, beyond: u64) -> Self {
        let judged = runs.is_empty() || runs.iter().any(|run| run.judged.is_some());
        let mut report =
            SeqReport { runs: runs.len() as u64, beyond, judged, ..SeqReport::default() };
        for run in runs {
            report.numbers += run.seen;
            report.lost = report.lost.saturating_add(run.lost);
            report.unpublished = report.unpublished.saturating_add(run.unpublished);
            report.repeated += run.repeated;
            report.not_judged += u64::from(run.judged.is_none());
            if !run.holes.is_empty() || run.repeated > 0 {
                report.faults.push(SeqRun {
                    run: format!("{:016x}", run.run),
                    seen: run.seen,
                    lost: run.lost,
                    unpublished: run.unpublished,
                    repeated: run.repeated,
                    holes: run
                        .holes
                        .into_iter()
                        .map(std::ops::RangeInclusive::into_inner)
                        .collect(),
                });
            }
        }
        report
    }
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Compared, and all agrees.
    Balanced,
    /// Something differs.
    Differs,
    /// Nothing is left of the raw topics that could be compared.
    NotCompared,
}

impl Report {
    /// Decides whether it balances.
    pub(crate) fn judge(&mut self) {
        let holds = self.raw.iter().all(RawReport::holds)
            && !self.tables.iter().any(TableReport::is_fault)
            && !self.sums.iter().any(TopicSum::is_fault)
            && self.seq.lost == 0;
        let records: u64 = self.raw.iter().map(|raw| raw.records).sum();
        self.compared = records > 0 || !self.raw.iter().any(RawReport::is_gone);
        self.balanced = holds && self.compared;
        self.differs = !holds;
    }

    /// What it comes to.
    pub(crate) fn outcome(&self) -> Outcome {
        match (self.differs, self.compared) {
            (true, _) => Outcome::Differs,
            (false, true) => Outcome::Balanced,
            (false, false) => Outcome::NotCompared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::raw::Outcomes;

    #[test]
    fn a_record_that_the_brokers_count_and_nobody_read_is_a_difference() {
        let report = |records, hidden, compacted| {
            let span = Span { hidden, ..Span::new(5, 15) };
            let outcomes = Outcomes { records, nothing: records, ..Outcomes::default() };
            let partitions = vec![span];
            RawReport::new(&Topic { partitions, outcomes, compacted, ..Topic::default() })
        };
        for (records, hidden, compacted, unread) in [
            (10, 0, false, 0),
            (9, 0, false, 1),
            (7, 2, false, 1),
            (7, 2, true, 0),
            (7, 3, false, 0),
            // Markers behind the end are none of its own.
            (10, 1, false, 0),
            // More than there are.
            (11, 0, false, -1),
            (11, 0, true, -1),
        ] {
            let report = report(records, hidden, compacted);
            assert_eq!((report.offsets, report.unread), (10, unread), "{records} {hidden}");
            assert_eq!(report.holds(), unread == 0);
        }
    }
}
