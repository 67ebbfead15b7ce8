//! Batches of an input partition, as the guest is to see them.

use bytes::Bytes;
use tickpanda_host::{Batch, BatchHeader, HostError};

use crate::batch::{HEADER, Header, Malformed};
use crate::records;
use crate::settings::MAX_BATCH;
use crate::storage::{Partition, ReadError};

/// Input that one partition may take before the next one's turn, in bytes; at least one batch.
const TURN: usize = 256 << 10;

/// Why the input could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum InputError {
    #[error("cannot read the input: {0}")]
    Read(#[from] ReadError),
    #[error("a damaged batch in the input: {0}")]
    Batch(#[from] Malformed),
    #[error(transparent)]
    Host(#[from] HostError),
}

/// Whole batches that were read together.
pub(super) struct Input {
    rest: Bytes,
}

impl Input {
    /// What a turn allows from `offset` on; nothing at the log's end.
    pub(super) fn read(partition: &Partition, offset: i64) -> Result<Self, ReadError> {
        let rest = match partition.find(offset)?.slice {
            Some(slice) => slice.read(TURN, true)?,
            None => Bytes::new(),
        };
        Ok(Self { rest })
    }

    /// The next batch, and the offset behind it.
    pub(super) fn next(&mut self) -> Result<Option<(Batch, i64)>, InputError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let header = Header::parse(&self.rest)?;
        let raw = self.rest.split_to(header.size.min(self.rest.len()));
        if !header.checksum_matches(&raw) {
            return Err(Malformed::Checksum.into());
        }
        let batch = Batch::new(guest_header(&header), plain(&header, &raw)?)?;
        Ok(Some((batch, header.next_offset())))
    }
}

/// The batch's records, without a copy where they are not compressed.
fn plain(header: &Header, raw: &Bytes) -> Result<Bytes, Malformed> {
    if header.codec() == 0 {
        return Ok(raw.slice(HEADER..));
    }
    Ok(Bytes::from(records::plain(header, raw, MAX_BATCH)?.into_owned()))
}

fn guest_header(header: &Header) -> BatchHeader {
    BatchHeader {
        base_offset: header.base_offset,
        record_count: header.count,
        partition_leader_epoch: header.leader_epoch,
        attributes: header.attributes,
        last_offset_delta: header.last_offset_delta,
        base_timestamp: header.base_timestamp,
        max_timestamp: header.max_timestamp,
        producer_id: header.producer_id,
        producer_epoch: header.producer_epoch,
        base_sequence: header.base_sequence,
    }
}
