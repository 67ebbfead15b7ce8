//! The parts, started in the order in which data needs them and stopped in the order in which it
//! leaves them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use sqlx::PgPool;
use tickpanda_broker::{Broker, BrokerConfig, BrokerError};
use tickpanda_database::{Kind, Server};
use tickpanda_kafka::{Client, ClientConfig};
use tickpanda_model::topic;
use tickpanda_source::ledger;

use super::children::{Child, peak_memory};
use super::database::{self, Rows};
use super::feed::Feed;
use super::settings::DemoSettings;
use super::sums::Sums;
use super::{STOP_DEADLINE, recount};
use crate::broker::start_with_admin;
use crate::timing::Timing;
use crate::topics::{self, Deployer};

/// All parts of the running demo.
pub(crate) struct Pipeline {
    pub(super) broker: Broker,
    deployer: Deployer,
    /// With which waits its transform runs.
    pub(super) timing: Timing,
    client: Client,
    /// Under which the sink keeps this broker's topics.
    pub(super) clusters: Vec<String>,
    pub(super) pool: PgPool,
    server: Server,
    pub(super) exchange: Option<Child>,
    pub(super) source: Option<Child>,
    pub(super) sink: Option<Child>,
    /// The source's folder, with its ledger.
    pub(super) state_dir: PathBuf,
    /// Rows that somebody else had in the database (`--into-existing`).
    baseline: Rows,
    /// Raw records before this run.
    raw_before: u64,
    pub(super) first_frame: Option<Instant>,
    pub(super) caught_up: Option<Instant>,
    peaks: BTreeMap<&'static str, u64>,
}

impl Pipeline {
    pub(crate) async fn start(settings: &DemoSettings, feed: &Feed, dir: &Path) -> Result<Self> {
        let logs = dir.join("logs");
        std::fs::create_dir_all(&logs)
            .with_context(|| format!("cannot make {}", logs.display()))?;

        let (server, database) = database::obtain(dir).await?;
        let pool = database::connect(&database.socket_url).await?;
        let broker = start_broker(settings, dir).await?;
        // The sums need the whole topic, so the demo keeps what a cluster would let go.
        topics::create(&broker, settings.partitions, |key| key != "retention.ms")?;
        let addresses = [broker.addr().to_string()];
        let client = Client::connect(&addresses, ClientConfig::default()).await?;
        let clusters = cluster_keys(&client).await?;
        let baseline = dir.join("baseline.json");
        let place = database::place(&database.url)?;
        let baseline =
            database::admit(&pool, &place, &clusters, settings.into_existing, &baseline).await?;
        let deployer = Deployer::new(&broker, &settings.wasm)?;
        deployer.deploy(&broker).await?;

        println!("broker    {}   (kcat -b {} -L)", broker.addr(), broker.addr());
        let shown = match server.kind() {
            Kind::Given => place,
            _ => format!("psql postgres://postgres@{place}"),
        };
        if let Some(admin) = broker.admin_addr() {
            println!("admin     {admin}   (rpk transform list -X admin.hosts={admin})");
        }
        println!("database  {}   ({shown})", server.kind());
        println!("logs      {}", logs.display());

        let state_dir = dir.join("source");
        outlive_former_source(&state_dir).await?;
        let raw_before = raw_topics(&broker).iter().map(|name| total(&broker, name)).sum();
        let mut pipeline = Pipeline {
            broker,
            deployer,
            timing: settings.timing,
            client,
            clusters,
            pool,
            server,
            exchange: None,
            source: None,
            sink: None,
            state_dir,
            baseline,
            raw_before,
            first_frame: None,
            caught_up: None,
            peaks: BTreeMap::new(),
        };
        pipeline.start_children(settings, feed, &database.socket_url, &logs).await?;
        Ok(pipeline)
    }

    /// Stops the source, having flushed what it holds.
    pub(super) async fn stop_source(&mut self) -> Result<()> {
        self.note_memory();
        let mut stopped = Ok(());
        for child in [self.source.take(), self.exchange.take()].into_iter().flatten() {
            stopped = stopped.and(child.stop(STOP_DEADLINE).await);
        }
        stopped
    }

    pub(super) async fn stop_sink(&mut self) -> Result<()> {
        self.note_memory();
        if let Some(sink) = self.sink.take() {
            sink.stop(STOP_DEADLINE).await?;
        }
        Ok(())
    }

    fn note_memory(&mut self) {
        let ours = ("demo and broker", peak_memory("self".as_ref()));
        let children = [&self.source, &self.exchange, &self.sink];
        let children = children.into_iter().flatten().map(Child::peak_memory);
        for (name, peak) in children.chain([ours]) {
            self.peaks.extend(peak.map(|peak| (name, peak)));
        }
    }

