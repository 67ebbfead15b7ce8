//! Topics on disk.
//!
//! ```text
//! DATA_DIR/lock                              held by the OS for the one broker that runs here
//!          meta.json                         cluster id; topics with id, partitions, settings
//!          producer-ids                      the first producer id that nobody has been given
//!          topics/NAME/PARTITION/00000000000000000042.log    batches, one after another
//!                                 start      the first offset that DeleteRecords left
//!          deployed/NUMBER.json, UUID.wasm   transforms that a restart brings back (see crate::engine)
//!          transforms/UUID.json              how far a transform has come
//! ```
//!
//! A segment is nothing but batches as they came, so each batch's CRC32-C is the storage's
//! checksum too, and a fetch is a read of a byte range. An acknowledged batch has been handed to
//! the operating system with `write`: it survives `kill -9` of the broker. It need not survive
//! loss of power: files are synced when a segment is closed and on a clean shutdown, not for
//! every batch.

mod index;
mod log;
mod meta;
mod partition;
mod producer_ids;
mod producers;
mod scan;
mod segment;
mod store;
mod sync;

pub(crate) use log::{AppendError, millis};
pub(crate) use meta::{id_text, write_atomically};
pub(crate) use partition::{Found, Partition, ReadError, Signal};
pub(crate) use producers::SequenceError;
pub(crate) use store::{Store, Topic};
pub(crate) use sync::{Syncer, run as keep_house};
