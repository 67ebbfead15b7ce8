//! Which batches an idempotent producer has already appended to a partition.
//!
//! A producer numbers its batches' records from 0 for each partition. A batch that comes again,
//! because the answer to the first was lost, gets the first one's offset; one that comes too early
//! or too late is refused, because something before it was lost or it was overtaken.
//!
//! The state is a function of the log's batches, and is rebuilt from their headers at start. Kafka
//! keeps it the same way, and as there, a producer of which nothing is known may begin with any
//! number: its batches may have been deleted by retention.

use std::collections::{HashMap, VecDeque};

use crate::batch::Header;

/// Batches that a producer may have in flight, and that are so remembered: Kafka's number.
const BATCHES: usize = 5;
/// Producers remembered for one partition; of more, the one is forgotten whose last batch lies
/// furthest back.
const MOST: usize = 500;

/// A batch of a producer, as it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kept {
    first: i32,
    last: i32,
    pub(crate) base_offset: i64,
    /// The broker's timestamp, or −1 where the producer's stayed.
    pub(crate) append_time: i64,
}

/// Why a batch is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SequenceError {
    /// Something before it is missing, or it is an old one.
    #[error("producer {producer}: sequence {expected} is the next, not {got}")]
    OutOfOrder { producer: i64, expected: i32, got: i32 },
    /// The producer has begun anew since.
    #[error("producer {producer}: epoch {got} is over, epoch {current} has begun")]
    StaleEpoch { producer: i64, current: i16, got: i16 },
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    /// The newest, oldest first; at least one.
    batches: VecDeque<Kept>,
}

/// All producers of one partition.
#[derive(Debug, Default)]
pub(crate) struct Producers(HashMap<i64, Producer>);

/// The sequence `by` records after `first`: after `i32::MAX` comes 0.
fn after(first: i32, by: i32) -> i32 {
    let sum = i64::from(first) + i64::from(by);
    let wrapped = sum % (i64::from(i32::MAX) + 1);
    i32::try_from(wrapped).unwrap_or(0)
}

impl Producers {
    /// Whether a batch may be appended: `Some` is the same batch as it was appended before.
    pub(crate) fn check(&self, header: &Header) -> Result<Option<Kept>, SequenceError> {
        let (id, epoch, first) = (header.producer_id, header.producer_epoch, header.base_sequence);
        let Some(producer) = self.0.get(&id).filter(|_| id >= 0) else {
            return Ok(None);
        };
        if epoch < producer.epoch {
            let current = producer.epoch;
            return Err(SequenceError::StaleEpoch { producer: id, current, got: epoch });
        }
        if epoch > producer.epoch {
            // A new epoch counts from 0 again.
            return match first {
                0 => Ok(None),
                got => Err(SequenceError::OutOfOrder { producer: id, expected: 0, got }),
            };
        }
        let last = after(first, header.last_offset_delta);
        let same = |kept: &&Kept| (kept.first, kept.last) == (first, last);
        if let Some(kept) = producer.batches.iter().find(same) {
            return Ok(Some(*kept));
        }
        let expected = producer.batches.back().map_or(0, |newest| after(newest.last, 1));
        if first == expected {
            Ok(None)
        } else {
            Err(SequenceError::OutOfOrder { producer: id, expected, got: first })
        }
    }

    /// Remembers a batch that is in the log: `header` has its offset there.
    pub(crate) fn note(&mut self, header: &Header, append_time: i64) {
        let (id, epoch, first) = (header.producer_id, header.producer_epoch, header.base_sequence);
        if id < 0 {
            return;
        }
        let producer = self
            .0
            .entry(id)
            .or_insert_with(|| Producer { epoch, batches: VecDeque::with_capacity(BATCHES) });
        if producer.epoch != epoch {
            producer.epoch = epoch;
            producer.batches.clear();
        }
        if producer.batches.len() == BATCHES {
            producer.batches.pop_front();
        }
        let last = after(first, header.last_offset_delta);
        let base_offset = header.base_offset;
        producer.batches.push_back(Kept { first, last, base_offset, append_time });
        if self.0.len() > MOST {
            let newest = |producer: &Producer| producer.batches.back().map(|kept| kept.base_offset);
            let oldest = self.0.iter().min_by_key(|(_, producer)| newest(producer));
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.0.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(id: i64, epoch: i16, first: i32, count: i32, offset: i64) -> Header {
        Header {
            base_offset: offset,
            size: 100,
            leader_epoch: 0,
            magic: 2,
            crc: 0,
            attributes: 0,
            last_offset_delta: count - 1,
            base_timestamp: 0,
            max_timestamp: 0,
            producer_id: id,
            producer_epoch: epoch,
            base_sequence: first,
            count,
        }
    }

    #[test]
    fn a_batch_that_comes_again_has_its_old_offset_and_any_other_must_be_the_next() {
        let mut producers = Producers::default();
        for n in 0..8 {
            producers.note(&header(7, 1, n * 2, 2, i64::from(n) * 10), -1);
        }
        let out_of_order = |got| Err(SequenceError::OutOfOrder { producer: 7, expected: 16, got });
        let stale = Err(SequenceError::StaleEpoch { producer: 7, current: 1, got: 0 });
        for (what, header, expected) in [
            ("the next", header(7, 1, 16, 1, 0), Ok(None)),
            ("the newest again", header(7, 1, 14, 2, 0), Ok(Some(70))),
            ("the fifth newest again", header(7, 1, 6, 2, 0), Ok(Some(30))),
            ("the sixth newest again", header(7, 1, 4, 2, 0), out_of_order(4)),
            ("part of an old one", header(7, 1, 14, 1, 0), out_of_order(14)),
            ("one is missing", header(7, 1, 17, 1, 0), out_of_order(17)),
            ("an epoch that is over", header(7, 0, 16, 1, 0), stale),
            ("a new epoch from its beginning", header(7, 2, 0, 1, 0), Ok(None)),
            (
                "a new epoch in its middle",
                header(7, 2, 16, 1, 0),
                Err(SequenceError::OutOfOrder { producer: 7, expected: 0, got: 16 }),
            ),
            ("a producer of which nothing is known", header(8, 0, 99, 1, 0), Ok(None)),
            ("a producer that is not idempotent", header(-1, -1, -1, 1, 0), Ok(None)),
        ] {
            let checked = producers.check(&header).map(|kept| kept.map(|kept| kept.base_offset));
            assert_eq!(checked, expected, "{what}");
        }
    }

    #[test]
    fn sequences_begin_at_0_again_after_the_largest() {
        let mut producers = Producers::default();
        producers.note(&header(1, 0, i32::MAX - 1, 1, 0), -1);
        // MAX, 0, 1
        let over = header(1, 0, i32::MAX, 3, 1);
        assert_eq!(producers.check(&over), Ok(None));
        producers.note(&over, -1);
        assert_eq!(producers.check(&over).unwrap().unwrap().base_offset, 1);
        assert_eq!(producers.check(&header(1, 0, 2, 1, 0)), Ok(None));
        assert!(producers.check(&header(1, 0, 0, 1, 0)).is_err());
    }

    #[test]
    fn only_so_many_are_remembered_and_those_that_wrote_last() {
        let mut producers = Producers::default();
        for id in 0..2 * MOST as i64 {
            producers.note(&header(id, 0, 0, 1, id), -1);
            assert!(producers.0.len() <= MOST);
        }
        assert!((MOST as i64..2 * MOST as i64).all(|id| producers.0.contains_key(&id)));
    }
}
