//! `tickpanda transform run`: hosts any transform next to any Kafka-protocol cluster, as Redpanda would
//! host it inside.
//!
//! ```text
//!                  ┌───────────── a lane for each input partition ─────────────┐
//!  input topic ───▶│ read batches ─▶ Guest (one VM for all lanes) ─▶ Writers   │───▶ output topics
//!   (kafka/)       └──────▲─────────────────────────────────────────────┬──────┘  (produce: acks=all)
//!                  Processor (tickpanda-host) decides            acknowledged
//!                         │                                             ▼
//!                  group offsets ◀──────── every commit interval ─── Offsets
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | the options |
//! | `topics` | what the cluster says of input and outputs |
//! | `start` | where partitions begin of which no offset is kept |
//! | `lane` | one input partition |
//! | `guest` | the VM that the lanes share |
//! | `output`, `produce` | what came out as record batches, and sending them verbatim |
//! | `offsets`, `metadata` | the place on the input, kept on the cluster for each output |
//! | `outage` | one log line for a cluster that is away |
//!
//! At least once: an offset is committed when all that came out before it is acknowledged, so `kill -9`
//! repeats what was not committed yet, and loses nothing. Nothing here lies in the data path of tickpanda's own
//! pipeline, whose transform runs inside Redpanda.

mod guest;
mod lane;
mod metadata;
mod offsets;
mod outage;
mod output;
mod produce;
pub mod settings;
mod start;
mod topics;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tickpanda_host::processor::Timing;
use tickpanda_host::{CompileOptions, Module};
use tickpanda_kafka::{Brokers, Client, ClientConfig, KafkaError};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use guest::Guest;
use lane::Lane;
use offsets::Offsets;
use outage::{Caller, Outage};
use settings::RunSettings;
use topics::Topics;

/// How often commits and messages are looked after: well below any of their intervals.
const TICK: Duration = Duration::from_millis(50);
/// How often it is looked whether the input has more partitions, or is another topic.
const LOOK: Duration = Duration::from_secs(60);
/// How long to wait before the cluster is asked again at the start.
const PAUSE: Duration = Duration::from_secs(1);

/// What all lanes share.
struct Shared {
    client: Client,
    topics: Topics,
    /// The id that the input topic had when it was looked at last.
    input_id: Mutex<Option<String>>,
    timing: Timing,
    guest: Guest,
    offsets: Offsets,
    outage: Arc<Outage>,
    stop: CancellationToken,
    records_in: AtomicU64,
    records_out: AtomicU64,
}

