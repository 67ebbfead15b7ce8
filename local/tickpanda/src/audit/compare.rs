//! Verdicts counted: per table and per reason, the first examples of each difference, and what is to
//! be looked at again because a running pipeline may just not have written it yet.

use std::collections::BTreeMap;

use tickpanda_sink::row::Table;

use super::entry::{Entry, Side};
use super::judge::{Context, Judgement, Verdict, judge, table_index};

/// So many differences of each kind are shown.
const EXAMPLES: usize = 10;
/// So many entries are kept in memory to be looked up again; what is beyond counts as it was found.
const PENDING: usize = 200_000;

/// Dead letters of one reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReasonCount {
    pub(crate) expected: u64,
    pub(crate) stored: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) verdicts: BTreeMap<(Table, Verdict), u64>,
    /// By the place of the reason in `Reason::ALL`.
    pub(crate) reasons: BTreeMap<u8, ReasonCount>,
    /// The first of each kind by their places, or by their times where only the table has them.
    pub(crate) examples: BTreeMap<(Table, Verdict), Vec<Judgement>>,
    /// Rows that were there only when they were looked up again.
    pub(crate) late: u64,
    /// Groups that were not looked up again, because there were too many.
    pub(crate) beyond: u64,
    /// For each of `Table::ALL`: so many rows, not counted yet, that the sink wrote by its account and
    /// that are not there.
    gone: [u64; 3],
    pending: Vec<Vec<Entry>>,
    pending_entries: usize,
}

impl Verdict {
    /// Whether it makes the audit fail.
    pub(crate) fn is_difference(self) -> bool {
        matches!(self, Verdict::Missing | Verdict::Older | Verdict::Different | Verdict::Extra)
    }

    /// Whether a running pipeline may mend it by itself. A tick that is written never changes.
    fn may_pass(self, table: Table) -> bool {
        match self {
            Verdict::Missing | Verdict::Older => true,
            Verdict::Different => table == Table::Candles,
            _ => false,
        }
    }
}

impl Findings {
    /// Nothing yet. `gone` are the rows of each of `Table::ALL` that are sure to have been written and to
    /// be gone: so many that are older than the table's chunks count as dropped with theirs.
    pub(crate) fn new(gone: [u64; 3]) -> Self {
        Findings { gone, ..Findings::default() }
    }

    /// Judges a group of the streamed rows. With `again`, what may pass is put aside.
    pub(crate) fn take(&mut self, group: &[Entry], context: &Context<'_>, again: bool) {
        let Some(table) = group.first().map(|entry| entry.table) else { return };
        let mut judgement = judge(group, context);
        if judgement.verdict == Verdict::BeforeChunks {
            let gone = &mut self.gone[table_index(table)];
            judgement.verdict = if *gone > 0 { Verdict::OutsideTable } else { Verdict::Missing };
            *gone = gone.saturating_sub(1);
        }
        if again && judgement.verdict.may_pass(table) {
            if self.pending_entries + group.len() <= PENDING {
                self.pending_entries += group.len();
                self.pending.push(group.to_vec());
                return;
            }
            self.beyond += 1;
        }
        self.count(table, judgement);
    }

    /// What is to be looked up again.
    pub(crate) fn take_pending(&mut self) -> Vec<Vec<Entry>> {
        self.pending_entries = 0;
        std::mem::take(&mut self.pending)
    }

    /// Counts a verdict that is final.
    pub(crate) fn count(&mut self, table: Table, judgement: Judgement) {
        let Judgement { verdict, expected, stored } = judgement;
        *self.verdicts.entry((table, verdict)).or_default() += 1;
        if table == Table::DeadLetters
            && let Some(letter) = expected.or(stored)
        {
            let count = self.reasons.entry(letter.mark).or_default();
            count.expected += u64::from(expected.is_some() || verdict == Verdict::Newer);
            count.stored += u64::from(stored.is_some());
        }
        if verdict.is_difference() || verdict == Verdict::Refused {
            let examples = self.examples.entry((table, verdict)).or_default();
            let place = |example: &Judgement| match (&example.expected, &example.stored) {
                (Some(expected), _) => (expected.place(), 0),
                (None, Some(stored)) => (stored.place(), stored.time),
                (None, None) => Default::default(),
            };
            let at = examples.partition_point(|example| place(example) <= place(&judgement));
            if at < EXAMPLES {
                examples.insert(at, judgement);
                examples.truncate(EXAMPLES);
            }
        }
    }

    /// How often a verdict was given for a table.
    pub(crate) fn of(&self, table: Table, verdict: Verdict) -> u64 {
        self.verdicts.get(&(table, verdict)).copied().unwrap_or(0)
    }
}

/// The same group with another row in the table, or none.
pub(crate) fn with_stored(group: &[Entry], stored: Option<Entry>) -> Vec<Entry> {
    let others = group.iter().filter(|entry| !matches!(entry.side, Side::Stored | Side::Former));
    others.copied().chain(stored).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::entry::{Hasher, Place};

    fn entry(side: Side, offset: i64) -> Entry {
        let place = Place { topic: 0, partition: 0, offset };
        Entry { side, time: offset, ..Hasher::default().unstorable(Table::Ticks, place, 0) }
    }

    fn context(refused: &dyn Fn(Table, u128) -> bool) -> Context<'_> {
        Context { tables_from: [i64::MIN; 3], chunks_from: [i64::MIN; 3], foreign: false, refused }
    }

    #[test]
    fn the_first_examples_of_a_kind_are_kept_and_all_are_counted() {
        let mut findings = Findings::default();
        let nothing = |_, _| false;
        for offset in (0..100).rev() {
            findings.take(&[entry(Side::Expected, offset)], &context(&nothing), false);
        }
        let shown = &findings.examples[&(Table::Ticks, Verdict::Missing)];
        let offsets: Vec<_> = shown.iter().map(|shown| shown.expected.unwrap().offset).collect();
        assert_eq!(offsets, (0..10).collect::<Vec<_>>());
        assert_eq!(findings.of(Table::Ticks, Verdict::Missing), 100);
    }

    #[test]
    fn of_rows_before_the_chunks_so_many_are_dropped_as_the_sink_wrote() {
        let mut findings = Findings::new([2, 0, 0]);
        let nothing = |_, _| false;
        let context = Context { chunks_from: [100; 3], ..context(&nothing) };
        for time in [1, 2, 3, 200] {
            let group = [Entry { side: Side::Expected, time, ..entry(Side::Expected, 0) }];
            findings.take(&group, &context, false);
        }
        assert_eq!(findings.of(Table::Ticks, Verdict::OutsideTable), 2);
        assert_eq!(findings.of(Table::Ticks, Verdict::Missing), 2, "one of them was never written");
    }

    #[test]
    fn what_a_pipeline_may_still_write_is_put_aside_up_to_a_limit() {
        let mut findings = Findings::default();
        let nothing = |_, _| false;
        let missing = [entry(Side::Expected, 1)];
        for _ in 0..=PENDING {
            findings.take(&missing, &context(&nothing), true);
        }
        findings.take(&[entry(Side::Stored, 1)], &context(&nothing), true);
        assert_eq!(findings.take_pending().len(), PENDING);
        assert_eq!((findings.beyond, findings.of(Table::Ticks, Verdict::Missing)), (1, 1));
        assert_eq!(findings.of(Table::Ticks, Verdict::Extra), 1, "nothing explains it later");
    }
}
