//! The whole sink: finds the topics' partitions and keeps a pump for each.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::{Client, ClientBuilder};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::beside::Beside;
use crate::database::Database;
use crate::decode::Feed;
use crate::error::SinkError;
use crate::fetch::KafkaLog;
use crate::health::Health;
use crate::latest::Latest;
use crate::offsets::{Place, cluster_key};
use crate::outage::{Outage, wait};
use crate::pump::Pump;
use crate::settings::Settings;
use crate::stats::{Stats, Summary};
use crate::writer::Writer;

/// How soon a topic or partition that is created later is found.
const LOOK: Duration = Duration::from_secs(2);
/// How long a transaction that was begun may take once the sink is told to stop. What does not end
/// by then is rolled back, which loses nothing.
const GRACE: Duration = Duration::from_millis(700);

/// Runs the sink until `stop` is cancelled; ends at most a second after that.
///
/// Waits for brokers, topics and database that are away, for as long as they are.
///
/// # Errors
/// [`SinkError`] where waiting does not help: a wrong setting, a schema that is not ours, a missing
/// privilege.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<Summary, SinkError> {
    let stats = Arc::new(Stats::default());
    let database = Database::new(settings.database()?, settings.connections).counted(&stats);
    let broker = format!("the broker {}", settings.brokers.join(","));
    let broker = Arc::new(Outage::counted(broker, stats.retries("broker", "unavailable")));
    let (latest, cache) = Latest::new(&settings.redis, &stats)?;
    let (lag, at) = (settings.http.ready_lag(), settings.http.listen());
    let health = Health::new(database.clone(), Arc::clone(&broker), Arc::clone(&stats), lag);
    let health = Arc::new(health);
    // The port first: one that is taken ends the sink before it does anything.
    let mut beside = Beside::start(at, &health, cache, &stop).await?;
    info!("{settings}");
    let sink = Sink {
        broker,
        database: database.clone(),
        latest,
        stats: Arc::clone(&stats),
        stop: stop.clone(),
        settings,
    };
    let mut pumps = JoinSet::new();
    let ended = tokio::select! {
        ended = sink.start(&mut pumps) => ended,
        () = stats.report() => Ok(()),
        () = health.beat() => Ok(()),
        ended = beside.failed() => ended,
        () = stop.cancelled() => Ok(()),
    };
    stop.cancel(); // after an error, the other pumps end in good order too
    let drained = tokio::time::timeout(GRACE, async {
        while let Some(pump) = pumps.join_next().await {
            flatten(pump)?;
        }
        beside.end().await; // after the pumps: their last ticks are for the cache
        Ok(())
    });
    let drained = drained.await.unwrap_or(Ok(()));
    pumps.shutdown().await;
    database.close().await;
    ended.and(drained).map(|()| stats.summary())
}

/// What all parts of a run share.
struct Sink {
    settings: Settings,
    database: Database,
    broker: Arc<Outage>,
    latest: Latest,
    stats: Arc<Stats>,
    stop: CancellationToken,
}

/// The two clients of one cluster.
struct Cluster {
    client: Arc<Client>,
    kafka: tickpanda_kafka::Client,
    /// The cluster's id, where it has one.
    id: Option<String>,
}

