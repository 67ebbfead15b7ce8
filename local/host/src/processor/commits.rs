//! Which offsets are to be kept, and when: the broker gathers them for all partitions of a core and
//! writes them together.

use std::time::Instant;

use super::Timing;

/// What is to be kept of one input partition, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionCommit {
    /// Index of the input partition.
    pub partition: usize,
    /// For each output the offset behind the last batch that is done; `None` where it is not known.
    pub outputs: Vec<Option<i64>>,
}

/// Offsets on their way from "written" to "kept", for all partitions of a transform.
#[derive(Clone, Debug)]
pub struct Commits {
    timing: Timing,
    partitions: Vec<Partition>,
    due: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Partition {
    done: Vec<Option<i64>>,
    kept: Vec<Option<i64>>,
    pending: bool,
}

impl Commits {
    /// Nothing is kept of so many partitions and outputs.
    pub fn new(timing: Timing, partitions: usize, outputs: usize) -> Self {
        let nothing =
            || Partition { done: vec![None; outputs], kept: vec![None; outputs], pending: false };
        let partitions = std::iter::repeat_with(nothing).take(partitions).collect();
        Self { timing, partitions, due: None }
    }

    /// What was found kept of a partition. Replaces what was known.
    pub fn found(&mut self, found: &PartitionCommit) {
        if let Some(partition) = self.partitions.get_mut(found.partition) {
            partition.done.clone_from(&found.outputs);
            partition.kept.clone_from(&found.outputs);
            partition.pending = false;
        }
    }

    /// All before `next` is on an output topic: to be kept at the next interval.
    pub fn request(&mut self, partition: usize, output: usize, next: i64, now: Instant) {
        let Some(of) = self.partitions.get_mut(partition) else { return };
        let Some(done) = of.done.get_mut(output) else { return };
        // An output that is ahead of the others has nothing to keep yet.
        if done.is_none_or(|done| next > done) {
            *done = Some(next);
            of.pending = true;
            self.due.get_or_insert(now + self.timing.commit_interval);
        }
    }

    /// The input goes on at `to`: all outputs are done before that. Those that are further stay where they are, unless
    /// the log was cut and all go back. An output of which nothing is known counts as the one that is least far.
    pub fn skipped(&mut self, partition: usize, to: i64, now: Instant) {
        let Some(of) = self.partitions.get_mut(partition) else { return };
        let forward = of.done.iter().min().is_some_and(|least| Some(to) > *least);
        for done in &mut of.done {
            *done = if forward { Some(to).max(*done) } else { Some(to) };
        }
        of.pending = true;
        self.due.get_or_insert(now + self.timing.commit_interval);
    }

    /// When the next write is due; `None` where there is nothing to write.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// What to write now: of the partitions for which something was requested, all outputs.
    /// To be answered with [`Commits::kept`] or [`Commits::failed`].
    pub fn take(&mut self) -> Vec<PartitionCommit> {
        self.due = None;
        let pending = self.partitions.iter_mut().enumerate().filter(|(_, of)| of.pending);
        pending
            .map(|(partition, of)| {
                of.pending = false;
                PartitionCommit { partition, outputs: of.done.clone() }
            })
            .collect()
    }

    /// As [`Commits::take`], of all partitions for which more is done than kept: for a last write.
    pub fn take_all(&mut self) -> Vec<PartitionCommit> {
        for of in &mut self.partitions {
            of.pending = of.done != of.kept;
        }
        self.take()
    }

    /// These were written.
    pub fn kept(&mut self, written: &[PartitionCommit]) {
        for commit in written {
            if let Some(of) = self.partitions.get_mut(commit.partition) {
                of.kept.clone_from(&commit.outputs);
            }
        }
    }

    /// These could not be written. Nothing is lost: a crash repeats more.
    pub fn failed(&mut self, unwritten: &[PartitionCommit], now: Instant) {
        if !self.timing.repeat_failed_commits || unwritten.is_empty() {
            return;
        }
        for commit in unwritten {
            if let Some(of) = self.partitions.get_mut(commit.partition) {
                of.pending = true;
            }
        }
        self.due.get_or_insert(now + self.timing.commit_interval);
    }

