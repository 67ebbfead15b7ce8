//! Which `seq` numbers of which source run are on the raw topic.
//!
//! A missing number is a lost frame, a repeated one a publish that was retried. A run that was
//! killed may have drawn numbers that it never published; those are told apart, because no promise
//! was made about a frame that was never acknowledged.

use std::collections::{BTreeMap, HashMap};

use roaring::RoaringTreemap;
use tickpanda_model::header::Seq;

/// One bit per frame: a million frames take 125 kB.
#[derive(Default)]
pub(crate) struct Seqs {
    runs: BTreeMap<u64, Run>,
}

#[derive(Default)]
struct Run {
    seen: RoaringTreemap,
    repeated: u64,
}

/// How a source run ended, from its ledger: `Some(published)` where it ended by itself.
pub(crate) type Endings = HashMap<u64, Option<u64>>;

/// What the numbers say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct SeqReport {
    /// Numbers that a run published by its own account, or that lie below one on the topic, and
    /// that are not there.
    pub(crate) lost: u64,
    /// The same in runs that were killed: drawn, but not yet acknowledged.
    pub(crate) unpublished: u64,
    /// Numbers that are there more than once, counted once per repetition.
    pub(crate) publish_retries: u64,
}

impl Seqs {
    /// Takes the number of one record.
    pub(crate) fn see(&mut self, seq: Seq) {
        let run = self.runs.entry(seq.run).or_default();
        if !run.seen.insert(seq.n) {
            run.repeated += 1;
        }
    }

    /// Compares what was seen with how each run ended. A run without a ledger entry is taken as
    /// ended by itself, so that nothing missing is ever excused by a missing file.
    pub(crate) fn report(&self, endings: &Endings) -> SeqReport {
        let mut report = SeqReport::default();
        for (run, ending) in endings {
            if let (Some(published), false) = (ending, self.runs.contains_key(run)) {
                report.lost += published;
            }
        }
        for (id, run) in &self.runs {
            let upto = run.seen.max().map_or(0, |max| max.saturating_add(1));
            report.publish_retries += run.repeated;
            match endings.get(id) {
                Some(None) => report.unpublished += upto - run.seen.len(),
                Some(Some(published)) => {
                    report.lost += upto.max(*published) - run.seen.len();
                }
                None => report.lost += upto - run.seen.len(),
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(numbers: &[(u64, u64)]) -> Seqs {
        let mut seqs = Seqs::default();
        for (run, n) in numbers {
            seqs.see(Seq { run: *run, n: *n });
        }
        seqs
    }

    #[test]
    fn a_hole_is_lost_and_a_repetition_is_a_retry() {
        let report = seen(&[(1, 0), (1, 3), (1, 2), (1, 2)]).report(&Endings::from([(1, Some(4))]));
        assert_eq!(report, SeqReport { lost: 1, unpublished: 0, publish_retries: 1 });
    }

    #[test]
    fn the_end_of_a_run_that_ended_by_itself_is_not_excused() {
        let report = seen(&[(1, 0)]).report(&Endings::from([(1, Some(3)), (2, Some(5))]));
        assert_eq!(report, SeqReport { lost: 7, unpublished: 0, publish_retries: 0 });
    }

    #[test]
    fn numbers_of_a_killed_run_are_shown_apart() {
        let report = seen(&[(1, 0), (1, 2), (2, 1)]).report(&Endings::from([(1, None)]));
        assert_eq!(report, SeqReport { lost: 1, unpublished: 1, publish_retries: 0 });
    }
}
