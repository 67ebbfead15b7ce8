//! `tickpanda exchange`: the fake CryptoCompare by itself.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Rate};

use crate::shutdown;

/// Run the fake CryptoCompare: WebSocket v2 and REST on one port.
///
/// Prints one line to standard output once it listens: the WebSocket URL and the REST base URL.
#[derive(Args, Debug)]
pub struct ExchangeSettings {
    /// Where it listens; the default takes connections from this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// The key that clients must show.
    #[arg(long, env = "TICKPANDA_EXCHANGE_KEY", hide_env_values = true, default_value = "local-exchange", hide_default_value = true)]
    key: String,

    /// Recorded frames, one verbatim frame a line, instead of a synthetic market.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,

    /// Frames per second [default: 500; as fast as it can with --replay]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Seed of the synthetic market.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Stop when standard input closes: for a parent that may be killed.
    #[arg(long)]
    stop_on_stdin_close: bool,
}
