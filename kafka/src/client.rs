//! [`Client`]: which brokers there are, connections to them, who leads what, and retries.
//!
//! Connections are pooled by address and taken out for one call each, so that a long poll holds up
//! nobody, no lock is held over a call, and a call that is dropped half-way takes its connection along.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use crate::api::Api;
use crate::connection::Connection;
use crate::error::{KafkaError, Result, check};
use crate::security::Security;

/// Connections kept for reuse, per broker. More are opened when needed and closed after use, which with
/// TLS and SCRAM costs more than a hundred calls: so many that who works on many partitions keeps his.
const MAX_IDLE: usize = 32;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How a [`Client`] behaves.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// What brokers show in their logs and metrics.
    pub client_id: String,
    /// The longest wait for a TCP connection.
    pub connect_timeout: Duration,
    /// The longest wait for an answer; a read waits its `max_wait` longer.
    pub request_timeout: Duration,
    /// How long a call is repeated while its errors are transient.
    pub retry_for: Duration,
    /// TLS, and who we are.
    pub security: Security,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            client_id: "tickpanda".to_owned(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            retry_for: Duration::from_secs(15),
            security: Security::default(),
        }
    }
}

/// A client of one cluster. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ClientConfig,
    bootstrap: Vec<String>,
    /// The brokers that the cluster last named: they may be up when the bootstrap ones are not.
    learned: Mutex<Vec<String>>,
    idle: Mutex<HashMap<String, Vec<Connection>>>,
    /// Leaders' addresses by partition, for reading: forgotten when a read of the topic fails.
    leaders: Mutex<HashMap<String, Arc<BTreeMap<i32, String>>>>,
}

/// An answer and who gave it (`host:port`), for errors about what it says.
pub(crate) struct Answer<T> {
    pub(crate) broker: String,
    pub(crate) body: T,
}

impl Client {
    /// Connects to the first of `brokers` (`host:port` each) that answers.
    ///
    /// # Errors
    ///
    /// [`KafkaError::NoBroker`] when none does: it tries each once and does not wait for a cluster to
    /// come up.
    pub async fn connect(brokers: &[String], config: ClientConfig) -> Result<Self> {
        let client = Self {
            shared: Arc::new(Shared {
                config,
                bootstrap: brokers.to_vec(),
                learned: Mutex::default(),
                idle: Mutex::default(),
                leaders: Mutex::default(),
            }),
        };
        client.metadata(&[]).await?;
        Ok(client)
    }

    pub(crate) fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Calls one broker, waiting `extra` longer than usual.
    pub(crate) async fn call<R: Api>(
        &self,
        broker: &str,
        request: &R,
        extra: Duration,
    ) -> Result<R::Response> {
        let within = self.config().request_timeout.saturating_add(extra);
        let pooled = self.pooled(broker);
        if let Some(mut connection) = pooled {
            match connection.call(request, within).await {
                Ok(answer) => return Ok(self.put_back(broker, connection, answer)),
                // Brokers close idle connections and restart: what was pooled says nothing about
                // now. Every request here may be sent twice.
                Err(KafkaError::Lost { .. }) => drop(lock(&self.shared.idle).remove(broker)),
                Err(error) => return Err(error),
            }
        }
        let mut connection = Connection::open(broker, self.config()).await?;
        let answer = connection.call(request, within).await?;
        Ok(self.put_back(broker, connection, answer))
    }

    /// A connection that was used before and may be used again.
    fn pooled(&self, broker: &str) -> Option<Connection> {
        let now = Instant::now();
        let mut idle = lock(&self.shared.idle);
        let connections = idle.get_mut(broker)?;
        connections.retain(|connection| connection.is_fresh(now));
        connections.pop()
    }

    /// Closes the connections that wait for use. What is called next goes over a new one, so it is sent
    /// once: a connection that had been idle may turn out to be closed, and then a call is sent again.
    pub fn close_idle(&self) {
        lock(&self.shared.idle).clear();
    }

    fn put_back<T>(&self, broker: &str, connection: Connection, answer: T) -> T {
        let mut idle = lock(&self.shared.idle);
        let connections = idle.entry(broker.to_owned()).or_default();
        if connections.len() < MAX_IDLE {
            connections.push(connection);
        }
        answer
    }

