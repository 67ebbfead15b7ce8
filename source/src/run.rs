//! A source from start to stop: find the topic, start the tasks, watch them, drain them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::counters::{Counters, Summary};
use crate::error::SourceError;
use crate::history::{self, Fetcher};
use crate::ledger::{self, Ledger};
use crate::publish::{Cluster, Publishers};
use crate::settings::Settings;
use crate::spool::{self, Limits, Recovered, Spool, TopicId};
use crate::stream::Stream;

/// How often a summary is logged.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);

/// Runs a source until `shutdown` is cancelled, then publishes what it holds and returns what it
/// has done. All of its tasks have ended when it returns.
///
/// # Errors
/// What can't be retried: see [`SourceError`].
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<Summary, SourceError> {
    // An error means that somebody in this process has chosen a provider already: as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let run: u64 = rand::rng().random();
    info!(run = format!("{run:016x}"), %settings, "source starts");
    let mut ledger = Ledger::open(&settings.state_dir)?;
    let folder = settings.state_dir.join(spool::FOLDER);
    let (spool, recovered) = Spool::open(&folder, Limits::default(), run)?;
    settle_runs(&settings.state_dir, &recovered, &spool)?;

    let broker = Broker { brokers: settings.brokers.clone(), topic: settings.raw_topic.clone() };
    let patience = settings.rules.topic_patience;
    let Some(partitions) = broker.wait_for_partitions(patience, &shutdown).await? else {
        return Ok(Summary { run, ..Summary::default() });
    };
    let topic = spool.topic(&settings.raw_topic, &partitions, true)?;
    for (name, partitions) in &recovered.topics {
        if *name != settings.raw_topic {
            spool.topic(name, partitions, true)?;
        }
    }

    ledger.started(run, now_ms())?;
    let mut source = Running::start(&settings, &spool, topic, &shutdown)?;
    let failure = source.watch(run, &mut ledger).await.err();
    let counters = Arc::clone(&source.counters);
    let waiting = source.drain(settings.rules.drain).await;
    note_ended_runs(&spool, &mut ledger)?;
    let summary = counters.summary(run, spool.meter());
    if spool.unsettled() == 0 {
        ledger.ended(run, now_ms(), spool.drawn())?;
    }
    if waiting > 0 {
        warn!(
            records = waiting,
            "the broker did not take them in time: the next start publishes them"
        );
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    info!(frames = summary.frames, published = summary.published, "source stopped");
    Ok(summary)
}

/// Has the spool forget runs of which the ledger knows how they ended.
fn settle_runs(state_dir: &Path, recovered: &Recovered, spool: &Spool) -> Result<(), SourceError> {
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
fn note_ended_runs(spool: &Spool, ledger: &mut Ledger) -> Result<(), SourceError> {
    for (run, drawn) in spool.ended_runs() {
        ledger.ended(run, now_ms(), drawn)?;
        spool.forget_run(run);
    }
    Ok(())
}

/// The tasks of a source.
struct Running {
    counters: Arc<Counters>,
    spool: Arc<Spool>,
    /// Stream and history.
    receivers: JoinSet<Result<(), SourceError>>,
    publishers: Publishers,
    /// Receivers end.
    stop: CancellationToken,
}

impl Running {
    fn start(
        settings: &Settings,
        spool: &Arc<Spool>,
        topic: TopicId,
        shutdown: &CancellationToken,
    ) -> Result<Self, SourceError> {
        let counters = Arc::new(Counters::default());
        let stop = shutdown.child_token();
        let cluster = Cluster { brokers: settings.brokers.as_slice().into() };
        let publishers = Publishers::start(spool, cluster, settings.linger);

        let mut receivers = JoinSet::new();
        let stream = Stream {
            url: settings.ws_url.to_string(),
            api_key: settings.api_key.clone(),
            subs: settings.subs.clone(),
            rules: settings.rules,
            spool: Arc::clone(spool),
            topic,
            counters: Arc::clone(&counters),
        };
        receivers.spawn(stream.run(stop.clone()));
        let jobs = history::jobs(&settings.subs, &settings.history, settings.history_limit);
        if !jobs.is_empty() {
            let fetcher = Fetcher::new(
                settings.rest_url.clone(),
                settings.api_key.clone(),
                settings.rules,
                (Arc::clone(spool), topic),
                Arc::clone(&counters),
            )?;
            receivers.spawn(fetcher.run(jobs, stop.clone()));
        }
        Ok(Running { counters, spool: Arc::clone(spool), receivers, publishers, stop })
    }

    /// Returns when it is time to stop, with the reason if it is an error.
    async fn watch(&mut self, run: u64, ledger: &mut Ledger) -> Result<(), SourceError> {
        let mut every = interval_at(Instant::now() + SUMMARY_EVERY, SUMMARY_EVERY);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                // The history ends by itself; the stream only when told to, or with an error.
                Some(ended) = self.receivers.join_next() => ended.map_err(broken)??,
                error = self.publishers.broken() => return Err(error),
                () = self.spool.news() => {
                    note_ended_runs(&self.spool, ledger)?;
                    for lost in self.spool.take_lost() {
                        warn!(?lost, "the spool is full: the oldest records went");
                    }
                    self.spool.lost_told();
                }
                _ = every.tick() => {
                    let now = self.counters.summary(run, self.spool.meter());
                    info!(
                        frames = now.frames,
                        bytes = now.bytes,
                        bodies = now.bodies,
                        published = now.published,
                        too_large = now.too_large,
                        reconnects = now.reconnects,
                        publish_retries = now.publish_retries,
                        waiting = self.spool.waiting(),
                        "so far"
                    );
                }
            }
        }
    }

    /// Ends every task: first who receives, then, when all they held is published or `deadline` is
    /// over, who publishes. Returns how many records wait in the spool.
    async fn drain(mut self, deadline: Duration) -> u64 {
        self.stop.cancel();
        let at = Instant::now() + deadline;
        let received =
            timeout(deadline, async { while self.receivers.join_next().await.is_some() {} });
        if received.await.is_err() {
            self.receivers.shutdown().await;
        }
        self.publishers.stop(at.saturating_duration_since(Instant::now())).await
    }
}

fn broken(error: JoinError) -> SourceError {
    SourceError::Internal(format!("a task broke: {error}"))
}
