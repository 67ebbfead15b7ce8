//! `tickpanda broker`: the local broker by itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use tickpanda_broker::{Broker, BrokerConfig, StartAt, TransformSpec};
use tickpanda_model::topic;

use crate::{shutdown, topics};

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

    /// Host and port that clients are told to connect to [default: the listening address]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,

    /// Partitions of the raw and output topics, where they are created.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=64))]
    partitions: i32,

    /// The transform to run.
    #[arg(long, value_name = "FILE", env = "TICKPANDA_TRANSFORM_WASM")]
    wasm: Option<PathBuf>,

    /// Stop when standard input closes: for a parent that may be killed.
    #[arg(long)]
    stop_on_stdin_close: bool,
}

pub(crate) async fn run(settings: BrokerSettings) -> Result<()> {
    let signals = shutdown::signals()?;
    let mut config = BrokerConfig { listen: settings.listen, ..BrokerConfig::new(settings.data_dir) };
    if let Some(address) = settings.advertise {
        let (host, port) = address.rsplit_once(':').context("--advertise is HOST:PORT")?;
        let port = port.parse().context("--advertise is HOST:PORT with a port from 1 to 65535")?;
        config.advertise = Some((host.to_owned(), port));
    }
    let broker = Broker::start(config).await?;
    for topic in topics::all(settings.partitions)? {
        broker.create_topic(topic.name, topic.partitions, topic.settings()).await?;
    }
    if let Some(file) = settings.wasm {
        let wasm = std::fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let spec = TransformSpec {
            name: "tickpanda-transform".to_owned(),
            wasm,
            input_topic: topic::RAW.to_owned(),
            output_topics: topic::OUTPUTS.map(String::from).to_vec(),
            env: BTreeMap::new(),
            start: StartAt::Earliest,
        };
        broker.deploy(spec).await.with_context(|| format!("cannot deploy {}", file.display()))?;
    }
    tracing::info!(address = %broker.addr(), "the broker listens");
    tokio::select! {
        () = signals => {}
        () = shutdown::stdin_closed(settings.stop_on_stdin_close) => {}
    }
    broker.shutdown().await?;
    Ok(())
}
