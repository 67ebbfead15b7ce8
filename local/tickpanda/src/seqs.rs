//! Which `seq` numbers of which source run are on the raw topic, for demo and audit.
//!
//! A missing number is a lost frame, a repeated one a publish that was retried. A run that was
//! killed may have drawn numbers that it never published; those are told apart where its ledger is
//! at hand, because no promise was made about a frame that was never acknowledged. A source publishes a
//! partition's frames in the order of their numbers. So what a killed run drew and never published lies
//! above the last number that it has on that partition; a hole below the smallest of those is lost.
//!
//! Where retention has taken the topic's beginning, a run's numbers count from the first one behind
//! the time from which on every partition is whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use roaring::RoaringTreemap;
use tickpanda_model::header::Seq;

/// So many runs are told apart.
const RUNS: usize = 10_000;

/// A partition: its topic by its place among those read, and its number.
pub(crate) type Lane = (u8, i32);

/// One bit per frame: a million frames of a run take 125 kB, a billion 125 MB. Besides 16 bytes for each
/// partition that a run wrote to; the runs beyond [`RUNS`] are only counted.
#[derive(Default)]
pub(crate) struct Seqs {
    runs: BTreeMap<u64, Run>,
    /// Partitions with numbers of any run.
    lanes: BTreeSet<Lane>,
    /// Records of runs beyond [`RUNS`].
    beyond: u64,
}

#[derive(Default)]
struct Run {
    seen: RoaringTreemap,
    repeated: u64,
    /// The last number on each partition.
    last: BTreeMap<Lane, u64>,
    /// From here on all of its frames should be there.
    whole_from: Option<u64>,
    /// One after the greatest number that counts, where that is settled.
    upto: Option<u64>,
}

/// How a source run ended, from its ledger: `Some(published)` where it ended by itself, `None` where it
/// was killed or still runs.
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
    /// Judged numbers that are not there and should be.
    pub(crate) lost: u64,
    /// Those of a run that was killed, or still runs, which it may have drawn and not published.
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
    pub(crate) fn see(&mut self, seq: Seq, lane: Lane, whole: bool) {
        self.lanes.insert(lane);
        if self.runs.len() >= RUNS && !self.runs.contains_key(&seq.run) {
            self.beyond += 1;
            return;
        }
        let run = self.runs.entry(seq.run).or_default();
        if !run.seen.insert(seq.n) {
            run.repeated += 1;
        }
        let last = run.last.entry(lane).or_default();
        *last = seq.n.max(*last);
        if whole {
            run.whole_from = Some(run.whole_from.map_or(seq.n, |from| from.min(seq.n)));
        }
    }

    /// Retention has taken more: what was whole until now need not be.
    pub(crate) fn lose(&mut self) {
        self.runs.values_mut().for_each(|run| run.whole_from = None);
    }

    /// Records of runs that are not told apart, because there are too many.
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
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

    /// What the topic says of each run, by their numbers. `cut` where retention has taken some partition's
    /// beginning: then a run counts from its first number behind that. Runs that no ledger knows are
    /// taken as running on: up to their greatest number nothing may be missing. Runs that only a ledger
    /// knows are wholly missing, unless retention may have taken them.
    pub(crate) fn by_run(&self, cut: bool, endings: &Endings) -> Vec<RunReport> {
        let nothing = Run::default();
        let wholly_missing = endings.iter().filter(|(run, published)| {
            published.is_some_and(|n| n > 0) && !self.runs.contains_key(run) && self.beyond == 0
        });
        let missing = wholly_missing.map(|(run, _)| (run, &nothing));
        let mut runs: Vec<_> = self.runs.iter().chain(missing).collect();
        runs.sort_unstable_by_key(|(run, _)| **run);
        let report = |(run, known): (&u64, &Run)| {
            let floor = self.lanes.iter().map(|lane| known.last.get(lane).copied().unwrap_or(0));
            known.report(*run, cut, endings.get(run), floor.min().unwrap_or(0))
        };
        runs.into_iter().map(report).collect()
    }
}

