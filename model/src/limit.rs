//! The one size that the transform, the raw topic and the source agree on.

/// Largest raw record in bytes: key, value and headers as the protocol frames them. Any such record
/// with up to 5,000 headers, after any others, fits into the 2 MiB that a broker gives a transform
/// by default, once as input and once as a dead letter (tests in `tests/tests/transform_memory.rs`).
///
/// It is also the raw topic's `max.message.bytes`. That limit is of a whole batch as sent, so an
/// uncompressed record within it is smaller by [`BATCH_HEADER`] and its own framing. Nothing limits
/// what comes out of a compressed batch.
pub const RAW_RECORD: usize = 512 * 1024;

/// What a batch has before its records, in bytes (Kafka's record batch, version 2).
pub const BATCH_HEADER: usize = 61;
