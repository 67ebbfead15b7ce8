//! `tickpanda broker`: the local broker by itself.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tickpanda_broker::{Broker, BrokerConfig, BrokerError};

use crate::cluster::ClusterSettings;
use crate::timing::Timing;
use crate::topics;

/// How soon a further raw topic gets its transform.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Run the local Kafka-protocol broker, with tickpanda's topics and, where a module is given, its
/// transform.
#[derive(Args, Debug)]
pub struct BrokerSettings {
    /// Where it keeps its topics.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,

    /// Where it listens; the default takes connections from this machine only.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9092")]
    listen: SocketAddr,

    /// Where its Admin API listens, for `rpk transform` [default: 127.0.0.1:9644, or a free port where that is taken]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,

    /// Allow another address than a loopback one. There is no authentication.
    #[arg(long)]
    allow_remote: bool,

    /// Host and port that clients are told to connect to [default: the listening address]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,

    /// Partitions of the raw and output topics, where they are created.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=64))]
    partitions: i32,

    /// Create no topics, as a new cluster has none: `rpk/deploy.sh` does.
    #[arg(long)]
    no_topics: bool,

    /// The transform to run.
    #[arg(long, value_name = "FILE", env = "TICKPANDA_TRANSFORM_WASM")]
    wasm: Option<PathBuf>,

    /// The waits around the transform.
    #[arg(long, value_enum, default_value_t)]
    timing: Timing,

    #[command(flatten)]
    cluster: ClusterSettings,

    /// The cluster's `data_transforms_per_core_memory_reservation`, in bytes: by the limit of each, so many transforms
    /// there may be [default: for ten]
    #[arg(long, value_name = "BYTES")]
    memory_reservation: Option<usize>,

    /// Stop when standard input closes: for a parent that may be killed.
    #[arg(long)]
    stop_on_stdin_close: bool,
}

pub(crate) async fn run(settings: BrokerSettings) -> Result<()> {
    let stop = tickpanda_program::stop_token(settings.stop_on_stdin_close)?;
    let mut config = BrokerConfig {
        listen: settings.listen,
        allow_remote: settings.allow_remote,
        transforms: settings.timing.waits(),
        transform_limits: settings.cluster.limits(),
        transform_profile: settings.cluster.profile().unwrap_or_default(),
        ..BrokerConfig::new(settings.data_dir)
    };
    if let Some(reservation) = settings.memory_reservation {
        config.max_transforms = most(reservation, config.transform_limits.memory)?;
    }
    if let Some(address) = settings.advertise {
        let (host, port) = address.rsplit_once(':').context("--advertise is HOST:PORT")?;
        let port = port.parse().context("--advertise is HOST:PORT with a port from 1 to 65535")?;
        config.advertise = Some((host.to_owned(), port));
    }
    let broker = start_with_admin(settings.admin_listen, config).await?;
    if !settings.no_topics {
        topics::create(&broker, settings.partitions, |_| true)?;
    }
    match settings.wasm {
        Some(wasm) => {
            let mut deployer = topics::Deployer::new(&broker, &wasm)?;
            deployer.deploy(&broker).await?;
            while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
                deployer.adopt(&broker).await?;
            }
        }
        None => stop.cancelled().await,
    }
    broker.shutdown().await?;
    Ok(())
}

/// Transforms at most, as Redpanda counts them.
fn most(reservation: usize, limit: usize) -> Result<usize> {
    let most = reservation / limit;
    ensure!(
        most > 0,
        "--memory-reservation is {reservation}, less than the {limit} bytes of one transform (--memory-limit)"
    );
    Ok(most)
}

/// Starts a broker whose Admin API listens where asked; by default where rpk expects it, if that is free.
pub(crate) async fn start_with_admin(
    wanted: Option<SocketAddr>,
    config: BrokerConfig,
) -> Result<Broker, BrokerError> {
    let rpks = SocketAddr::from((Ipv4Addr::LOCALHOST, 9644));
    let start =
        |listen| Broker::start(BrokerConfig { admin_listen: Some(listen), ..config.clone() });
    match (wanted, start(wanted.unwrap_or(rpks)).await) {
        (None, Err(BrokerError::Bind { addr, .. })) if addr == rpks => {
            start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await
        }
        (_, started) => started,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_as_many_transforms_as_memory_is_reserved_for() {
        let of = |bytes: usize| most(bytes, 16 << 20).ok();
        assert_eq!((of(64 << 20), of((64 << 20) - 1), of(1)), (Some(4), Some(3), None));
    }
}
