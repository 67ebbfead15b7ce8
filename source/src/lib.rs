//! CryptoCompare to Kafka: every frame of the vendor's WebSocket, and candles by REST, verbatim on
//! one raw topic, with the key, headers, timestamp and partition that the rest relies on.
//!
//! ```text
//!  wss://…/v2 ──▶ stream ──┐            ┌─▶ publish 0 ──▶ cryptocompare-raw/0
//!               (classify) ├─▶  spool ──┤
//!  https://…  ──▶ history ─┘ (on disk)  └─▶ publish N ──▶ cryptocompare-raw/N
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`run`](mod@run) | a source from start to stop |
//! | [`cli`], [`settings`] | subcommands, flags, variables, and the vendor's rules as numbers |
//! | [`stream`] | the WebSocket: connecting, reading, reconnecting |
//! | [`classify`] | what a frame is and which key it gets (pure) |
//! | [`machine`] | the states of the producer (pure) |
//! | [`history`] | candles by REST: jobs, budgets, and the driver of their region |
//! | [`backfill`](mod@backfill) | the command that fetches candles of the past |
//! | [`rest`] | addresses, headers, and the reaction to each answer (pure) |
//! | [`pages`] | a history too large for one record, in pages (pure) |
//! | [`backoff`] | how long to wait (pure) |
//! | [`spool`] | the bounded queue on disk, a lane per partition |
//! | [`publish`] | from there to the broker, a publisher per lane |
//! | [`broker`] | finding brokers, topic and partitions |
//! | [`ledger`] | `runs.jsonl`: which runs ended with everything published |
//! | [`counters`], [`tally`] | what a run has done so far |
//! | [`machine`] | the producer as a state machine (pure) |
//! | [`control`] | operators' commands, each executed once and answered |
//! | [`ctl`] | sending one, and waiting for what becomes of it |
//! | [`topics`] | creating topics |
//! | [`http`], [`observe`] | `/live`, `/ready`, `/state`, `/metrics` |
//! | [`store`] | small files that are replaced as a whole |
//! | [`api_key`], [`clock`], [`error`] | the key that prints nowhere, the time, what stops a source |
//!
//! Three promises: a frame's bytes are never changed; no frame is dropped silently (what a full
//! spool loses is counted); the API key goes into one header and nowhere else.

pub mod allocation;
pub mod api_key;
pub mod backfill;
pub mod backoff;
pub mod broker;
pub mod classify;
pub mod cli;
pub mod clock;
pub mod control;
pub mod counters;
pub mod coverage;
pub mod ctl;
pub mod driver;
pub mod error;
pub mod gaps;
pub mod history;
pub mod http;
pub mod ledger;
pub mod machine;
pub mod observe;
pub mod pages;
pub mod publish;
pub mod rest;
pub mod routes;
pub mod run;
pub mod settings;
pub mod spool;
pub mod store;
pub mod stream;
pub mod sub;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod topics;
pub mod vendor;
pub mod watch;

pub use cli::{Cli, Command};
pub use counters::Summary;
pub use error::SourceError;
pub use run::backfill::{PastSettings, run_backfill};
pub use run::run;
pub use settings::{Args, Settings};
