//! `tickpanda exchange`: the fake CryptoCompare by itself.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair, Rate, scan_replay};

/// Run the fake CryptoCompare: WebSocket v2 and REST on one port.
///
/// Prints one line to standard output once it listens: the WebSocket URL and the REST base URL.
// No Debug: it would show the key.
#[derive(Args)]
pub struct ExchangeSettings {
    /// Where it listens; the default takes connections from this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// The key that clients must show.
    #[arg(
        long,
        env = "TICKPANDA_EXCHANGE_KEY",
        hide_env_values = true,
        default_value = "local-exchange",
        hide_default_value = true
    )]
    key: String,

    /// Recorded frames, one verbatim frame a line, instead of a synthetic market.
    #[arg(long, value_name = "FILE")]
    replay: Option<PathBuf>,

    /// Frames per second [default: 500; as fast as it can with --replay]
    #[arg(long, value_name = "N")]
    rate: Option<NonZeroU32>,

    /// Seed of the synthetic market.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Stop when standard input closes: for a parent that may be killed.
    #[arg(long)]
    stop_on_stdin_close: bool,
}

const DEFAULT_RATE: NonZeroU32 = NonZeroU32::new(500).unwrap();

pub(crate) async fn run(settings: ExchangeSettings) -> Result<()> {
    let stop = tickpanda_program::stop_token(settings.stop_on_stdin_close)?;
    let rate = settings.rate.map(Rate::PerSecond);
    let (feed, rate) = match settings.replay {
        Some(file) => {
            let scan = tokio::task::spawn_blocking(move || scan_replay(&file)).await??;
            (Feed::Replay(scan), rate.unwrap_or(Rate::Unlimited))
        }
        None => {
            let feed = Feed::Synthetic { seed: settings.seed, pairs: Pair::catalogue() };
            (feed, rate.unwrap_or(Rate::PerSecond(DEFAULT_RATE)))
        }
    };
    let config =
        ExchangeConfig { listen: settings.listen, rate, ..ExchangeConfig::new(settings.key, feed) };
    let exchange = Exchange::start(config).await?;
    println!("{} {}", exchange.ws_url(), exchange.rest_url());
    stop.cancelled().await;
    exchange.shutdown().await;
    Ok(())
}