impl Run {
    /// Below `floor` also a run that was killed had published everything.
    fn report(&self, run: u64, cut: bool, ending: Option<&Option<u64>>, floor: u64) -> RunReport {
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
        let lost_below = if ending == Some(&None) { floor } else { u64::MAX };
        let mut next = *judged.start();
        let seen = self.seen.iter().filter(|seen| *seen >= *judged.start());
        for seen in seen.chain([judged.end().saturating_add(1)]) {
            if seen > next {
                let lost = seen.min(lost_below).saturating_sub(next);
                report.lost = report.lost.saturating_add(lost);
                report.unpublished = report.unpublished.saturating_add(seen - next - lost);
                if report.holes.len() < NAMED_HOLES {
                    report.holes.push(next..=seen - 1);
                }
            }
            next = seen.saturating_add(1);
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
            seqs.see(Seq { run: *run, n: *n }, LANE, true);
        }
        seqs
    }

    const LANE: Lane = (0, 0);

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
            seqs.see(Seq { run: 1, n }, LANE, whole);
        }
        seqs.see(Seq { run: 2, n: 5 }, LANE, false);
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
        // Of run 9 nothing is there, and run 10 had published nothing.
        let endings =
            Endings::from([(1, None), (2, Some(3)), (9, Some(4)), (10, Some(0)), (11, None)]);
        let runs = seqs.by_run(false, &endings);
        let told: Vec<_> = runs.iter().map(|run| (run.run, run.lost, run.unpublished)).collect();
        assert_eq!(told, [(1, 1, 0), (2, 2, 0), (3, 1, 0), (9, 4, 0)]);
        assert_eq!((&runs[1].holes[..], &runs[3].holes[..]), (&[1..=2][..], &[0..=3][..]));
        let runs = seqs.by_run(true, &endings);
        assert_eq!((runs[3].judged.clone(), runs[3].lost), (None, 0), "retention may have had it");
    }

    #[test]
    fn of_a_killed_run_only_what_it_may_have_had_in_hand_is_excused() {
        let mut seqs = Seqs::default();
        // 2 is missing, and so are 5 and 8, which may have been on their way to partition 0.
        for (n, partition) in [(0, 0), (1, 1), (3, 1), (4, 0), (6, 1), (7, 1), (9, 1)] {
            seqs.see(Seq { run: 1, n }, (0, partition), true);
        }
        let told = |seqs: &Seqs, endings: &Endings| {
            let runs = seqs.by_run(false, endings);
            (runs[0].lost, runs[0].unpublished)
        };
        let killed = Endings::from([(1, None)]);
        assert_eq!(told(&seqs, &killed), (1, 2));
        assert_eq!(told(&seqs, &Endings::new()), (3, 0));
        // A partition that others write to: its first frame there may be any of them.
        seqs.see(Seq { run: 2, n: 0 }, (0, 2), true);
        assert_eq!(told(&seqs, &killed), (0, 3));
    }

    #[test]
    fn runs_beyond_the_limit_are_counted_and_no_others_are_taken_for_missing() {
        let mut seqs = Seqs::default();
        for run in 0..RUNS as u64 + 5 {
            seqs.see(Seq { run, n: 0 }, LANE, true);
        }
        let runs = seqs.by_run(false, &Endings::from([(RUNS as u64 + 1, Some(1))]));
        assert_eq!((runs.len(), seqs.beyond()), (RUNS, 5));
    }

    #[test]
    fn what_retention_takes_meanwhile_moves_what_is_judged() {
        let mut seqs = seen(&[(1, 3), (1, 9)]);
        seqs.lose();
        let judged = |seqs: &Seqs| seqs.by_run(true, &Endings::new())[0].judged.clone();
        assert_eq!(judged(&seqs), None);
        seqs.see(Seq { run: 1, n: 11 }, LANE, true);
        assert_eq!(judged(&seqs), Some(11..=11), "4 to 8 may be what was taken");
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