    /// Calls whichever broker answers first, in order.
    pub(crate) async fn call_any<R: Api>(&self, request: &R) -> Result<Answer<R::Response>> {
        let mut brokers = self.shared.bootstrap.clone();
        let learned = lock(&self.shared.learned).clone();
        brokers.extend(learned.into_iter().filter(|b| !self.shared.bootstrap.contains(b)));
        let mut last = KafkaError::NoBootstrap;
        for broker in brokers {
            match self.call(&broker, request, Duration::ZERO).await {
                Ok(body) => return Ok(Answer { broker, body }),
                Err(error) => {
                    tracing::debug!(%error, "broker passed over");
                    last = error;
                }
            }
        }
        Err(match last {
            // It has answered: that it won't have us.
            last @ (KafkaError::NoBootstrap | KafkaError::Tls { .. } | KafkaError::Sasl { .. }) => {
                last
            }
            last => KafkaError::NoBroker { last: Box::new(last) },
        })
    }

    /// The cluster, and those of `topics` that exist or have an error.
    pub(crate) async fn metadata(&self, topics: &[&str]) -> Result<Answer<MetadataResponse>> {
        let topics = topics
            .iter()
            .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))))
            .collect();
        let request = MetadataRequest::default()
            .with_topics(Some(topics))
            .with_allow_auto_topic_creation(false);
        let answer = self.call_any(&request).await?;
        *lock(&self.shared.learned) = answer.body.brokers.iter().map(address).collect();
        Ok(answer)
    }

    /// One topic's metadata; `None` when it does not exist.
    pub(crate) async fn topic_metadata(
        &self,
        topic: &str,
    ) -> Result<Option<(Answer<MetadataResponse>, MetadataResponseTopic)>> {
        let mut answer = self.metadata(&[topic]).await?;
        let found = answer.body.topics.pop().ok_or_else(|| KafkaError::Malformed {
            broker: answer.broker.clone(),
            api: MetadataRequest::NAME,
            reason: format!("topic {topic} is not in it"),
        })?;
        if found.error_code == ResponseError::UnknownTopicOrPartition.code() {
            return Ok(None);
        }
        check(&answer.broker, MetadataRequest::NAME, found.error_code, None, || {
            format!("topic {topic}")
        })?;
        Ok(Some((answer, found)))
    }

    /// The leader's address of every partition of `topic`.
    ///
    /// # Errors
    ///
    /// Transient while a partition has no leader.
    pub(crate) async fn leaders(&self, topic: &str) -> Result<BTreeMap<i32, String>> {
        let (answer, found) = self
            .topic_metadata(topic)
            .await?
            .ok_or_else(|| KafkaError::UnknownTopic { topic: topic.to_owned() })?;
        let leader = |partition: i32, id| {
            let broker = answer.body.brokers.iter().find(|broker| broker.node_id == id);
            let broker = broker.ok_or_else(|| KafkaError::Refused {
                broker: answer.broker.clone(),
                api: MetadataRequest::NAME,
                what: format!("{topic}/{partition}"),
                error: ResponseError::LeaderNotAvailable,
                message: None,
            })?;
            Ok((partition, address(broker)))
        };
        found.partitions.iter().map(|p| leader(p.partition_index, p.leader_id)).collect()
    }

    /// The leader's address (`host:port`) of one partition, from memory where possible: for who talks to it
    /// in a way that this client does not.
    ///
    /// # Errors
    ///
    /// [`KafkaError::UnknownTopic`], [`KafkaError::UnknownPartition`]; transient while it has no leader.
    pub async fn leader(&self, topic: &str, partition: i32) -> Result<String> {
        // A partition that is not known may have been added since.
        let known = lock(&self.shared.leaders)
            .get(topic)
            .filter(|leaders| leaders.contains_key(&partition))
            .map(Arc::clone);
        let leaders = match known {
            Some(leaders) => leaders,
            None => {
                let leaders = Arc::new(self.leaders(topic).await?);
                lock(&self.shared.leaders).insert(topic.to_owned(), Arc::clone(&leaders));
                leaders
            }
        };
        leaders
            .get(&partition)
            .cloned()
            .ok_or_else(|| KafkaError::UnknownPartition { topic: topic.to_owned(), partition })
    }

    /// Has the leaders of a topic looked up again: one of them has refused or gone.
    pub fn forget_leaders(&self, topic: &str) {
        lock(&self.shared.leaders).remove(topic);
    }

    /// Repeats `call` while its error is transient, with growing pauses, for `retry_for` at most.
    pub(crate) async fn retrying<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut pauses = Pauses::until(Instant::now() + self.config().retry_for);
        loop {
            let error = match call().await {
                Err(error) if error.is_transient() => error,
                done => return done,
            };
            let Some(pause) = pauses.next(Instant::now()) else { return Err(error) };
            tracing::debug!(%error, ?pause, "trying again");
            tokio::time::sleep(pause).await;
        }
    }
}

