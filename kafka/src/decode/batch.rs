//! Batch headers: where a batch ends, whether it is whole, what its records have in common.

use bytes::{Buf, Bytes};

use super::compression::{self, Codec};
use super::{DecodeError, Records, Salvaged};

/// Bytes before a batch's length counts: base offset and the length itself.
const PREFIX: usize = 12;
const MAGIC_AT: usize = 16;
/// The checksum covers everything from here on.
const CHECKED_FROM: usize = 21;
const HEADER: usize = 61;

const CODEC: i16 = 0b111;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// The batches in the bytes of a fetch, in order.
///
/// A batch that is cut at the end of the bytes is no error: brokers cut answers at the size asked for.
/// After an error there is nothing more, for where the next batch begins is not known.
#[derive(Debug, Clone)]
pub struct Batches {
    rest: Bytes,
}

impl Batches {
    /// The batches in `bytes`.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        Self { rest: bytes }
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = Batch::split_from(&mut self.rest).transpose()?;
        if batch.is_err() {
            self.rest.clear();
        }
        Some(batch)
    }
}

/// One batch, whole and with the right checksum; its records are still packed.
#[derive(Debug, Clone)]
pub struct Batch {
    base_offset: i64,
    next_offset: i64,
    leader_epoch: i32,
    attributes: i16,
    first_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    count: usize,
    packed: Bytes,
}

impl Batch {
    /// Takes the first batch off `rest`; `None` when there is no whole one.
    fn split_from(rest: &mut Bytes) -> Result<Option<Self>, DecodeError> {
        if rest.len() <= MAGIC_AT {
            return Ok(None);
        }
        let mut header = &rest[..];
        let base_offset = header.get_i64();
        let malformed = |what| DecodeError::Malformed { base_offset, what };
        let length = usize::try_from(header.get_i32()).map_err(|_| malformed("negative length"))?;
        let leader_epoch = header.get_i32();
        let magic = rest[MAGIC_AT];
        if magic != 2 {
            return Err(DecodeError::Format { base_offset, magic });
        }
        let end = PREFIX.checked_add(length).ok_or_else(|| malformed("too long"))?;
        if end < HEADER {
            return Err(malformed("shorter than its header"));
        }
        if rest.len() < end {
            return Ok(None);
        }
        let packed = rest.split_to(end);
        let mut header = &packed[MAGIC_AT + 1..];
        let stated = header.get_u32();
        let found = crc32c::crc32c(&packed[CHECKED_FROM..]);
        if found != stated {
            return Err(DecodeError::Checksum { base_offset, stated, found });
        }
        let attributes = header.get_i16();
        let last_offset_delta = header.get_i32();
        let first_timestamp = header.get_i64();
        let max_timestamp = header.get_i64();
        let producer_id = header.get_i64();
        let producer_epoch = header.get_i16();
        let base_sequence = header.get_i32();
        let count = usize::try_from(header.get_i32()).map_err(|_| malformed("negative count"))?;
        if base_offset < 0 || last_offset_delta < 0 {
            return Err(malformed("negative offset"));
        }
        let next_offset = base_offset
            .checked_add(i64::from(last_offset_delta) + 1)
            .ok_or_else(|| malformed("offset too large"))?;
        Ok(Some(Self {
            base_offset,
            next_offset,
            leader_epoch,
            attributes,
            first_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            count,
            packed: packed.slice(HEADER..),
        }))
    }

    /// The offset of its first record (before compaction).
    #[must_use]
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// One after the offset of its last record (before compaction).
    #[must_use]
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// The epoch of the partition's leader that took it.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Compression (bits 0 to 2), timestamp type (3), transactional (4), control (5).
    #[must_use]
    pub fn attributes(&self) -> i16 {
        self.attributes
    }

    /// The time from which its records' times are counted: ms since the epoch.
    #[must_use]
    pub fn first_timestamp(&self) -> i64 {
        self.first_timestamp
    }

    /// The largest time of its records; with `LogAppendTime` every record's.
    #[must_use]
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }

    /// Of an idempotent producer, else −1.
    #[must_use]
    pub fn producer_epoch(&self) -> i16 {
        self.producer_epoch
    }

    /// Of an idempotent producer, else −1.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        self.base_sequence
    }

    /// How many records it holds: after compaction fewer than it has offsets.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// The producer, which only transactions need.
    #[must_use]
    pub fn producer_id(&self) -> i64 {
        self.producer_id
    }

    /// Whether it belongs to a transaction.
    #[must_use]
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether its records are the broker's own (transaction markers), not anyone's data.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether it ends a transaction by throwing it away.
    ///
    /// # Errors
    ///
    /// When the marker does not decode.
    pub fn is_abort_marker(&self) -> Result<bool, DecodeError> {
        if !self.is_control() {
            return Ok(false);
        }
        // A marker's key is its version and its type, 0 for abort and 1 for commit.
        let marker = self.records()?.next().transpose()?;
        Ok(marker.and_then(|marker| marker.key).is_some_and(|key| key.get(2..4) == Some(&[0, 0])))
    }

    /// Its records as the protocol frames them, decompressed to 128 MiB at most. Nothing of them is checked.
    ///
    /// # Errors
    ///
    /// When it does not decompress.
    pub fn unpack(&self) -> Result<Bytes, DecodeError> {
        let codec = Codec::of(self.attributes & CODEC);
        codec
            .and_then(|codec| compression::unpack(codec, &self.packed))
            .map_err(|reason| DecodeError::Compression { base_offset: self.base_offset, reason })
    }

    /// Unpacks its records.
    ///
    /// # Errors
    ///
    /// When it does not unpack.
    pub fn records(&self) -> Result<Records, DecodeError> {
        let unpacked = self.unpack()?;
        let appended = self.attributes & LOG_APPEND_TIME != 0;
        Ok(Records::new(
            unpacked,
            self.count,
            self.base_offset,
            self.first_timestamp,
            appended.then_some(self.max_timestamp),
        ))
    }

    /// What can be had of its records, where [`Batch::records`] gives up on one of them.
    ///
    /// # Errors
    ///
    /// When it does not unpack.
    pub fn salvage(&self) -> Result<Vec<Salvaged>, DecodeError> {
        Ok(self.records()?.salvage(self.next_offset))
    }
}
