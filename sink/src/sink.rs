//! The whole sink: finds the topics' partitions and keeps a pump for each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::{Client, ClientBuilder};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::database::Database;
use crate::decode::Feed;
use crate::error::SinkError;
use crate::fetch::KafkaLog;
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
    let database = Database::new(settings.database()?, settings.connections);
    info!("{settings}");
    let sink = Sink {
        broker: Arc::new(Outage::new(format!("the broker {}", settings.brokers.join(",")))),
        database: database.clone(),
        stats: Arc::clone(&stats),
        stop: stop.clone(),
        settings,
    };
    let mut pumps = JoinSet::new();
    let ended = tokio::select! {
        ended = sink.start(&mut pumps) => ended,
        () = stats.report() => Ok(()),
        () = stop.cancelled() => Ok(()),
    };
    stop.cancel(); // after an error, the other pumps end in good order too
    let drained = tokio::time::timeout(GRACE, async {
        while let Some(pump) = pumps.join_next().await {
            flatten(pump)?;
        }
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
        let mut running = BTreeSet::new();
        let mut missing = BTreeSet::new();
        loop {
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
                for partition in 0..found.partitions {
                    if running.insert((topic, partition)) {
                        let key = cluster_key(cluster.id.as_deref(), found.id);
                        let place = Place { cluster: key, topic: topic.to_owned(), partition };
                        pumps.spawn(self.pump(&cluster, place, feed).run());
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                Some(ended) = pumps.join_next() => flatten(ended)?,
            }
        }
    }

    fn pump(&self, cluster: &Cluster, place: Place, feed: Feed) -> Pump<KafkaLog> {
        Pump {
            log: KafkaLog::new(
                Arc::clone(&cluster.client),
                cluster.kafka.clone(),
                place.topic.clone(),
                place.partition,
                self.settings.fetch_bytes,
            ),
            writer: Writer::new(self.database.clone(), place, feed, Arc::clone(&self.stats)),
            broker: Arc::clone(&self.broker),
            stats: Arc::clone(&self.stats),
            stop: self.stop.clone(),
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

/// A pump's end: its own error, or the panic that took it down.
fn flatten(ended: Result<Result<(), SinkError>, tokio::task::JoinError>) -> Result<(), SinkError> {
    match ended {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Ok(()),
        Err(error) => Err(SinkError::Panic(error.to_string())),
    }
}
