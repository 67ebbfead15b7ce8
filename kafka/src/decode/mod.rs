//! Record batches (format v2) to records, sharing the answer's memory.
//!
//! ```text
//!  Bytes of a fetch ─▶ Batches ─▶ Batch (checksum checked) ─▶ Records (unpacked) ─▶ Record
//! ```
//!
//! kafka-protocol has a decoder too, but keeps headers in a map: it loses repeated keys and fails on
//! keys that are not UTF-8. Nothing in here panics or reserves memory by what a length field claims.
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

mod batch;
mod compression;
mod record;

pub use batch::{Batch, Batches};
pub use record::{Header, Record, Records, Salvaged};

/// Why bytes are not record batches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// A message set of Kafka before 0.11 (June 2017).
    #[error(
        "the batch at offset {base_offset} has format {magic}; only format 2 (Kafka 0.11 and newer) can be read"
    )]
    Format {
        /// The batch's first offset.
        base_offset: i64,
        /// Its magic byte.
        magic: u8,
    },
    /// The batch's bytes are not those that were written.
    #[error(
        "the batch at offset {base_offset} is damaged: its checksum is {found:#010x}, not {stated:#010x}"
    )]
    Checksum {
        /// The batch's first offset.
        base_offset: i64,
        /// What the batch says.
        stated: u32,
        /// What its bytes give.
        found: u32,
    },
    /// The batch does not unpack.
    #[error("the batch at offset {base_offset} does not unpack: {reason}")]
    Compression {
        /// The batch's first offset.
        base_offset: i64,
        /// What the codec said.
        reason: String,
    },
    /// A length or number does not fit.
    #[error("the batch at offset {base_offset} is malformed: {what}")]
    Malformed {
        /// The batch's first offset.
        base_offset: i64,
        /// What did not fit.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests;