/// The exit code is 2 where a setting is wrong, also a certificate, name or password that is refused at the
/// start; later that is waited for.
pub(crate) async fn run(settings: RunSettings) -> Result<ExitCode> {
    let brokers = match settings.kafka.check(tickpanda_program::hide) {
        Ok(brokers) => brokers,
        Err(bad) => return Ok(wrong_setting(&bad.into())),
    };
    match host(settings, brokers).await {
        Err(error) if error.downcast_ref::<KafkaError>().is_some_and(KafkaError::is_denied) => {
            Ok(wrong_setting(&error))
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

fn wrong_setting(error: &anyhow::Error) -> ExitCode {
    eprintln!("tickpanda: {error:#}");
    ExitCode::from(2)
}

async fn host(settings: RunSettings, brokers: Brokers) -> Result<()> {
    let stop = tickpanda_program::stop_token(settings.stop_on_stdin_close)?;
    let wasm = tokio::fs::read(&settings.wasm).await;
    let wasm = wasm.with_context(|| format!("cannot read {}", settings.wasm.display()))?;
    let name = settings.name()?;
    let profile = settings.cluster.profile().unwrap_or_default();
    let options = CompileOptions { profile, ..CompileOptions::default() };
    let module = tokio::task::spawn_blocking(move || Module::compile_for(&wasm, &options)).await?;
    let module = module.with_context(|| settings.wasm.display().to_string())?;
    let guest = Guest::new(module, &name, &settings);
    guest.check().await?;

    let outage = Arc::new(Outage::new(brokers.to_string()));
    let found = find(&settings, &brokers, &name, &outage);
    let Some(found) = stop.run_until_cancelled(found).await else { return Ok(()) };
    let Found { client, topics, partitions, offsets } = found?;
    let timing = settings.timing.waits();
    info!(
        "running {name}: {} of {} partitions of {} to {}; {}, offsets in group {}",
        partitions.len(),
        topics.input_partitions,
        topics.input,
        topics.output_names().collect::<Vec<_>>().join(", "),
        settings.timing,
        offsets.group(),
    );
    let shared = Arc::new(Shared {
        client,
        input_id: Mutex::new(topics.input_id.clone()),
        topics,
        timing,
        guest,
        offsets,
        outage,
        stop: stop.clone(),
        records_in: AtomicU64::new(0),
        records_out: AtomicU64::new(0),
    });
    let mut lanes = JoinSet::new();
    for partition in partitions {
        lanes.spawn(Lane::new(Arc::clone(&shared), partition).run());
    }
    let housekeeping = tokio::spawn(keep_house(Arc::clone(&shared)));
    let mut ended = Ok(());
    while let Some(lane) = lanes.join_next().await {
        // Lanes end when they are told to; a panic ends all of them, and what they have is committed.
        ended = ended.and(lane.context("a partition's task has panicked"));
        stop.cancel();
    }
    housekeeping.await.context("the task that commits has panicked")?;
    ended.and(shared.end().await)
}

/// What the cluster has.
struct Found {
    client: Client,
    topics: Topics,
    /// Those to host.
    partitions: BTreeSet<i32>,
    offsets: Offsets,
}

/// Connects, looks at the topics and where the partitions are, waiting for a cluster that is away.
async fn find(
    settings: &RunSettings,
    brokers: &Brokers,
    name: &str,
    outage: &Arc<Outage>,
) -> Result<Found> {
    loop {
        match find_once(settings, brokers, name, outage).await {
            Err(error)
                if error.downcast_ref::<KafkaError>().is_some_and(KafkaError::is_transient) =>
            {
                outage.failed(Caller::Start, &error);
                tokio::time::sleep(PAUSE).await;
            }
            found => {
                outage.served(Caller::Start);
                return found;
            }
        }
    }
}

async fn find_once(
    settings: &RunSettings,
    brokers: &Brokers,
    name: &str,
    outage: &Arc<Outage>,
) -> Result<Found> {
    let config = ClientConfig {
        client_id: "tickpanda-transform".to_owned(),
        // Lanes have the broker's own back-off.
        retry_for: Duration::from_secs(5),
        security: brokers.security.clone(),
        ..ClientConfig::default()
    };
    let client = Client::connect(&brokers.addresses, config).await?;
    let topics = Topics::find(&client, settings).await?;
    let partitions = settings.partitions(topics.input_partitions)?;
    let timing = settings.timing.waits();
    let hosted = partitions.clone();
    let offsets = Offsets::new(client.clone(), name, &topics, hosted, timing, Arc::clone(outage));
    start::begin(&client, &offsets, &topics.input, &partitions, settings.from_offset).await?;
    Ok(Found { client, topics, partitions, offsets })
}

/// Commits, and lets messages go, when it is time.
async fn keep_house(shared: Arc<Shared>) {
    let mut look_at_topic = Instant::now() + LOOK;
    while !shared.stop.is_cancelled() {
        if look_at_topic <= Instant::now() {
            look_at_topic += LOOK;
            shared.look_at_input().await;
        }
        shared.offsets.flush_if_due().await;
        shared.guest.logs().flush_if_due(Instant::now());
        shared.stop.run_until_cancelled(tokio::time::sleep(TICK)).await;
    }
}

impl Shared {
    /// Lanes are made at the start, and a partition that is added later waits for the next one. Where the topic
    /// was created anew, they find that here.
    async fn look_at_input(&self) {
        let (known, topic) = (self.topics.input_partitions, &self.topics.input);
        // Where it can't be told now, it is looked at again.
        let Ok(Some(now)) = self.client.topic(topic).await else { return };
        if let Some(id) = now.id.map(|id| id.to_string()) {
            let mut last = self.input_id.lock().unwrap_or_else(PoisonError::into_inner);
            if last.as_ref().is_some_and(|last| *last != id) {
                warn!(
                    "topic {topic} was created anew: its partitions begin with their first record"
                );
            }
            *last = Some(id);
        }
        if now.partitions > known {
            warn!(
                "topic {topic} has {} partitions now, {known} when this started: start it again to host the others too, each from its first record",
                now.partitions
            );
        }
    }

    /// The input topic's id, where it is another than this.
    fn newer_input(&self, than: Option<&str>) -> Option<String> {
        let last = self.input_id.lock().unwrap_or_else(PoisonError::into_inner);
        let than = than?;
        last.clone().filter(|last| last != than)
    }

    /// Commits what is done and not committed yet.
    async fn end(&self) -> Result<()> {
        let committed = self.offsets.flush_all().await;
        self.guest.logs().flush();
        info!(
            "stopped: {} records in, {} out, {} messages of the guest dropped",
            self.records_in.load(Ordering::Relaxed),
            self.records_out.load(Ordering::Relaxed),
            self.guest.logs().dropped().total(),
        );
        committed.context("the last offsets could not be committed: what lies behind them is repeated by the next run")
    }
}
