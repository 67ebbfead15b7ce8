//! The little that [rskafka](https://docs.rs/rskafka) lacks, on the codecs of
//! [kafka-protocol](https://docs.rs/kafka-protocol).
//!
//! ```text
//!                 ┌ topics.rs   create with settings, ids, settings
//!  encode.rs ─────┤ produce.rs  one batch
//!  Client ────────┼ offsets.rs  earliest, latest, committed     ── call ──▶ connection.rs ─▶ broker
//!  (client.rs)    └ read.rs     one fetch ─▶ decode/ ─▶ Record              (tls.rs, sasl.rs)
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`client`] | [`Client`]: brokers, pooled connections, metadata, retries |
//! | `connection` | one connection: TCP, TLS, versions, who we are, deadlines |
//! | [`security`] | [`Brokers`]: a cluster's addresses, TLS, name and password |
//! | [`settings`] | the same as all programs let a user set it, and what topics' names begin with |
//! | [`tls`] | whom to trust, our own certificate, what a failed handshake means |
//! | `sasl` | saying who we are |
//! | `api` | the requests this crate sends and the versions it speaks |
//! | [`topics`] | creating topics, cluster and topic ids, topic settings |
//! | [`offsets`] | where partitions begin and end, what groups have committed |
//! | [`produce`] | appending a batch of records |
//! | [`encode`] | records to a batch, in one buffer |
//! | [`read`] | reading records, including those that rskafka refuses |
//! | [`decode`] | record batches (format v2) to records, without copying |
//! | [`partitioner`] | Kafka's default partitioner |
//! | [`error`] | [`KafkaError`] |
//!
//! What rskafka cannot read and this can: null header values, repeated header keys, header keys that
//! are not UTF-8, control batches of transactions, `LogAppendTime`.
//!
//! **Must never** grow into a second client: what rskafka does well is rskafka's (ordinary fetching, and
//! producing where it is little). A password or key must never be in an error, a log line or a `Debug`.

mod api;
pub mod client;
mod connection;
pub mod decode;
pub mod encode;
pub mod error;
pub mod offsets;
pub mod partitioner;
pub mod produce;
pub mod read;
mod sasl;
pub mod security;
pub mod settings;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod topics;

pub use client::{Client, ClientConfig};
pub use decode::{Batch, Header, Record, Salvaged};
pub use encode::BatchEncoder;
pub use error::KafkaError;
pub use offsets::{At, Committed};
pub use partitioner::murmur2_partition;
pub use read::{Read, ReadBatches};
pub use security::{Brokers, Mechanism, Sasl, Security};
pub use topics::{Broker, ClusterInfo, Creation, TopicInfo, TopicSpec};
