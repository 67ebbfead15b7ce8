//! Where in a segment an offset or a time is, roughly.
//!
//! Filled while batches are appended and rebuilt by a scan at start. It never outgrows
//! [`MOST`] entries however large the segment: then every second one goes and the stride doubles.

/// Entries of one segment's index at most.
const MOST: usize = 1024;
/// Bytes between entries to begin with.
const STRIDE: u64 = 32 << 10;

/// A batch that an index knows the place of.
#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: i64,
    position: u64,
    /// The newest timestamp of all batches before this one.
    max_timestamp_before: i64,
}

/// A sparse index of one segment.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Vec<Entry>,
    stride: u64,
    next: u64,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self { entries: Vec::new(), stride: STRIDE, next: 0 }
    }

    /// Notes a batch, perhaps. Batches come in order.
    pub(crate) fn note(&mut self, offset: i64, position: u64, max_timestamp_before: i64) {
        if position < self.next {
            return;
        }
        if self.entries.len() == MOST {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
        self.entries.push(Entry { offset, position, max_timestamp_before });
        self.next = position + self.stride;
    }

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn before_offset(&self, offset: i64) -> u64 {
        self.before(|entry| entry.offset <= offset)
    }

    /// A position at or before the first batch with a record at or after the time `at` (ms).
    pub(crate) fn before_time(&self, at: i64) -> u64 {
        self.before(|entry| entry.max_timestamp_before < at)
    }

    fn before(&self, goes_before: impl Fn(&Entry) -> bool) -> u64 {
        let after = self.entries.partition_point(goes_before);
        after.checked_sub(1).map_or(0, |i| self.entries[i].position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_small_and_never_points_past_what_is_sought() {
        let mut index = Index::new();
        let batches = 1_000_000_u64;
        for i in 0..batches {
            let n = i64::try_from(i).unwrap();
            index.note(n, i * 1000, n - 1);
        }
        assert!(index.entries.len() <= MOST);
        for i in (0..batches).step_by(7919) {
            let n = i64::try_from(i).unwrap();
            for position in [index.before_offset(n), index.before_time(n)] {
                assert!(position <= i * 1000);
                assert!(i * 1000 - position <= 2 * index.stride, "batch {i} at {position}");
            }
        }
    }
}
