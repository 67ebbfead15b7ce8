//! A fake CryptoCompare over real sockets: the legacy WebSocket v2 and the legacy REST API on one port,
//! for one machine without a key. It imitates what is documented and captured of the vendor: order of
//! frames, their layout to the byte, limits and errors. It must never lie in the path of real data.
//!
//! ```text
//!  client ──ws──▶ server ─▶ connection ─▶ conversation ─▶ session     what a message does (pure)
//!     ▲                                       │  ▲
//!     │                                       ▼  │
//!   outlet ◀────── delivery ◀──────────────── flow ─┬─ market         synthetic: a function of seed and time (pure)
//!                     ▲                             └─ replay         a recording, line by line, verbatim
//!                   faults                                            what goes wrong, on demand
//!                     ▼
//!  client ──http─▶ calls ─▶ rest ──── market
//! ```
//!
//! | module | what |
//! |---|---|
//! | `server`, `wire`, `connection`, `conversation`, `orders`, `flow`, `delivery`, `outlet`, `calls`, `console` | all the I/O there is |
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
//!
//! // The next socket is welcomed, and dropped; then calls for minutes are refused for a while.
//! use std::time::Duration;
//! use tickpanda_exchange::{Fault, Order, RestFault};
//! exchange.fault(Fault::Cut).expect("nothing is wrong with that");
//! let busy = Order::new(Fault::Rest(RestFault::Status { status: 503 }));
//! exchange.fault(busy.on_paths(["histominute"]).lasting(Duration::from_secs(5))).expect("nor that");
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
mod conversation;
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
mod shared;
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
