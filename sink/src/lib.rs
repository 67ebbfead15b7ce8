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
//! | `sink` | [`run`]: every second what there is, whose it is, and a pump for each of ours |
//! | `view` | the topics and partitions that there are |
//! | `claims` | which of them are ours: N sinks share them through the database |
//! | `caught_up` | `--until-caught-up` |
//! | `pumps` | the running pumps |
//! | `pump` | one partition: the next batch is fetched while this one is written |
//! | `fetch`, `record` | reading a partition; what is read |
//! | `decode` | records to rows, or to dead letters |
//! | `copy` | COPY into `ticks`, and when to try it |
//! | `newest` | the newest tick of every pair, beside `ticks` |
//! | `ticks`, `candles`, `dead_letters`, `gaps` | one table each: its row and its SQL |
//! | `writer` | one batch, one transaction |
//! | [`offsets`] | where each partition stands; the fence against a second writer |
//! | [`schema`] | migrations and counts |
//! | `database_settings` | [`DatabaseSettings`], for all who use the tables |
//! | `database`, `outage` | connections; waiting for what is away |
//! | [`error`] | [`SinkError`], and what each SQLSTATE asks for |
//! | `micros` | a moment as PostgreSQL stores it |
//! | [`row`] | rows cell by cell, for who compares tables and topics |
//! | `stats` | counters, the line in the log, `/metrics` |
//! | `beside` | the tasks beside the pumps: HTTP and the cache |
//! | [`http`], `health` | `/live`, `/ready`, `/metrics` |
//! | [`latest`] | the latest tick of each pair in Redis |
//! | [`tls`] | TLS to the database |
//!
//! **Must never** write rows and their offset in different transactions. Because they are in one,
//! *records on a topic = rows + duplicates + refused* holds whenever the sink is not behind.

mod beside;
mod candles;
mod caught_up;
mod claims;
mod copy;
mod database;
mod database_settings;
mod dead_letters;
mod decode;
pub mod error;
mod fetch;
mod gaps;
mod health;
pub mod http;
pub mod latest;
mod micros;
mod newest;
pub mod offsets;
mod outage;
mod pump;
mod pumps;
mod record;
pub mod row;
pub mod schema;
pub mod settings;
mod sink;
mod stats;
mod ticks;
pub mod tls;
mod view;
mod writer;

pub use database_settings::DatabaseSettings;
pub use error::SinkError;
pub use offsets::{Counts, TopicTotal, cluster_key, totals};
pub use schema::{RowCounts, count_rows, migrate};
pub use settings::Settings;
pub use sink::run;
pub use stats::Summary;

#[cfg(test)]
mod tests;
