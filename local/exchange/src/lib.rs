//! A fake CryptoCompare over real sockets: the legacy WebSocket v2 and the legacy REST API on one port,
//! for one machine without a key. It imitates what is documented and captured of the vendor: order of
//! frames, their layout to the byte, limits and errors. It must never lie in the path of real data.
//!
//! ```text
//!  client ──ws──▶ server ─▶ connection ─▶ session     what a message does (pure)
//!    ▲                          │  ▲
//!    │                          ▼  │
//!  outlet ◀─ delivery ◀──────  flow ─┬─ market        synthetic: a function of seed and time (pure)
//!              ▲                     └─ replay        a recording, line by line, verbatim
//!            faults                                   what goes wrong, on demand
//!              ▼
//!  client ──http─▶ calls ─▶ rest ───── market
//! ```
//!
//! | module | what |
//! |---|---|
//! | `server`, `wire`, `connection`, `orders`, `flow`, `delivery`, `outlet`, `calls`, `console` | all the I/O there is |
//! | `session`, `control`, `auth`, `quota`, `pacing` | the vendor's rules, without I/O |
//! | `market` | pairs, prices, schedule, frames of TYPE 0, 2, 5, 24 |
//! | `replay` | checking and streaming recordings |
//! | `rest` | bodies of `histominute`, `histohour`, `histoday` |
//! | `faults` | what goes wrong: orders, scenarios, what they do (pure) |
//! | `journal`, `stats` | what was sent, and what clients did |
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
mod calls;
mod config;
mod connection;
mod console;
mod control;
mod delivery;
mod digits;
mod error;
mod faults;
mod flow;
mod frames;
mod hash;
mod journal;
mod market;
mod orders;
mod outlet;
mod pacing;
mod quota;
mod raw;
mod replay;
mod rest;
mod server;
mod session;
mod stats;
mod trades;
mod wire;

pub use config::{Clock, ExchangeConfig, Feed};
pub use error::ExchangeError;
pub use faults::{
    Fault, Garbage, Order, OrderError, Period, RestError, RestFault, Scenario, ScenarioError,
    Standing,
};
pub use journal::{JournalEvent, JournalLine, read_journal};
pub use market::{MarketFrame, Pair};
pub use pacing::Rate;
pub use quota::Limits;
pub use replay::{ReplayError, ReplayScan, scan_replay};
pub use server::{Exchange, market_frames};
pub use stats::{Call, ClientMessage, KeyShown, Opening, Report, Stats};
pub use trades::make_trades;
