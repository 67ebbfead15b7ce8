//! `tickpanda exchange`: the fake CryptoCompare by itself.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair, Rate, Scenario, scan_replay};

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

    /// Take orders for faults over HTTP, under /control on the same port, from anybody who reaches it.
    ///
    /// `curl -d '{"fault":"silent","for":"20s"}' http://127.0.0.1:8080/control/faults`; GET lists what stands, DELETE takes it
    /// back, POST /control/kick closes every socket, GET /control/stats tells what clients did.
    #[arg(long)]
    control: bool,

    /// Faults that come by themselves: a list of steps in YAML or JSON, such as local/exchange/scenarios/a-bad-day.yaml.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// How many times as fast heartbeats, pings and the scenario go.
    #[arg(long, value_name = "N", default_value_t = NonZeroU32::MIN)]
    time_scale: NonZeroU32,

    /// Write every data frame handed to a socket into this file, as one line with time, socket, subscription and XXH3-128.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,

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
    let scenario = match settings.scenario {
        Some(file) => {
            let read = move || {
                Scenario::read(&file)
                    .with_context(|| format!("--scenario {} can't be played", file.display()))
            };
            Some(tokio::task::spawn_blocking(read).await??)
        }
        None => None,
    };
    let config = ExchangeConfig {
        listen: settings.listen,
        rate,
        control: settings.control,
        scenario,
        time_scale: settings.time_scale,
        journal: settings.journal,
        ..ExchangeConfig::new(settings.key, feed)
    };
    let exchange = Exchange::start(config).await?;
    println!("{} {}", exchange.ws_url(), exchange.rest_url());
    stop.cancelled().await;
    exchange.shutdown().await;
    Ok(())
}
