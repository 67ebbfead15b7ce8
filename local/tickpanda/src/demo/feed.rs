//! Where the frames come from.

use std::collections::BTreeSet;
use std::net::ToSocketAddrs;
use std::time::Duration;

use anyhow::{Result, bail};
use tickpanda_exchange::{Pair, ReplayScan, scan_replay};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::settings::DemoSettings;

const VENDOR: (&str, u16) = ("streamer.cryptocompare.com", 443);
const KEY: &str = "CRYPTOCOMPARE_API_KEY";

/// What the source is connected to.
pub(crate) enum Feed {
    /// The local exchange's own market.
    Synthetic,
    /// A recorded file, through the local exchange.
    Replay(ReplayScan),
    /// The real vendor.
    Live,
}

impl Feed {
    /// Looks at what was asked for, before anything is started for it.
    pub(crate) async fn choose(settings: &DemoSettings) -> Result<Self> {
        if settings.live {
            can_reach_vendor().await?;
            return Ok(Feed::Live);
        }
        let Some(file) = settings.replay.clone() else { return Ok(Feed::Synthetic) };
        let scan = tokio::task::spawn_blocking(move || scan_replay(&file)).await??;
        Ok(Feed::Replay(scan))
    }

    /// What the source subscribes to; nothing where that is its own default.
    pub(crate) fn subs(&self) -> Vec<String> {
        match self {
            Feed::Live => vec![],
            // A recording of frames without a pair names no sub, but is sent only on a SubAdd.
            Feed::Replay(scan) if scan.subs.is_empty() => vec!["0~Coinbase~BTC~USD".to_owned()],
            Feed::Replay(scan) => scan.subs.clone(),
            Feed::Synthetic => {
                let subs = |Pair { market, base, quote, .. }: &Pair| {
                    [
                        format!("0~{market}~{base}~{quote}"),
                        format!("24~{market}~{base}~{quote}~m"),
                        format!("5~CCCAGG~{base}~{quote}"),
                    ]
                };
                let all: BTreeSet<String> = Pair::catalogue().iter().flat_map(subs).collect();
                all.into_iter().collect()
            }
        }
    }

    /// Symbols whose latest price is worth a place on the line.
    pub(crate) fn symbols(&self) -> Vec<String> {
        const SHOWN: usize = 4;
        let pairs: BTreeSet<String> = match self {
            Feed::Synthetic | Feed::Live => ["BTCUSD", "ETHUSD"].map(String::from).into(),
            Feed::Replay(scan) => scan.pairs.iter().filter_map(|pair| symbol(pair)).collect(),
        };
        pairs.into_iter().take(SHOWN).collect()
    }
}

/// `BTCUSD` of `Coinbase~BTC~USD`.
fn symbol(pair: &str) -> Option<String> {
    let (_, pair) = pair.split_once('~')?;
    Some(pair.replacen('~', "", 1))
}

/// One clear line now beats a source that tries for ever behind a display of zeros.
async fn can_reach_vendor() -> Result<()> {
    if std::env::var(KEY).unwrap_or_default().trim().is_empty() {
        bail!("--live needs CryptoCompare's key: set {KEY} in the environment or in .env");
    }
    let (host, port) = VENDOR;
    let attempt = async {
        let addresses =
            tokio::task::spawn_blocking(move || VENDOR.to_socket_addrs().map(Vec::from_iter))
                .await??;
        TcpStream::connect(&addresses[..]).await.map(drop)
    };
    let why = match timeout(Duration::from_secs(10), attempt).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer within 10 s".to_owned(),
    };
    bail!(
        "cannot reach CryptoCompare at {host}:{port} ({why}): check the network, or run without --live for the local exchange"
    )
}
