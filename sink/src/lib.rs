//! The sink: the transform's output topics into TimescaleDB, effectively once.
//!
//! ```text
//!            ┌──────────────── pump, one a partition ────────────────┐
//!  topics ─▶ fetch ─▶ records ─▶ decode ─▶ rows ─▶ writer ─▶ one transaction:
//!                                                              ticks │ ohlcv │ dead_letters │ gaps
//!                                                              + sink_offsets, compare-and-set
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | [`Settings`]: what a user can set |
//! | `sink` | [`run`]: which partitions there are, a pump for each |
//! | `pump` | one partition: the next batch is fetched while this one is written |
//! | `fetch`, `record` | reading a partition; what is read |
//! | `decode` | records to rows, or to dead letters |
//! | `ticks`, `candles`, `dead_letters`, `gaps` | one table each: its row and its SQL |
//! | `writer` | one batch, one transaction |
//! | [`offsets`] | where each partition stands; the fence against a second writer |
//! | [`schema`] | migrations and counts |
//! | `database`, `outage` | connections; waiting for what is away |
//! | [`error`] | [`SinkError`], and what each SQLSTATE asks for |
//! | `micros` | a moment as PostgreSQL stores it |
//! | [`row`] | rows cell by cell, for who compares tables and topics |
//! | `stats` | counters and the line in the log |
//!
//! **Must never** write rows and their offset in different transactions. Because they are in one,
//! *records on a topic = rows + duplicates + refused* holds whenever the sink is not behind.

mod candles;
mod database;
mod dead_letters;
mod decode;
pub mod error;
mod fetch;
mod gaps;
mod micros;
pub mod offsets;
mod outage;
mod pump;
mod record;
pub mod row;
pub mod schema;
pub mod settings;
mod sink;
mod stats;
mod ticks;
mod writer;

pub use error::SinkError;
pub use offsets::{Counts, TopicTotal, cluster_key, totals};
pub use schema::{RowCounts, count_rows, migrate};
pub use settings::Settings;
pub use sink::run;
pub use stats::Summary;

#[cfg(test)]
mod tests;
