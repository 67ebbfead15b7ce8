//! Before anything is received: the ledger's lock, the spool with what an earlier run left in it, and the
//! raw topic's partitions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::error::SourceError;
use crate::ledger::{self, Ledger};
use crate::settings::Settings;
use crate::spool::{self, Limits, Recovered, Spool, TopicId};

/// How long a broker may be silent at the start before the partitions that the spool knows of an
/// earlier run are taken for granted: it may be away, and frames come all the same.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often the raw topic is looked at for partitions that are new.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// What there is at the start.
pub(super) struct Begun {
    pub(super) ledger: Ledger,
    pub(super) spool: Arc<Spool>,
    pub(super) recovered: Recovered,
    /// The raw topic in the spool.
    pub(super) raw: TopicId,
    pub(super) partitions: Vec<i32>,
    pub(super) broker: Broker,
}

impl Begun {
    /// `None`: told to stop before there was a topic.
    pub(super) async fn begin(
        settings: &Settings,
        run: u64,
        shutdown: &CancellationToken,
    ) -> Result<Option<Self>, SourceError> {
        let ledger = Ledger::open(&settings.state_dir)?;
        let folder = settings.state_dir.join(spool::FOLDER);
        let limits = Limits { bytes: settings.spool_bytes };
        let (spool, recovered) = Spool::open(&folder, limits, run)?;
        settle_runs(&settings.state_dir, &recovered, &spool)?;
        let (brokers, topic) = (settings.brokers.clone(), settings.raw_topic.clone());
        let broker = Broker { brokers, topic };
        let looked = broker.wait_for_partitions(settings.rules.topic_patience, shutdown);
        let partitions = match known(&recovered.topics, &settings.raw_topic) {
            None => looked.await?,
            Some(known) => match tokio::time::timeout(PATIENCE, looked).await {
                Ok(found) => found?,
                Err(_) => {
                    let partitions = known.len();
                    info!(partitions, "beginning with the partitions of the last run");
                    Some(known)
                }
            },
        };
        let Some(partitions) = partitions else { return Ok(None) };
        let raw = spool.topic(&settings.raw_topic, &partitions, true)?;
        Ok(Some(Begun { ledger, spool, recovered, raw, partitions, broker }))
    }
}

/// The partitions of a topic in an earlier run, if they are all there.
fn known(topics: &BTreeMap<String, Vec<i32>>, topic: &str) -> Option<Vec<i32>> {
    let mut partitions = topics.get(topic)?.clone();
    partitions.sort_unstable();
    let all = (0..).zip(&partitions).all(|(expected, found)| expected == *found);
    all.then_some(partitions)
}

/// Has the spool forget runs of which the ledger knows how they ended.
pub(super) fn settle_runs(
    state_dir: &Path,
    recovered: &Recovered,
    spool: &Spool,
) -> Result<(), SourceError> {
    let endings = ledger::endings(state_dir)
        .map_err(|error| SourceError::Ledger { path: state_dir.join(ledger::FILE), error })?;
    for run in recovered.runs.keys() {
        if endings.get(run).is_some_and(Option::is_some) {
            spool.forget_run(*run);
        }
    }
    Ok(())
}

/// Writes down that earlier runs have ended, now that all they had is published.
pub(super) fn note_ended_runs(spool: &Spool, ledger: &mut Ledger) -> Result<(), SourceError> {
    for (run, drawn) in spool.ended_runs() {
        ledger.ended(run, now_ms(), drawn)?;
        spool.forget_run(run);
    }
    Ok(())
}

/// Takes in partitions that the raw topic gets while the source runs. One that has lost some is told of:
/// their records wait.
pub(super) async fn look_after_partitions(
    broker: Broker,
    spool: Arc<Spool>,
    (topic, mut known): (String, Vec<i32>),
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let mut every = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        let Some(Ok(Some(found))) = stop.run_until_cancelled(broker.partitions()).await else {
            continue;
        };
        if found.len() > known.len() {
            info!(topic, partitions = found.len(), "the raw topic has more partitions now");
            spool.topic(&topic, &found, true)?;
            known = found;
        } else if found.len() < known.len() {
            warn!(
                topic,
                partitions = found.len(),
                before = known.len(),
                "the raw topic has fewer partitions now: start the source again, so that the records of the others find their way"
            );
            known = found;
        }
    }
}
