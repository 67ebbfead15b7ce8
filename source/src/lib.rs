//! CryptoCompare to Kafka: every frame of the vendor's WebSocket, and candles by REST, verbatim on
//! one raw topic, with the key, headers, timestamp and partition that the rest relies on.
//!
//! ```text
//!  wss://…/v2 ──▶ stream ──┐            ┌─▶ publish 0 ──▶ cryptocompare-raw/0
//!               (classify) ├─▶ outbox ──┤
//!  https://…  ──▶ history ─┘ (bounded)  └─▶ publish N ──▶ cryptocompare-raw/N
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`run`](mod@run) | a source from start to stop |
//! | [`cli`], [`settings`] | subcommands, flags, variables, and the vendor's rules as numbers |
//! | [`stream`] | the WebSocket: connecting, reading, reconnecting |
//! | [`session`] | what a control frame asks for (pure) |
//! | [`classify`] | what a frame is and which key it gets (pure) |
//! | [`history`] | fetching candles at the start |
//! | [`rest`] | addresses, headers, and the reaction to each answer (pure) |
//! | [`pages`] | a history too large for one record, in pages (pure) |
//! | [`backoff`] | how long to wait (pure) |
//! | [`outbox`] | the bounded queue, a lane per partition |
//! | [`batch`] | frames on their way, in two allocations |
//! | [`publish`] | a partition's publisher |
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
//! Three promises: a frame's bytes are never changed; no frame is dropped silently (the queue's
//! bound holds the socket back instead); the API key goes into one header and nowhere else.

pub mod api_key;
pub mod backoff;
pub mod batch;
pub mod broker;
pub mod classify;
pub mod cli;
pub mod clock;
pub mod control;
pub mod counters;
pub mod ctl;
pub mod error;
pub mod history;
pub mod http;
pub mod ledger;
pub mod machine;
pub mod observe;
pub mod outbox;
pub mod pages;
pub mod publish;
pub mod rest;
pub mod run;
pub mod session;
pub mod settings;
pub mod store;
pub mod stream;
pub mod tally;
#[cfg(test)]
mod testing;
pub mod topics;

pub use cli::{Cli, Command};
pub use counters::Summary;
pub use error::SourceError;
pub use run::run;
pub use settings::{Args, Settings};
