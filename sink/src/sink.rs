//! The whole sink: looks what there is, claims its share of it, and keeps a pump for each partition that
//! it holds.
//!
//! ```text
//!  every second:  broker ─▶ View ─▶ Claims ─▶ Round ─▶ Pumps
//! ```

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use rskafka::BackoffConfig;
use rskafka::client::{Client, ClientBuilder, Credentials, SaslConfig};
use tickpanda_kafka::{Brokers, Mechanism, Security};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::beside::Beside;
use crate::caught_up::{self, Goal};
use crate::claims::Claims;
use crate::database::Database;
use crate::decode::Feed;
use crate::error::SinkError;
use crate::fetch::KafkaLog;
use crate::health::Health;
use crate::latest::Latest;
use crate::offsets::Place;
use crate::outage::{Outage, wait};
use crate::pump::Pump;
use crate::pumps::Pumps;
use crate::settings::Settings;
use crate::stats::{Stats, Summary};
use crate::view::View;
use crate::writer::Writer;

/// How soon a sink that comes or goes, and a topic or partition that is new, is noticed.
const EVERY: Duration = Duration::from_secs(1);
/// How long a look at the broker may hold up a round: claims end with five silent seconds.
const LOOK: Duration = Duration::from_secs(2);
/// How long one broker may take to accept a connection: the next one is asked within [`LOOK`].
const CONNECT: Duration = Duration::from_millis(700);
/// A sink that has not seen the broker for so long leaves its partitions to sinks that may.
const GIVE_UP: Duration = Duration::from_secs(10);
/// How long a transaction that was begun may take once the sink is told to stop. What does not end
/// by then is rolled back, which loses nothing.
const GRACE: Duration = Duration::from_millis(700);

/// Runs the sink until `stop` is cancelled, or with `until_caught_up` until that is reached; ends at most
/// a second after that.
///
/// Waits for brokers, topics and database that are away, for as long as they are.
///
/// # Errors
/// [`SinkError`] where waiting does not help: a wrong setting, a schema that is not ours, a missing
/// privilege; or that it was stopped before it had caught up.
pub async fn run(settings: Settings, stop: CancellationToken) -> Result<Summary, SinkError> {
    let stats = Arc::new(Stats::default());
    let options = settings.database()?;
    let brokers = settings.brokers()?;
    let database = Database::new(options.clone(), settings.connections).counted(&stats);
    let broker = format!("the broker {brokers}");
    let broker = Arc::new(Outage::counted(broker, stats.retries("broker", "unavailable")));
    let (latest, cache) = Latest::new(&settings.redis, &stats)?;
    let (lag, at) = (settings.http.ready_lag(), settings.http.listen());
    let health = Health::new(database.clone(), Arc::clone(&broker), Arc::clone(&stats), lag);
    let health = Arc::new(health);
    // The port first: one that is taken ends the sink before it does anything.
    let mut beside = Beside::start(at, &health, cache, &stop).await?;
    info!("{settings}; {}", brokers.security);
    let sink = Sink {
        brokers,
        broker,
        database: database.clone(),
        latest,
        stats: Arc::clone(&stats),
        settings,
    };
    let mut claims = Claims::new(&options);
    let mut pumps = Pumps::new(stop.child_token());
    let ended = tokio::select! {
        ended = sink.work(&mut claims, &mut pumps) => ended,
        () = stats.report() => Ok(()),
        () = health.beat() => Ok(()),
        ended = beside.failed() => ended,
        () = stop.cancelled() => match sink.settings.until_caught_up {
            true => Err(SinkError::Stopped),
            false => Ok(()),
        },
    };
    stop.cancel(); // the pumps end in good order in any case
    let drained = tokio::time::timeout(GRACE, async {
        pumps.drain().await?;
        beside.end().await; // after the pumps: their last ticks are for the cache
        Ok(())
    });
    let drained = drained.await.unwrap_or(Ok(()));
    pumps.abort().await;
    // Last: as a rule nobody begins with a partition that is still being written.
    claims.withdraw().await;
    database.close().await;
    ended.and(drained).map(|()| stats.summary())
}

/// What all parts of a run share.
struct Sink {
    settings: Settings,
    brokers: Brokers,
    database: Database,
    broker: Arc<Outage>,
    latest: Latest,
    stats: Arc<Stats>,
}

/// The two clients of one cluster.
struct Cluster {
    client: Arc<Client>,
    kafka: tickpanda_kafka::Client,
}

impl Sink {
    /// Prepares the database, then works on what there is. Ends with an error, or when it has caught up
    /// and should end then.
    async fn work(&self, claims: &mut Claims, pumps: &mut Pumps) -> Result<(), SinkError> {
        info!("tables: {}", self.database.prepare().await?);
        let cluster = self.connected().await?;
        let view = self.retry(|| View::look(&cluster.kafka, &self.settings)).await;
        view.tell_from(&View::default());
        if !self.settings.until_caught_up {
            return self.share(&cluster, view, claims, pumps).await;
        }
        // The table first: what it says can't be more than what the broker has a moment later.
        let clusters = view.places.keys().map(|place| place.cluster.clone()).collect::<Vec<_>>();
        let mut patience = self.database.patience("read sink_offsets");
        let written = loop {
            let tried = caught_up::written(self.database.pool(), &clusters).await;
            if let Some(written) = patience.judge(tried).await? {
                break written;
            }
        };
        let goal = self.retry(|| Goal::set(&cluster.kafka, &view, &written)).await;
        tokio::select! {
            ended = self.share(&cluster, view, claims, pumps) => ended,
            () = goal.reached(self.database.pool()) => Ok(()),
        }
    }

