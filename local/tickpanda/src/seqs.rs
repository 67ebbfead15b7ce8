//! Which `seq` numbers of which source run are on the raw topic, for demo and audit.
//!
//! A missing number is a lost frame, a repeated one a publish that was retried. A run that was
//! killed may have drawn numbers that it never published; those are told apart where its ledger is
//! at hand, because no promise was made about a frame that was never acknowledged.
//!
//! Where retention has taken the topic's beginning, a run's numbers count from the first one behind
//! the time from which on every partition is whole.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

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
    /// From here on all of its frames should be there.
    whole_from: Option<u64>,
    /// One after the greatest number that counts, where that is settled.
    upto: Option<u64>,
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

/// What the topic itself says of one run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunReport {
    /// The run's number.
    pub(crate) run: u64,
    /// Distinct numbers that are there.
    pub(crate) seen: u64,
    /// The numbers that were judged; none where retention may have taken any.
    pub(crate) judged: Option<RangeInclusive<u64>>,
    /// Judged numbers that are not there, where the run is not known to have been killed.
    pub(crate) lost: u64,
    /// The same in a run that was killed: drawn, but never acknowledged.
    pub(crate) unpublished: u64,
    /// The first of either.
    pub(crate) holes: Vec<RangeInclusive<u64>>,
    /// Numbers that are there more than once, counted once per repetition.
    pub(crate) repeated: u64,
}

/// So many holes of a run are named.
const NAMED_HOLES: usize = 10;

impl Seqs {
    /// Takes the number of one record; `whole` where everything is still there that was published
    /// since.
    pub(crate) fn see(&mut self, seq: Seq, whole: bool) {
        let run = self.runs.entry(seq.run).or_default();
        if !run.seen.insert(seq.n) {
            run.repeated += 1;
        }
        if whole {
            run.whole_from = Some(run.whole_from.map_or(seq.n, |from| from.min(seq.n)));
        }
    }

    /// From now on numbers beyond those that are known do not count: partitions are not read up to
    /// the same moment, and what follows only fills holes.
    pub(crate) fn settle(&mut self) {
        for run in self.runs.values_mut() {
            run.upto = run.seen.max().map(|max| max.saturating_add(1));
        }
    }

    /// After [`Seqs::settle`]: takes a number that may fill a hole.
    pub(crate) fn fill(&mut self, seq: Seq) {
        let Some(run) = self.runs.get_mut(&seq.run) else { return };
        if run.upto.is_some_and(|upto| seq.n < upto) && !run.seen.insert(seq.n) {
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

    /// What the topic says of each run. `cut` where retention has taken some partition's beginning:
    /// then a run counts from its first number behind that. Runs that no ledger knows are taken as
    /// running on: up to their greatest number nothing may be missing.
    pub(crate) fn by_run(&self, cut: bool, endings: &Endings) -> Vec<RunReport> {
        self.runs.iter().map(|(run, known)| known.report(*run, cut, endings.get(run))).collect()
    }
}

impl Run {
    fn report(&self, run: u64, cut: bool, ending: Option<&Option<u64>>) -> RunReport {
        let first = if cut { self.whole_from } else { Some(0) };
        let published = ending.copied().flatten().and_then(|published| published.checked_sub(1));
        let judged = first.zip(self.seen.max().max(published)).map(|(first, last)| first..=last);
        let mut report = RunReport {
            run,
            seen: self.seen.len(),
            judged: judged.clone(),
            lost: 0,
            unpublished: 0,
            holes: vec![],
            repeated: self.repeated,
        };
        let Some(judged) = judged else { return report };
        let (mut next, mut missing) = (*judged.start(), 0u64);
        let seen = self.seen.iter().filter(|seen| *seen >= *judged.start());
        for seen in seen.chain([judged.end().saturating_add(1)]) {
            if seen > next {
                missing = missing.saturating_add(seen - next);
                if report.holes.len() < NAMED_HOLES {
                    report.holes.push(next..=seen - 1);
                }
            }
            next = seen.saturating_add(1);
        }
        match ending {
            Some(None) => report.unpublished = missing,
            _ => report.lost = missing,
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
            seqs.see(Seq { run: *run, n: *n }, true);
        }
        seqs
    }

    #[test]
    fn a_hole_is_lost_and_a_repetition_is_a_retry() {
        let seqs = seen(&[(1, 0), (1, 3), (1, 2), (1, 2)]);
        let report = seqs.report(&Endings::from([(1, Some(4))]));
        assert_eq!(report, SeqReport { lost: 1, unpublished: 0, publish_retries: 1 });
        let [run] = &seqs.by_run(false, &Endings::new())[..] else { panic!("one run") };
        assert_eq!((run.lost, &run.holes[..], run.repeated), (1, &[1..=1][..], 1));
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

    #[test]
    fn what_retention_may_have_taken_is_not_lost() {
        let mut seqs = Seqs::default();
        for (n, whole) in [(3, false), (7, true), (6, true), (9, true)] {
            seqs.see(Seq { run: 1, n }, whole);
        }
        seqs.see(Seq { run: 2, n: 5 }, false);
        let runs = seqs.by_run(true, &Endings::new());
        assert_eq!((runs[0].judged.clone(), runs[0].lost), (Some(6..=9), 1));
        assert_eq!((runs[1].judged.clone(), runs[1].lost), (None, 0));
        assert_eq!(
            seqs.by_run(false, &Endings::new())[0].lost,
            10 - 4,
            "where nothing was cut, 0 is the first"
        );
    }

    #[test]
    fn a_ledger_tells_killed_runs_and_the_ends_of_others() {
        let seqs = seen(&[(1, 0), (1, 2), (2, 0), (3, 1)]);
        let runs = seqs.by_run(false, &Endings::from([(1, None), (2, Some(3)), (9, Some(1))]));
        let told: Vec<_> = runs.iter().map(|run| (run.run, run.lost, run.unpublished)).collect();
        assert_eq!(told, [(1, 0, 1), (2, 2, 0), (3, 1, 0)]);
        assert_eq!(runs[1].holes, [1..=2]);
    }

    #[test]
    fn what_follows_fills_holes_and_makes_none() {
        let mut seqs = seen(&[(1, 0), (1, 2)]);
        seqs.settle();
        for (run, n) in [(1, 1), (1, 9), (2, 4)] {
            seqs.fill(Seq { run, n });
        }
        let runs = seqs.by_run(false, &Endings::new());
        assert_eq!((runs.len(), runs[0].lost, runs[0].seen), (1, 0, 3));
    }
}