    /// How many partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// What is done of a partition, kept or not.
    pub fn done(&self, partition: usize) -> &[Option<i64>] {
        self.partitions.get(partition).map_or(&[], |of| &of.done)
    }

    /// What is kept of a partition: where it would begin again after a crash.
    pub fn of(&self, partition: usize) -> &[Option<i64>] {
        self.partitions.get(partition).map_or(&[], |of| &of.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn commit(partition: usize, outputs: &[Option<i64>]) -> PartitionCommit {
        PartitionCommit { partition, outputs: outputs.to_vec() }
    }

    #[test]
    fn what_is_done_is_kept_once_an_interval_for_all_partitions_together() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut commits = Commits::new(Timing::broker(), 3, 2);
        commits.found(&commit(1, &[Some(5), Some(6)]));
        assert_eq!((commits.due(), commits.take()), (None, vec![]));
        commits.request(1, 0, 8, start);
        commits.request(0, 1, 3, start + second);
        commits.request(1, 0, 9, start + second);
        assert_eq!(commits.due(), Some(start + 3 * second));
        let taken = commits.take();
        assert_eq!(taken, [commit(0, &[None, Some(3)]), commit(1, &[Some(9), Some(6)])]);
        assert_eq!(commits.of(1), [Some(5), Some(6)]);
        commits.kept(&taken);
        assert_eq!(commits.of(1), [Some(9), Some(6)]);
        // Nothing new, nothing to keep; nor where an output is ahead of the batch.
        commits.request(1, 0, 9, start + 9 * second);
        commits.request(1, 1, 4, start + 9 * second);
        assert_eq!((commits.due(), commits.take()), (None, vec![]));
        // Only where the input itself has gone does an offset go back.
        commits.skipped(1, 2, start);
        assert_eq!(commits.take(), [commit(1, &[Some(2), Some(2)])]);
    }

    #[test]
    fn where_retention_took_what_was_next_an_output_that_is_ahead_is_kept_as_it_is() {
        let now = Instant::now();
        for (kept, to, expected) in [
            ([Some(5), Some(100)], 50, [50, 100]),
            ([Some(5), Some(100)], 200, [200, 200]),
            ([Some(5), Some(100)], 3, [3, 3]),
            ([None, Some(100)], 50, [50, 100]),
            ([None, None], 0, [0, 0]),
        ] {
            let mut commits = Commits::new(Timing::broker(), 1, 2);
            commits.found(&commit(0, &kept));
            commits.skipped(0, to, now);
            assert_eq!(commits.take(), [commit(0, &expected.map(Some))], "{kept:?}, then {to}");
        }
    }

    #[test]
    fn a_failed_write_is_repeated_by_nobody_in_the_broker_and_at_the_next_interval_under_prompt() {
        for (timing, repeats) in [(Timing::broker(), false), (Timing::prompt(), true)] {
            let now = Instant::now();
            let mut commits = Commits::new(timing, 1, 1);
            commits.request(0, 0, 4, now);
            let taken = commits.take();
            commits.failed(&taken, now);
            assert_eq!(commits.due(), repeats.then_some(now + timing.commit_interval));
            assert_eq!(commits.take() == taken, repeats);
            // The last write before an end keeps it in any case, and so does the next batch.
            assert_eq!(commits.take_all(), taken);
            commits.request(0, 0, 5, now);
            assert_eq!(commits.take(), [commit(0, &[Some(5)])]);
        }
    }

    #[test]
    fn what_is_done_while_a_write_is_on_its_way_is_kept_by_the_next() {
        let now = Instant::now();
        let mut commits = Commits::new(Timing::prompt(), 1, 1);
        commits.request(0, 0, 4, now);
        let first = commits.take();
        commits.request(0, 0, 7, now);
        commits.kept(&first);
        assert_eq!(commits.of(0), [Some(4)]);
        assert_eq!(commits.take(), [commit(0, &[Some(7)])]);
    }
}