/// Pauses between attempts: each twice the one before, up to [`LONGEST_PAUSE`].
struct Pauses {
    deadline: Instant,
    pause: Duration,
}

impl Pauses {
    fn until(deadline: Instant) -> Self {
        Self { deadline, pause: FIRST_PAUSE }
    }

    /// The next pause; `None` when it would end after the deadline.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (now + pause < self.deadline).then_some(pause)
    }
}

/// `host:port` of a broker as the cluster names it.
pub(crate) fn address(
    broker: &kafka_protocol::messages::metadata_response::MetadataResponseBroker,
) -> String {
    host_port(&broker.host, broker.port)
}

/// `host:port`, with brackets around an IPv6 address.
pub(crate) fn host_port(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

pub(crate) fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

/// A panic elsewhere while a lock was held leaves only caches behind, which stay usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline(retry_for: Duration) -> Client {
        Client {
            shared: Arc::new(Shared {
                config: ClientConfig { retry_for, ..ClientConfig::default() },
                bootstrap: Vec::new(),
                learned: Mutex::default(),
                idle: Mutex::default(),
                leaders: Mutex::default(),
            }),
        }
    }

    fn refusal(error: ResponseError) -> Result<()> {
        check("b:1", "Fetch", error.code(), None, String::new)
    }

    #[test]
    fn pauses_grow_to_a_second_and_end_before_the_deadline() {
        let start = Instant::now();
        let mut pauses = Pauses::until(start + Duration::from_secs(4));
        let (mut now, mut taken) = (start, Vec::new());
        while let Some(pause) = pauses.next(now) {
            now += pause;
            taken.push(pause.as_millis());
        }
        assert_eq!(taken, [50, 100, 200, 400, 800, 1000, 1000]);
    }

    #[tokio::test]
    async fn transient_errors_are_retried_until_one_call_succeeds() {
        let (client, mut calls) = (offline(Duration::from_secs(10)), 0);
        let result = client.retrying(|| {
            calls += 1;
            let done = calls == 3;
            async move { if done { Ok(()) } else { refusal(ResponseError::NotLeaderOrFollower) } }
        });
        assert!(result.await.is_ok());
        assert_eq!(calls, 3);
    }

    #[tokio::test]
    async fn permanent_errors_are_not_retried() {
        let (client, mut calls) = (offline(Duration::from_secs(10)), 0);
        let result = client.retrying(|| {
            calls += 1;
            async { refusal(ResponseError::InvalidConfig) }
        });
        assert!(result.await.is_err());
        assert_eq!(calls, 1);
    }

    #[tokio::test]
    async fn without_brokers_the_error_says_so() {
        let error = Client::connect(&[], ClientConfig::default()).await.unwrap_err();
        assert!(matches!(error, KafkaError::NoBootstrap), "{error}");
    }

    #[tokio::test]
    async fn a_refused_connection_names_the_broker_and_is_transient() {
        // A port that was free a moment ago, with nobody listening.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap().to_string();
        drop(listener);
        let error = Client::connect(std::slice::from_ref(&broker), ClientConfig::default())
            .await
            .unwrap_err();
        assert!(error.to_string().contains(&broker), "{error}");
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn only_a_known_partitions_leader_is_taken_from_memory() {
        let client = offline(Duration::ZERO);
        let leaders = BTreeMap::from([(0, "b:1".to_owned())]);
        lock(&client.shared.leaders).insert("t".to_owned(), Arc::new(leaders));
        assert_eq!(client.leader("t", 0).await.unwrap(), "b:1");
        // Partitions can be added: the cluster is asked, which here is nobody.
        let error = client.leader("t", 1).await.unwrap_err();
        assert!(matches!(error, KafkaError::NoBootstrap), "{error}");
    }

    #[test]
    fn ipv6_hosts_get_brackets() {
        assert_eq!(host_port("::1", 9092), "[::1]:9092");
        assert_eq!(host_port("broker", 9092), "broker:9092");
    }

    /// Every call can be spawned on a runtime with several threads.
    #[test]
    fn futures_are_send() {
        fn send<T: Send>(_: T) {}
        let client = offline(Duration::ZERO);
        send(client.read("t", 0, 0, 1, Duration::ZERO));
        send(client.create_topics(&[]));
        send(client.committed_offsets("g", "t"));
        send(client.commit_offsets("g", "t", &[]));
        send(client.offsets("t", crate::At::Latest));
    }
}
