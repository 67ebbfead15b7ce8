//! A source from start to stop: find the topic, start the tasks, watch them, drain them.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tickpanda_model::control::History;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::clock::now_ms;
use crate::counters::{Counters, Summary};
use crate::error::SourceError;
use crate::history::client::Client;
use crate::history::driver::{Driver, Out, Publish};
use crate::history::job::Job;
use crate::history::{self, driver};
use crate::ledger::Ledger;
use crate::machine::history as history_region;
use crate::outbox::{Burst, Outbox};
use crate::publish::Publisher;
use crate::rest::Headers;
use crate::settings::Settings;
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

    let broker = Broker { brokers: settings.brokers.clone(), topic: settings.raw_topic.clone() };
    let patience = settings.rules.topic_patience;
    let Some(partitions) = broker.wait_for_partitions(patience, &shutdown).await? else {
        return Ok(Summary { run, ..Summary::default() });
    };

    ledger.started(run, now_ms())?;
    let mut source = Running::start(run, &settings, &broker, &partitions, &shutdown)?;
    let failure = source.watch().await.err();
    let drawn = source.drain(settings.rules.drain).await;
    let summary = source.counters.summary(run);
    let unpublished = drawn.saturating_sub(summary.published);
    if unpublished == 0 {
        ledger.ended(run, now_ms(), summary.published)?;
    }
    match failure {
        Some(failure) => {
            if unpublished > 0 {
                warn!("{}", SourceError::Unpublished { count: unpublished });
            }
            Err(failure)
        }
        None if unpublished > 0 => Err(SourceError::Unpublished { count: unpublished }),
        None => {
            info!(frames = summary.frames, published = summary.published, "source stopped");
            Ok(summary)
        }
    }
}

/// The tasks of a source.
struct Running {
    run: u64,
    counters: Arc<Counters>,
    outbox: Arc<Outbox>,
    /// Stream and history.
    receivers: JoinSet<Result<(), SourceError>>,
    publishers: JoinSet<()>,
    /// Receivers end.
    stop: CancellationToken,
    /// Publishers give up what they hold.
    abandon: CancellationToken,
}

impl Running {
    fn start(
        run: u64,
        settings: &Settings,
        broker: &Broker,
        partitions: &[i32],
        shutdown: &CancellationToken,
    ) -> Result<Self, SourceError> {
        let counters = Arc::new(Counters::default());
        let (outbox, lanes) = Outbox::new(partitions.len(), settings.rules.queue_bytes);
        let outbox = Arc::new(outbox);
        let (stop, abandon) = (shutdown.child_token(), CancellationToken::new());

        let mut publishers = JoinSet::new();
        for (partition, lane) in partitions.iter().zip(lanes) {
            let publisher = Publisher {
                run,
                partition: *partition,
                broker: broker.clone(),
                linger: settings.linger,
                counters: Arc::clone(&counters),
                abandon: abandon.clone(),
            };
            publishers.spawn(publisher.run(lane));
        }

        let mut receivers = JoinSet::new();
        let stream = Stream {
            url: settings.ws_url.to_string(),
            api_key: settings.api_key.clone(),
            subs: settings.subs.clone(),
            rules: settings.rules,
            outbox: Arc::clone(&outbox),
            counters: Arc::clone(&counters),
        };
        receivers.spawn(stream.run(stop.clone()));
        let wanted = history::jobs(&settings.subs, &settings.history, settings.history_limit);
        if !wanted.is_empty() {
            let client = Client::new(settings.rest_url.clone(), settings.api_key.clone())?;
            let rules = history_region::Rules {
                retry: settings.rules.rest_retry,
                attempts: settings.rules.rest_attempts,
                ..history_region::Rules::default()
            };
            let region = history_region::Region::new(rules, None, now_ms());
            let to_outbox = ToOutbox {
                burst: Burst::new(&outbox),
                outbox: Arc::clone(&outbox),
                counters: Arc::clone(&counters),
            };
            let driver = Driver::new(region, client, to_outbox);
            receivers.spawn(fetch(driver, wanted, stop.clone()));
        }
        Ok(Running { run, counters, outbox, receivers, publishers, stop, abandon })
    }

    /// Returns when it is time to stop, with the reason if it is an error.
    async fn watch(&mut self) -> Result<(), SourceError> {
        let mut every = interval_at(Instant::now() + SUMMARY_EVERY, SUMMARY_EVERY);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                // The history ends by itself; the stream only when told to, or with an error.
                Some(ended) = self.receivers.join_next() => ended.map_err(broken)??,
                Some(ended) = self.publishers.join_next() => {
                    ended.map_err(broken)?;
                    return Err(SourceError::Internal("a publisher ended before its time".into()));
                }
                _ = every.tick() => {
                    let now = self.counters.summary(self.run);
                    info!(
                        frames = now.frames,
                        bytes = now.bytes,
                        bodies = now.bodies,
                        published = now.published,
                        too_large = now.too_large,
                        reconnects = now.reconnects,
                        publish_retries = now.publish_retries,
                        "so far"
                    );
                }
            }
        }
    }

    /// Ends every task: first who receives, then, when all they held is published or `deadline` is
    /// over, who publishes. Returns how many sequence numbers were drawn.
    async fn drain(&mut self, deadline: Duration) -> u64 {
        self.stop.cancel();
        let at = Instant::now() + deadline;
        let received =
            timeout(deadline, async { while self.receivers.join_next().await.is_some() {} });
        if received.await.is_err() {
            self.receivers.shutdown().await;
        }
        let drawn = self.outbox.drawn();
        // The last sender goes, so the lanes end once they are empty.
        self.outbox = Arc::new(Outbox::new(0, 0).0);
        let published = tokio::time::timeout_at(at, async {
            while self.publishers.join_next().await.is_some() {}
        });
        if published.await.is_err() {
            self.abandon.cancel();
            self.publishers.shutdown().await;
        }
        drawn
    }
}

/// Fetches what is wanted at the start.
async fn fetch(
    mut driver: Driver<ToOutbox>,
    wanted: Vec<History>,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let (sender, events) = mpsc::channel(wanted.len().max(1));
    for wanted in wanted {
        match Job::start_up(&wanted, now_ms()) {
            // There is room for all of them.
            Ok(job) => {
                let _ = sender.try_send(history_region::Event::FetchHistoricalData(Box::new(job)));
            }
            Err(problem) => warn!("{}: {problem}", crate::rest::key(&wanted)),
        }
    }
    drop(sender);
    let _: driver::Ended = driver.run(events, &stop).await;
    Ok(())
}

/// The history's way to the publishers.
struct ToOutbox {
    outbox: Arc<Outbox>,
    burst: Burst,
    counters: Arc<Counters>,
}

impl Publish for ToOutbox {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> Result<(), String> {
        let headers = Some(Box::new(headers));
        self.burst.push(&self.outbox, key.as_bytes(), body, received_at, headers);
        self.burst.take_counts();
        self.outbox.send(&mut self.burst).await.map_err(|error| error.to_string())?;
        self.counters.bodies.add(1);
        Ok(())
    }
}

impl Out for ToOutbox {
    async fn save(&mut self, _: &history_region::Region) -> Result<(), String> {
        Ok(())
    }

    async fn done(&mut self, _: &history_region::Done) {}
}

fn broken(error: JoinError) -> SourceError {
    SourceError::Internal(format!("a task broke: {error}"))
}
