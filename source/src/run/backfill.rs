//! The command `backfill` from start to stop: its folder, the topic, fetching, and publishing the last of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use reqwest::Url;
use tickpanda_kafka::Brokers;
use tickpanda_model::topic;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::begin::note_ended_runs;
use crate::api_key::ApiKey;
use crate::backfill::{self, Plan, Report};
use crate::broker::Broker;
use crate::cli::BackfillRun;
use crate::clock::now_ms;
use crate::error::SourceError;
use crate::history::client::Client;
use crate::history::driver::Publish;
use crate::ledger::Ledger;
use crate::machine::history::Rules;
use crate::publish::{Cluster, Publishers};
use crate::settings::parse;
use crate::spool::{self, Burst, Headers, Limits, Spool, TopicId};

/// How long the raw topic may be missing at the start.
const TOPIC_PATIENCE: Duration = Duration::from_secs(10);
/// What waits for the broker on disk: so many bytes, then fetching waits.
const SPOOL_BYTES: u64 = 256 << 20;
/// How long the last pages may take to the broker once told to stop.
const DRAIN: Duration = Duration::from_millis(700);
/// How often to look whether the last page is published.
const LOOK: Duration = Duration::from_millis(20);

/// Checked settings.
#[derive(Clone, Debug)]
pub struct PastSettings {
    api_key: ApiKey,
    brokers: Brokers,
    rest_url: Url,
    raw_topic: String,
    plan: Plan,
    /// Waits and limits; tests compress them.
    pub rules: Rules,
}

impl PastSettings {
    /// Checks what one argument alone can't tell. `api_key` is the variable's value.
    ///
    /// # Errors
    /// [`SourceError::Setting`], naming the setting; never with the key in it.
    pub fn check(args: BackfillRun, api_key: Option<&str>) -> Result<Self, SourceError> {
        let rest_url = parse::rest_url(&args.rest_url).map_err(|problem| SourceError::Setting {
            name: "--rest-url (CRYPTOCOMPARE_REST_URL)",
            problem,
        })?;
        Ok(PastSettings {
            api_key: args.keys.keys(api_key)?[0].clone(), // `keys` gives one at least
            brokers: args.kafka.check(tickpanda_program::hide)?,
            rest_url,
            raw_topic: args.prefix.name(args.raw_topic.as_ref(), topic::RAW),
            plan: args.backfill.check(now_ms())?,
            rules: Rules::default(),
        })
    }

    /// Where it keeps how far it is.
    pub fn state_dir(&self) -> PathBuf {
        self.plan.state_dir.clone()
    }
}

/// Fetches, publishes, and returns what came.
///
/// # Errors
/// See [`backfill::backfill`]; besides what keeps any source from starting.
pub async fn run_backfill(
    settings: PastSettings,
    shutdown: CancellationToken,
) -> Result<Report, SourceError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let run: u64 = rand::rng().random();
    let mut ledger = Ledger::open(&settings.plan.state_dir)?;
    let folder = settings.plan.state_dir.join(spool::FOLDER);
    let (spool, recovered) = Spool::open(&folder, Limits { bytes: SPOOL_BYTES }, run)?;
    super::begin::settle_runs(&settings.plan.state_dir, &recovered, &spool)?;
    let (brokers, topic) = (settings.brokers.clone(), settings.raw_topic.clone());
    let broker = Broker { brokers, topic };
    let found = broker.wait_for_partitions(TOPIC_PATIENCE, &shutdown).await?;
    let Some(partitions) = found else {
        return Err(SourceError::Incomplete { what: "stopped before it began".to_owned() });
    };
    let raw = spool.topic(&settings.raw_topic, &partitions, true)?;
    // What an earlier command left for another topic is published too.
    for (name, partitions) in &recovered.topics {
        if *name != settings.raw_topic {
            spool.topic(name, partitions, true)?;
        }
    }
    let client = Client::new(settings.rest_url, settings.api_key.clone())?;
    ledger.started(run, now_ms())?;
    let cluster = Cluster { brokers: settings.brokers.into() };
    let mut publishers = Publishers::start(&spool, cluster, Duration::from_millis(5));
    let out = Pages {
        api_key: settings.api_key.clone(),
        burst: Burst::new(&spool),
        spool: Arc::clone(&spool),
        raw,
    };
    let fetched = tokio::select! {
        fetched = backfill::backfill(settings.plan, client, settings.rules, out, &shutdown) => fetched,
        error = publishers.broken() => return Err(error),
    };
    // All is well when the broker has it; a broker that is away is waited for, as long as nobody says stop.
    if spool.waiting() > 0 {
        info!(records = spool.waiting(), "publishing what was fetched");
    }
    while spool.waiting() > 0 && !shutdown.is_cancelled() {
        tokio::select! {
            () = sleep(LOOK) => {}
            error = publishers.broken() => return Err(error),
        }
    }
    let lost = spool.meter().lost.get();
    let waiting = publishers.stop(DRAIN).await;
    note_ended_runs(&spool, &mut ledger)?;
    if spool.unsettled() == 0 {
        ledger.ended(run, now_ms(), spool.drawn())?;
    }
    if lost > 0 {
        let what = format!(
            "{lost} bodies were lost, because the disk was full or damaged; fetch it again with --again"
        );
        return fetched.and(Err(SourceError::Incomplete { what }));
    }
    if waiting > 0 {
        warn!(
            records = waiting,
            "the broker did not take them in time: they are in the spool, and the same command publishes them"
        );
        let what =
            format!("{waiting} bodies are fetched and not published; run the same command again");
        return fetched.and(Err(SourceError::Incomplete { what }));
    }
    let report = fetched?;
    info!("backfill is finished: {}", report.words);
    Ok(report)
}

/// Bodies to the spool.
struct Pages {
    api_key: ApiKey,
    burst: Burst,
    spool: Arc<Spool>,
    raw: TopicId,
}

impl Publish for Pages {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> Result<(), String> {
        // A history that is thrown away by its own successor would be fetched for nothing.
        if self.spool.waiting() > 0 && self.spool.bytes() > self.spool.limit() / 2 {
            return Err("much of it waits for the broker already".to_owned());
        }
        if self.api_key.is_in(body) {
            warn!(pair = key, "an answer is not published, because the API key is in it");
            return Ok(());
        }
        self.burst.push(self.raw, key.as_bytes(), body, received_at, Some(&headers));
        self.burst.take_counts();
        self.spool.append(&mut self.burst).await;
        Ok(())
    }
}
