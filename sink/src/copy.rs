//! Binary COPY into `ticks`, and when to try it.
//!
//! COPY costs the database a third of what an INSERT does, but can't skip a row that is there already;
//! `INSERT … SELECT FROM UNNEST … ON CONFLICT DO NOTHING` can. [`CopyPolicy`] decides which to try.

use sqlx::PgConnection;

use crate::newest::Newest;
use crate::record::Record;
use crate::ticks::TickRow;

/// A batch in the form that COPY sends: made while the batch before is written.
#[derive(Debug)]
pub(crate) struct CopyData {
    bytes: Vec<u8>,
    /// Which of the records are the newest of their pairs.
    newest: Vec<usize>,
}

impl CopyData {
    /// All records as rows, or `None` where one of them is none, or is too long for the format. Source:
    /// PostgreSQL, "COPY", "Binary Format".
    pub(crate) fn of(records: &[Record]) -> Option<Self> {
        let values: usize = records.iter().map(|record| record.bytes().len()).sum();
        // A row is shorter than the JSON that it was read from, but for the lengths of its fields.
        let mut bytes = Vec::with_capacity(64 + values);
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        bytes.extend_from_slice(&[0; 8]); // no flags, no header extension
        let mut newest = Newest::default();
        for (index, record) in records.iter().enumerate() {
            let row = TickRow::read(record).ok()?;
            row.append_to(&mut bytes)?;
            newest.see(index, &row);
        }
        bytes.extend_from_slice(&(-1i16).to_be_bytes());
        Some(CopyData { bytes, newest: newest.indices() })
    }

    /// The newest ticks among the records that it was made from, as [`crate::newest::of`] gives them.
    pub(crate) fn newest<'a>(&self, records: &'a [Record]) -> Vec<TickRow<'a>> {
        let records = self.newest.iter().filter_map(|index| records.get(*index));
        let mut rows: Vec<_> = records.filter_map(|record| TickRow::read(record).ok()).collect();
        rows.sort_unstable_by(|a, b| a.pair().cmp(&b.pair()));
        rows
    }
}

/// Writes a batch by binary COPY; fails as a whole (SQLSTATE 23505) when a row is there already.
pub(crate) async fn copy(conn: &mut PgConnection, batch: &CopyData) -> sqlx::Result<u64> {
    let mut copy = conn
        .copy_in_raw(
            "COPY ticks (time, symbol, price, volume, kind, market, base, quote, side, trade_id, \
             ccseq, id, received_at) FROM STDIN (FORMAT binary)",
        )
        .await?;
    let sent = copy.send(&batch.bytes[..]).await.map(|_| ());
    // Always finish: in sqlx 0.9.0, abort() or a drop after a refusal leaves the connection one
    // reply behind. Where sending failed, the connection is broken and the caller closes it.
    let finished = copy.finish().await;
    sent.and(finished)
}

/// Whether a batch is tried by COPY first.
///
/// Duplicates come in runs (a vendor replays on reconnect, a transform re-runs three seconds), so
/// after a conflict the next batches take the tolerant way at once: one, then two, … up to
/// [`CopyPolicy::MAX_PAUSE`] while the conflicts last. A COPY that passes forgets them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CopyPolicy {
    min_rows: usize,
    pause: u32,
    last_pause: u32,
}

impl CopyPolicy {
    /// At most this many batches in a row without trying COPY again.
    const MAX_PAUSE: u32 = 32;

    /// A policy that never copies fewer rows than `min_rows`: below that, COPY's extra round trips
    /// cost more than they save.
    pub(crate) fn new(min_rows: usize) -> Self {
        CopyPolicy { min_rows, pause: 0, last_pause: 0 }
    }

    /// From how many rows on the batch after the one that is being written may be tried, if at all.
    pub(crate) fn next_from(&self) -> Option<usize> {
        (self.pause <= 1).then_some(self.min_rows) // that one may be the last of the pause
    }

    /// Decides for a batch of so many rows. To be asked for every batch: it is what ends a pause.
    pub(crate) fn try_copy(&mut self, rows: usize) -> bool {
        if rows < self.min_rows {
            return false;
        }
        let copy = self.pause == 0;
        self.pause = self.pause.saturating_sub(1);
        copy
    }

    /// A COPY met a row that was there already.
    pub(crate) fn conflict(&mut self) {
        self.last_pause = (self.last_pause * 2).clamp(1, Self::MAX_PAUSE);
        self.pause = self.last_pause;
    }

    /// A COPY passed.
    pub(crate) fn passed(&mut self) {
        self.last_pause = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_conflicts_copy_pauses_longer_and_longer_but_is_tried_again() {
        let mut policy = CopyPolicy::new(10);
        assert!(!policy.try_copy(9), "small batches are never copied");
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert!(policy.try_copy(10));
            policy.conflict();
            let pause = (0..).take_while(|_| {
                !policy.clone().try_copy(10) && {
                    policy.try_copy(10);
                    true
                }
            });
            pauses.push(pause.count());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 32, 32]);
        assert!(policy.try_copy(10));
        policy.passed();
        assert!(policy.try_copy(10), "a success forgets the conflicts");
    }
}
