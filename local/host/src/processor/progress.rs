//! How far one input partition is, output by output.
//!
//! Offsets here are the one after the last of a batch that is done with; the broker keeps that last
//! one itself, which says the same.

/// The offset behind the last batch whose records are all on the output topic, for each output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Progress(Vec<i64>);

impl Progress {
    /// After a start: from what was kept, and for an output of which nothing is kept, from `start`.
    pub(super) fn resume(kept: &[Option<i64>], start: i64) -> Self {
        Self(kept.iter().map(|kept| kept.unwrap_or(start)).collect())
    }

    /// Where to read: the output that is least far decides.
    pub(super) fn next(&self) -> i64 {
        self.0.iter().copied().min().unwrap_or(0)
    }

    /// Whether a batch that ends before `next` is still to be written to an output.
    pub(super) fn wants(&self, output: usize, next: i64) -> bool {
        self.0.get(output).is_some_and(|done| next > *done)
    }

    /// All before `next` is on the output topic.
    pub(super) fn written(&mut self, output: usize, next: i64) {
        if let Some(done) = self.0.get_mut(output) {
            *done = next.max(*done);
        }
    }

    /// Where the input no longer has `next`: it goes on at `to`. If that is further on, nothing before it can be
    /// had, and outputs that are beyond it stay there; if the log was cut, all outputs go back with it.
    pub(super) fn skip(&mut self, to: i64) {
        let forward = to > self.next();
        for done in &mut self.0 {
            *done = if forward { to.max(*done) } else { to };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_output_decides_where_to_read_and_the_others_wait_for_it() {
        let mut progress = Progress::resume(&[Some(30), Some(10), None], 20);
        assert_eq!(progress.next(), 10);
        // (end of the batch, which outputs get it)
        for (next, wants) in [
            (15, [false, true, false]),
            (20, [false, true, false]),
            (25, [false, true, true]),
            (30, [false, true, true]),
            (31, [true, true, true]),
        ] {
            let gets = [0, 1, 2].map(|output| progress.wants(output, next));
            assert_eq!(gets, wants, "a batch that ends before {next}");
            for output in 0..3 {
                progress.written(output, next);
            }
            assert_eq!(progress.next(), next);
        }
    }

    #[test]
    fn where_retention_took_what_was_next_an_output_that_is_ahead_stays_ahead() {
        for (to, expected) in [(50, [50, 100]), (99, [99, 100]), (200, [200, 200]), (3, [3, 3])] {
            let mut progress = Progress::resume(&[Some(5), Some(100)], 0);
            progress.skip(to);
            assert_eq!(progress.0, expected, "the log goes on at {to}");
        }
    }

    #[test]
    fn a_batch_that_is_partly_new_is_written_whole() {
        let progress = Progress::resume(&[Some(7)], 0);
        assert!(progress.wants(0, 10), "offsets 5 to 9, of which 5 and 6 are kept");
    }
}