impl Sink {
    /// Prepares the database, then starts a pump for every partition, also those that come later.
    /// Ends only with an error of a pump or of the database.
    async fn start(&self, pumps: &mut JoinSet<Result<(), SinkError>>) -> Result<(), SinkError> {
        info!("tables: {}", self.database.prepare().await?);
        let cluster = self.retry(|| self.connect()).await;
        let topics = [
            (self.settings.tick_topic.as_str(), Feed::Ticks),
            (self.settings.ohlcv_topic.as_str(), Feed::Candles),
            (self.settings.dead_letter_topic.as_str(), Feed::DeadLetters),
            (self.settings.gap_topic.as_str(), Feed::Gaps),
        ];
        let mut running = BTreeMap::<&str, Running>::new();
        let mut missing = BTreeSet::new();
        loop {
            // Each time: behind the same address there may be another cluster now.
            let id = self.retry(|| async {
                cluster.kafka.cluster().await.map_err(|error| error.to_string())
            });
            let id = id.await.id.or_else(|| cluster.id.clone());
            for (topic, feed) in topics {
                let found = self.retry(|| async {
                    cluster.kafka.topic(topic).await.map_err(|error| error.to_string())
                });
                let Some(found) = found.await else {
                    if missing.insert(topic) {
                        warn!(
                            topic,
                            "the topic does not exist: looking for it every {} s",
                            LOOK.as_secs()
                        );
                    }
                    continue;
                };
                let key = cluster_key(id.as_deref(), found.id);
                let known = running.entry(topic).or_insert_with(|| Running::new(&key, &self.stop));
                if known.key != key {
                    warn!(topic, "the topic was made anew: reading it from its beginning");
                }
                for partition in known.note(&key, found.partitions, &self.stop) {
                    let cluster_key = key.clone();
                    let place = Place { cluster: cluster_key, topic: topic.to_owned(), partition };
                    pumps.spawn(self.pump(&cluster, place, feed, known.stop.clone()));
                }
            }
            let all = running.values().map(|topic| topic.partitions);
            self.stats.claimed(all.filter_map(|known| usize::try_from(known).ok()).sum());
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                Some(ended) = pumps.join_next() => flatten(ended)?,
            }
        }
    }

    /// The work on one partition, until `stop`.
    fn pump(
        &self,
        cluster: &Cluster,
        place: Place,
        feed: Feed,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), SinkError>> + use<> {
        let (stats, gone) = (Arc::clone(&self.stats), place.clone());
        let pump = Pump {
            log: KafkaLog::new(
                Arc::clone(&cluster.client),
                cluster.kafka.clone(),
                place.topic.clone(),
                place.partition,
                self.settings.fetch_bytes,
            ),
            writer: Writer::new(self.database.clone(), place, feed, Arc::clone(&self.stats))
                .offering(self.latest.clone()),
            broker: Arc::clone(&self.broker),
            stats: Arc::clone(&self.stats),
            stop,
        };
        async move {
            let ended = pump.run().await;
            stats.gone(&gone);
            ended
        }
    }

    async fn connect(&self) -> Result<Cluster, String> {
        let brokers = self.settings.brokers.clone();
        let config = tickpanda_kafka::ClientConfig {
            client_id: "tickpanda-sink".to_owned(),
            retry_for: Duration::ZERO, // waiting is done here, and logged once
            ..tickpanda_kafka::ClientConfig::default()
        };
        let kafka = tickpanda_kafka::Client::connect(&brokers, config).await;
        let kafka = kafka.map_err(|error| error.to_string())?;
        let id = kafka.cluster().await.map_err(|error| error.to_string())?.id;
        // rskafka's own backoff grows to minutes and never ends: it is kept short, and the pump's
        // takes over.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
            deadline: Some(Duration::from_millis(500)),
        };
        let client =
            ClientBuilder::new(brokers).client_id("tickpanda-sink").backoff_config(backoff);
        let client = client.build().await.map_err(|error| error.to_string())?;
        Ok(Cluster { client: Arc::new(client), kafka, id })
    }

    /// Repeats work on the broker until it succeeds.
    async fn retry<T>(&self, mut work: impl AsyncFnMut() -> Result<T, String>) -> T {
        let mut attempt = 0u32;
        loop {
            match work().await {
                Ok(done) => {
                    self.broker.served();
                    return done;
                }
                Err(error) => self.broker.failed(&error),
            }
            wait(attempt).await;
            attempt = attempt.saturating_add(1);
        }
    }
}

/// The pumps of one topic.
struct Running {
    /// The topic's [`cluster_key`]: another one is another topic, whatever its name.
    key: String,
    /// Partitions that have a pump.
    partitions: i32,
    stop: CancellationToken,
}

impl Running {
    fn new(key: &str, stop: &CancellationToken) -> Self {
        Running { key: key.to_owned(), partitions: 0, stop: stop.child_token() }
    }

    /// Takes note of the topic as it is now, and returns the partitions that want a pump. Where it is
    /// another topic than before, the pumps of that one are stopped: they would read it from offsets
    /// that are not its own.
    fn note(&mut self, key: &str, partitions: i32, stop: &CancellationToken) -> Range<i32> {
        if self.key != key {
            self.stop.cancel();
            *self = Running::new(key, stop);
        }
        let first = self.partitions;
        self.partitions = first.max(partitions);
        first..self.partitions
    }
}

/// A pump's end: its own error, or the panic that took it down.
fn flatten(ended: Result<Result<(), SinkError>, tokio::task::JoinError>) -> Result<(), SinkError> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(SinkError::Panic(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_was_made_anew_gets_new_pumps_and_the_old_ones_stop() {
        let all = CancellationToken::new();
        let mut topic = Running::new("c/1", &all);
        assert_eq!(topic.note("c/1", 3, &all), 0..3);
        assert!(topic.note("c/1", 3, &all).is_empty());
        assert_eq!(topic.note("c/1", 5, &all), 3..5, "partitions that were added");
        let old = topic.stop.clone();
        assert!(!old.is_cancelled());
        assert_eq!(topic.note("c/2", 4, &all), 0..4);
        assert!(old.is_cancelled() && !topic.stop.is_cancelled());
        all.cancel();
        assert!(topic.stop.is_cancelled(), "the whole sink stops");
    }
}
