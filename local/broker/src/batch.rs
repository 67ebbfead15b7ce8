//! The v2 record batch as bytes: its 61-byte header, what must hold before it is kept, and the
//! few fields that a broker may change.
//!
//! Batches come from producers ([`crate::wire`]) and from the transform engine
//! ([`crate::engine`]), and go to [`crate::storage`] as they are. Nothing here decodes a record
//! into a struct, and nothing may change a byte that the checksum covers, except the timestamp
//! of a topic with `LogAppendTime`, which writes a new checksum.
//!
//! ```text
//!  0 base_offset i64      16 magic i8            23 last_offset_delta i32   51 producer_epoch i16
//!  8 length i32           17 crc u32 (of 21..)   27 base_timestamp i64      53 base_sequence i32
//! 12 leader_epoch i32     21 attributes i16      35 max_timestamp i64       57 record_count i32
//!                                                43 producer_id i64         61 records
//! ```

use bytes::Buf;

use crate::records;

/// Bytes before the records.
pub(crate) const HEADER: usize = 61;
/// Bytes that `length` does not count: the base offset and the length itself.
pub(crate) const PREFIX: usize = 12;
/// Attribute bits 0–2: the codec.
const CODEC: i16 = 0b111;
/// Attribute bit 3: the timestamp is the broker's.
pub(crate) const LOG_APPEND_TIME: i16 = 0b1000;
const TRANSACTIONAL: i16 = 0b1_0000;
const CONTROL: i16 = 0b10_0000;

/// Why a batch is not kept. Each names the Kafka error that the producer is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// Fewer bytes than the header, or than the header says.
    #[error("the batch is cut short or longer than it says")]
    Size,
    /// Magic 0 or 1: the message formats before Kafka 0.11.
    #[error("message format v{0} is not supported, only v2")]
    Magic(i8),
    /// The CRC32-C does not match.
    #[error("the checksum does not match")]
    Checksum,
    /// The records do not fill the batch exactly, or do not count up from 0.
    #[error("the records do not match the batch's header")]
    Records,
    /// A codec that does not exist, or data that it can't read.
    #[error("the records can't be decompressed")]
    Codec,
    /// An id without an epoch or a sequence.
    #[error("an idempotent producer has an epoch and a sequence of at least 0")]
    Producer,
    /// Transactions are not served; taking such a batch would promise them.
    #[error("transactions are not supported")]
    Transaction,
    /// Control batches are a broker's.
    #[error("control batches are not for clients to write")]
    Control,
}

/// A batch's header, parsed. `size` is that of the whole batch in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) base_offset: i64,
    pub(crate) size: usize,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

impl Header {
    /// Reads the header at the start of `bytes`; checks nothing but that it is all there and
    /// that the size it gives is possible.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(mut b) = bytes.get(..HEADER) else {
            return Err(Malformed::Size);
        };
        let base_offset = b.get_i64();
        let length = b.get_i32();
        let leader_epoch = b.get_i32();
        let magic = b.get_i8();
        let crc = b.get_u32();
        let size = usize::try_from(length).map_err(|_| Malformed::Size)? + PREFIX;
        // The magic lies at the same place in all three formats; only v2's header is this long.
        if magic == 2 && size < HEADER {
            return Err(Malformed::Size);
        }
        Ok(Self {
            base_offset,
            size,
            leader_epoch,
            magic,
            crc,
            attributes: b.get_i16(),
            last_offset_delta: b.get_i32(),
            base_timestamp: b.get_i64(),
            max_timestamp: b.get_i64(),
            producer_id: b.get_i64(),
            producer_epoch: b.get_i16(),
            base_sequence: b.get_i32(),
            count: b.get_i32(),
        })
    }

    /// The offset after the batch's last record.
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Whether the batch continues a log whose next offset is `end`.
    pub(crate) fn follows(&self, end: i64) -> bool {
        self.base_offset == end && self.last_offset_delta >= 0
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; more is no codec.
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & CODEC
    }

    /// Whether every record has the batch's `max_timestamp`.
    pub(crate) fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// Whether the batch's checksum matches; `batch` is exactly the batch.
    pub(crate) fn checksum_matches(&self, batch: &[u8]) -> bool {
        crc32c::crc32c(&batch[21..]) == self.crc
    }
}

/// Checks a batch as a producer sent it: exactly one, of format v2, intact, its records as many
/// as it says and readable, so that what is kept can be read by everybody.
///
/// `limit` bounds what its records may be when decompressed, in bytes.
pub(crate) fn check(batch: &[u8], limit: usize) -> Result<Header, Malformed> {
    // Formats 0 and 1 have shorter headers: look at the magic before anything else.
    match batch.get(16).map(|&m| i8::from_be_bytes([m])) {
        None => return Err(Malformed::Size),
        Some(2) => {}
        Some(other) => return Err(Malformed::Magic(other)),
    }
    let header = Header::parse(batch)?;
    if header.size != batch.len() {
        return Err(Malformed::Size);
    }
    if !header.checksum_matches(batch) {
        return Err(Malformed::Checksum);
    }
    if header.attributes & CONTROL != 0 {
        return Err(Malformed::Control);
    }
    if header.attributes & TRANSACTIONAL != 0 {
        return Err(Malformed::Transaction);
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(Malformed::Producer);
    }
    if header.count < 1 || header.last_offset_delta != header.count - 1 {
        return Err(Malformed::Records);
    }
    let plain = records::plain(&header, batch, limit)?;
    records::walk(&plain, header.count)?;
    Ok(header)
}

/// Sets the fields that the leader decides: base offset and leader epoch. Both lie outside the
/// checksum.
pub(crate) fn place(batch: &mut [u8], base_offset: i64) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&0_i32.to_be_bytes());
}

/// Makes `now` (ms) the time of every record in the batch, and seals it anew.
pub(crate) fn set_append_time(batch: &mut [u8], attributes: i16, now: i64) {
    batch[21..23].copy_from_slice(&(attributes | LOG_APPEND_TIME).to_be_bytes());
    batch[35..43].copy_from_slice(&now.to_be_bytes());
    seal(batch);
}

/// Says by which codec the records are compressed, how long the batch is now, and seals it anew.
pub(crate) fn set_codec(batch: &mut [u8], codec: i16) -> std::io::Result<()> {
    let length = i32::try_from(batch.len() - PREFIX).map_err(std::io::Error::other)?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = i16::from_be_bytes([batch[21], batch[22]]) & !CODEC | codec;
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    seal(batch);
    Ok(())
}

fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}
