//! A fake CryptoCompare over real sockets: the legacy WebSocket v2 and the legacy REST API on one port,
//! for one machine without a key. It imitates what is documented and captured of the vendor: order of
//! frames, their layout to the byte, limits and errors. It must never lie in the path of real data.
//!
//! ```text
//!  client ──ws──▶ server ─▶ connection ─▶ session     what a message does (pure)
//!                               │  ▲
//!                               ▼  │
//!                             flow ─┬─ market         synthetic: a function of seed and time (pure)
//!                                   └─ replay         a recording, line by line, verbatim
//!  client ──http─▶ server ─▶ rest ──── market
//! ```
//!
//! | module | what |
//! |---|---|
//! | `server`, `connection`, `flow` | all the I/O there is |
//! | `session`, `control`, `auth`, `quota`, `pacing` | the vendor's rules, without I/O |
//! | `market` | pairs, prices, schedule, frames of TYPE 0, 2, 5, 24 |
//! | `replay` | checking and streaming recordings |
//! | `rest` | bodies of `histominute`, `histohour`, `histoday` |
//! | `trades` | [`make_trades`], for benchmarks |
//!
//! ```no_run
//! # async fn run() -> Result<(), tickpanda_exchange::ExchangeError> {
//! use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair};
//!
//! let feed = Feed::Synthetic { seed: 1, pairs: Pair::catalogue() };
//! let exchange = Exchange::start(ExchangeConfig::new("a-key", feed)).await?;
//! println!("{} {}", exchange.ws_url(), exchange.rest_url());
//! exchange.shutdown().await;
//! # Ok(())
//! # }
//! ```

mod auth;
mod config;
mod connection;
mod control;
mod digits;
mod error;
mod flow;
mod frames;
mod hash;
mod market;
mod pacing;
mod quota;
mod replay;
mod rest;
mod server;
mod session;
mod stats;
mod trades;

pub use config::{Clock, ExchangeConfig, Feed};
pub use error::ExchangeError;
pub use market::Pair;
pub use pacing::Rate;
pub use quota::Limits;
pub use replay::{ReplayError, ReplayScan, scan_replay};
pub use server::Exchange;
pub use stats::Stats;
pub use trades::make_trades;