    /// Shares the partitions with the other sinks, for ever.
    async fn share(
        &self,
        cluster: &Cluster,
        mut view: View,
        claims: &mut Claims,
        pumps: &mut Pumps,
    ) -> Result<(), SinkError> {
        let mut held = BTreeSet::new();
        loop {
            self.round(&view, claims, pumps, &mut held).await?;
            pumps.settle(&held, |place, stop| self.pump(cluster, &view, place, stop));
            let next = tokio::time::sleep(EVERY);
            tokio::pin!(next);
            loop {
                tokio::select! {
                    () = &mut next => break,
                    ended = pumps.ended() => {
                        let place = ended?;
                        self.stats.gone(&place);
                        // Whoever gets it now should not wait for our next round.
                        if let Err(error) = claims.release(&place).await {
                            self.database.failed("give up a claim", error)?;
                        }
                    }
                }
            }
            let look = View::look(&cluster.kafka, &self.settings);
            match tokio::time::timeout(LOOK, look).await {
                Ok(Ok(now)) => {
                    self.broker.served();
                    now.tell_from(&view);
                    view = now;
                }
                Ok(Err(error)) if error.is_denied() => self.broker.refused(&error),
                Ok(Err(error)) => self.broker.failed(&error),
                Err(_) => self.broker.failed(&format!("no answer in {} s", LOOK.as_secs())),
            }
        }
    }

    /// One round of claims: what is this sink's from now on. While the database does not answer,
    /// everything stays as it is: the offsets' fence holds without claims.
    async fn round(
        &self,
        view: &View,
        claims: &mut Claims,
        pumps: &Pumps,
        held: &mut BTreeSet<Place>,
    ) -> Result<(), SinkError> {
        if self.broker.lasts().is_some_and(|lasts| lasts > GIVE_UP) {
            if !held.is_empty() {
                info!("leaving {} partitions to sinks that see the broker", held.len());
            }
            held.clear();
            self.stats.claimed(0);
            claims.withdraw().await;
            return Ok(());
        }
        let places = view.places.keys().cloned().collect();
        let round = match claims.round(&view.group, &places).await {
            Ok(round) => round,
            Err(error) => return self.database.failed("claim partitions", error),
        };
        self.database.served();
        for place in round.lose.iter().filter(|place| !pumps.has(place)) {
            if let Err(error) = claims.release(place).await {
                self.database.failed("give up a claim", error)?;
            }
        }
        if *held != round.held {
            info!("holding {} of {} partitions", round.held.len(), view.places.len());
        }
        *held = round.held;
        self.stats.claimed(held.len());
        Ok(())
    }

    /// The work on one partition, until `stop`; `None` where the view does not know it.
    fn pump(
        &self,
        cluster: &Cluster,
        view: &View,
        place: &Place,
        stop: CancellationToken,
    ) -> Option<impl Future<Output = Result<(), SinkError>> + use<>> {
        let feed: Feed = *view.places.get(place)?;
        let log = KafkaLog::new(
            Arc::clone(&cluster.client),
            cluster.kafka.clone(),
            place.topic.clone(),
            place.partition,
            self.settings.gap_topic(),
            self.settings.fetch_bytes,
        );
        let database = self.database.for_another();
        let writer = Writer::new(database, place.clone(), feed, Arc::clone(&self.stats))
            .offering(self.latest.clone());
        let broker = Arc::new(Outage::clone(&self.broker));
        let pump = Pump::new(log, writer, broker, Arc::clone(&self.stats), stop);
        Some(pump.run())
    }

    /// The cluster, when it can be had.
    ///
    /// # Errors
    /// [`SinkError::Denied`]: nobody has seen this work, so whoever starts it should know now. Later the
    /// same is waited for as everything is.
    async fn connected(&self) -> Result<Cluster, SinkError> {
        self.retry(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Result<Cluster, SinkError>, String> {
        let Brokers { addresses, security } = &self.brokers;
        let config = tickpanda_kafka::ClientConfig {
            client_id: "tickpanda-sink".to_owned(),
            retry_for: Duration::ZERO, // waiting is done here, and logged once
            connect_timeout: CONNECT,
            security: security.clone(),
            ..tickpanda_kafka::ClientConfig::default()
        };
        let kafka = match tickpanda_kafka::Client::connect(addresses, config).await {
            Err(error) if error.is_denied() => {
                return Ok(Err(SinkError::Denied(error.to_string())));
            }
            kafka => kafka.map_err(|error| error.to_string())?,
        };
        // rskafka's own backoff grows to minutes and never ends: it is kept short, and the pump's
        // takes over.
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_millis(500),
            base: 2.0,
            deadline: Some(Duration::from_millis(500)),
        };
        let client = ClientBuilder::new(addresses.clone());
        let client = secured(client.client_id("tickpanda-sink").backoff_config(backoff), security);
        let client = client.build().await.map_err(|error| error.to_string())?;
        Ok(Ok(Cluster { client: Arc::new(client), kafka }))
    }

    /// Repeats work on the broker until it succeeds.
    async fn retry<T, E: Display>(&self, mut work: impl AsyncFnMut() -> Result<T, E>) -> T {
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

/// The same security for rskafka.
fn secured(mut client: ClientBuilder, security: &Security) -> ClientBuilder {
    if let Some(tls) = &security.tls {
        client = client.tls_config(Arc::clone(tls));
    }
    if let Some(sasl) = &security.sasl {
        let credentials = Credentials::new(sasl.username.clone(), sasl.password.clone());
        client = client.sasl_config(match sasl.mechanism {
            Mechanism::Plain => SaslConfig::Plain(credentials),
            Mechanism::ScramSha256 => SaslConfig::ScramSha256(credentials),
            Mechanism::ScramSha512 => SaslConfig::ScramSha512(credentials),
        });
    }
    client
}
