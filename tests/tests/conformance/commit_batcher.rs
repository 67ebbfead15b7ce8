//! `transform/tests/commit_batcher_test.cc`: which offsets are kept, and when. Which node keeps them is
//! no question where there is one.

use std::time::{Duration, Instant};

use tickpanda_host::processor::{Commits, PartitionCommit, Timing};

fn commit(partition: usize, next: i64) -> PartitionCommit {
    PartitionCommit { partition, outputs: vec![Some(next)] }
}

fn commits(partitions: usize) -> Commits {
    Commits::new(Timing::broker(), partitions, 1)
}

#[test]
fn offsets_are_gathered_and_kept_every_three_seconds() {
    let (mut it, mut now) = (commits(3), Instant::now());
    for (partition, next) in [(0, 2), (1, 3), (2, 1)] {
        it.request(partition, 0, next, now);
        now += Duration::from_millis(500);
    }
    assert_eq!(it.due(), Some(now + Duration::from_millis(1_500)), "after the first of them");
    let taken = it.take();
    assert_eq!(taken, [commit(0, 2), commit(1, 3), commit(2, 1)]);
    it.kept(&taken);
    it.request(1, 0, 10, now);
    assert_eq!(it.take(), [commit(1, 10)], "and then only what is new");
}

#[test]
fn a_stop_keeps_what_was_still_waiting() {
    let (mut it, now) = (commits(2), Instant::now());
    it.request(0, 0, 2, now);
    let taken = it.take();
    it.kept(&taken);
    it.request(0, 0, 3, now);
    assert_eq!(it.take_all(), [commit(0, 3)]);
}

#[test]
fn a_write_that_failed_is_not_repeated() {
    let (mut it, now) = (commits(2), Instant::now());
    it.request(0, 0, 2, now);
    let taken = it.take();
    it.failed(&taken, now);
    assert_eq!((it.due(), it.of(0)), (None, &[None][..]));
    it.request(1, 0, 1, now);
    assert_eq!(it.take(), [commit(1, 1)], "the next write does not bring it along");
}