    /// Recounts everything and compares.
    pub(crate) async fn sums(&mut self) -> Result<Sums> {
        let mut sums = Sums { frames: self.frames(), ..Sums::default() };
        if let (Some(first), Some(last)) = (self.first_frame, self.caught_up) {
            sums.seconds = last.duration_since(first).as_secs_f64();
            if sums.seconds > 0.0 {
                sums.frames_per_second = sums.frames as f64 / sums.seconds;
            }
        }
        let topics = raw_topics(&self.broker).into_iter();
        let ends: Vec<recount::Ends> =
            topics.map(|name| (name.clone(), self.broker.watermarks(&name))).collect();
        let seqs = recount::recount(&self.client, &ends, &mut sums).await?;
        let endings =
            ledger::endings(&self.state_dir).context("cannot read the source's ledger")?;
        let seqs = seqs.report(&endings);
        (sums.lost, sums.unpublished, sums.publish_retries) =
            (seqs.lost, seqs.unpublished, seqs.publish_retries);
        sums.ticks = total(&self.broker, topic::TICKS);
        sums.candles = total(&self.broker, topic::CANDLES);
        sums.dead_letters = total(&self.broker, topic::DEAD_LETTERS);
        let rows = database::rows(&self.pool).await?;
        sums.tick_rows = rows.ticks.saturating_sub(self.baseline.ticks);
        sums.candle_rows = rows.candles.saturating_sub(self.baseline.candles);
        let written = database::written(&self.pool, &self.clusters).await?;
        (sums.duplicates, sums.refused) = (written.duplicate_ticks, written.refused_ticks);
        sums.balanced = sums.faults().is_empty();
        Ok(sums)
    }

    /// Stops what is left: broker and database.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let children = self.stop_source().await.and(self.stop_sink().await);
        let peaks = self.peaks.iter().map(|(name, peak)| format!("{name} {} MB", peak / 1_000_000));
        println!("peak memory    {}", peaks.collect::<Vec<_>>().join(", "));
        self.pool.close().await;
        let broker = self.broker.shutdown().await.context("the broker did not stop");
        let server = self.server.stop().await.context("the database did not stop");
        children.and(broker).and(server)
    }

    /// Raw records of this run.
    pub(super) fn frames(&self) -> u64 {
        let topics = raw_topics(&self.broker);
        let total: u64 = topics.iter().map(|name| total(&self.broker, name)).sum();
        total.saturating_sub(self.raw_before)
    }

    /// Further raw topics get their transform.
    pub(super) async fn adopt(&mut self) -> Result<()> {
        self.deployer.adopt(&self.broker).await
    }
}

/// The names under which the sink keeps its place in this broker's topics.
async fn cluster_keys(client: &Client) -> Result<Vec<String>> {
    let id = client.cluster().await?.id;
    let mut keys = Vec::new();
    for name in topic::OUTPUTS.into_iter().chain([topic::GAPS]) {
        let topic = client.topic(name).await?;
        keys.push(tickpanda_sink::cluster_key(id.as_deref(), topic.and_then(|topic| topic.id)));
    }
    Ok(keys)
}

/// Waits for the source of a run that was killed: for some seconds it still publishes what it holds,
/// and finds us where its broker was. Those are not this run's frames.
async fn outlive_former_source(state_dir: &Path) -> Result<()> {
    let deadline = Instant::now() + STOP_DEADLINE;
    loop {
        match ledger::Ledger::open(state_dir) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => tokio::time::sleep(GLANCE).await,
        }
    }
}

/// The raw topic, and those that the source was asked to publish to beside it.
fn raw_topics(broker: &Broker) -> Vec<String> {
    let further = topics::further_raw_topics(broker);
    std::iter::once(topic::RAW.to_owned()).chain(further).collect()
}

/// Records on a topic.
pub(super) fn total(broker: &Broker, topic: &str) -> u64 {
    let lengths = broker.watermarks(topic).into_iter().map(|(start, end)| end - start);
    lengths.map(|length| u64::try_from(length).unwrap_or(0)).sum()
}

/// Listens where asked; by default where Kafka clients expect it, if that is free.
async fn start_broker(settings: &DemoSettings, dir: &Path) -> Result<Broker> {
    let start = |listen| {
        let config = BrokerConfig::new(dir.join("broker"));
        let config = BrokerConfig { listen, transforms: settings.timing.waits(), ..config };
        start_with_admin(settings.admin_listen, config)
    };
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let started = match settings.kafka_listen {
        Some(listen) => start(listen).await,
        None => match start(loopback(9092)).await {
            Err(BrokerError::Bind { .. }) => start(loopback(0)).await,
            started => started,
        },
    };
    started.context("cannot start the broker")
}

/// How often progress is looked at.
pub(super) const GLANCE: Duration = Duration::from_millis(50);
