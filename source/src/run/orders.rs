//! What operators' commands ask for, done: subs on their sockets and to their topics, history, topics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tickpanda_kafka::Brokers;
use tickpanda_model::control::Reply;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::allocation::Allocation;
use crate::clock::now_ms;
use crate::control::{self, Base, Effect, Event, Handle, KafkaLog, Task, Verdict};
use crate::driver::Driver;
use crate::error::SourceError;
use crate::gaps::Notice;
use crate::history::job::{Asker, Job};
use crate::machine::{self, history, streaming, topics};
use crate::routes::Routes;
use crate::settings::{Settings, Topics};
use crate::spool::{Burst, Spool, TopicId};
use crate::stream::SubAnswer;
use crate::sub::Sub;

/// How often the topic of gaps is tried again.
const ENSURE_AGAIN: Duration = Duration::from_secs(5);

/// What the source knows of itself before any command.
pub(super) fn base(settings: &Settings) -> Base {
    Base {
        name: settings.name.clone(),
        raw_topic: settings.raw_topic.clone(),
        subs: settings.subs.clone(),
        reserved: settings.topics.reserved(),
        capacity: settings.capacity,
    }
}

/// Which sub is on which socket, and goes to which topics.
pub(super) struct Desk {
    allocation: Allocation,
    spool: Arc<Spool>,
    /// Names of raw topics, and what the spool calls them.
    topics: BTreeMap<String, TopicId>,
    raw: TopicId,
    /// Of the raw topic; others have as many when they are made.
    partitions: Vec<i32>,
    /// Of topics that have lanes in the spool.
    known: BTreeMap<String, Vec<i32>>,
    wanted: BTreeMap<Sub, BTreeSet<TopicId>>,
}

impl Desk {
    pub(super) fn new(
        settings: &Settings,
        spool: &Arc<Spool>,
        raw: TopicId,
        partitions: Vec<i32>,
        known: BTreeMap<String, Vec<i32>>,
    ) -> Self {
        let sockets = settings.api_keys.len() * settings.sockets;
        Desk {
            allocation: Allocation::new(sockets, settings.subs_per_socket),
            spool: Arc::clone(spool),
            topics: [(settings.raw_topic.clone(), raw)].into(),
            raw,
            partitions,
            known,
            wanted: BTreeMap::new(),
        }
    }

    /// These are wanted from now on: where frames go, and which subs go nowhere, because the spool has no
    /// room for their topic, and why.
    pub(super) fn settle(
        &mut self,
        routes: &control::Routes,
    ) -> (Routes<TopicId>, BTreeMap<Sub, String>) {
        self.wanted.clear();
        let mut refused = BTreeMap::new();
        for (text, names) in routes {
            // Checked when it came in, by the same function.
            let Ok(sub) = Sub::parse(text) else { continue };
            let mut ids = BTreeSet::new();
            for name in names {
                match self.topic(name) {
                    Ok(id) => _ = ids.insert(id),
                    Err(error) => {
                        warn!(topic = name, %sub, "not published there: {error}");
                        refused.insert(sub.clone(), error.to_string());
                    }
                }
            }
            if !ids.is_empty() {
                self.wanted.insert(sub, ids);
            }
        }
        let left = self.allocation.want(self.wanted.keys());
        if !left.is_empty() {
            warn!(subs = left.len(), first = %left[0], "no socket has room for these subs");
        }
        (Routes::new(self.raw, &self.wanted), refused)
    }

    /// What the spool calls a raw topic.
    fn topic(&mut self, name: &str) -> Result<TopicId, SourceError> {
        if let Some(id) = self.topics.get(name) {
            return Ok(*id);
        }
        // One of an earlier run has what it had then; a new one was made like the raw topic.
        let partitions = self.known.get(name).unwrap_or(&self.partitions);
        let id = self.spool.topic(name, partitions, true)?;
        self.topics.insert(name.to_owned(), id);
        Ok(id)
    }

    pub(super) fn allocation(&self) -> &Allocation {
        &self.allocation
    }

    /// All that is wanted.
    pub(super) fn subs(&self) -> Vec<Sub> {
        self.wanted.keys().cloned().collect()
    }
}

/// Who does what commands ask for.
pub(super) struct Orders {
    pub(super) desk: Desk,
    pub(super) driver: Arc<Driver>,
    pub(super) routes: watch::Sender<Arc<Routes<TopicId>>>,
    pub(super) wishes: mpsc::Sender<history::Event>,
    pub(super) gaps: mpsc::UnboundedSender<Notice>,
    pub(super) handle: Handle,
}

impl Orders {
    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Subs { routes, ask } => self.subs(&routes, &ask),
            Effect::FetchHistoricalData { ticket, history } => {
                let asker = Asker::Command(ticket);
                let refused = match Job::new(asker, &history, now_ms()) {
                    Ok(job) => {
                        let event = history::Event::FetchHistoricalData(Box::new(job));
                        self.wishes
                            .try_send(event)
                            .err()
                            .map(|_| "too much history is asked for at once".to_owned())
                    }
                    Err(why) => Some(why),
                };
                if let Some(why) = refused {
                    self.handle.tell(Event::Done { ticket, outcome: Err(why) });
                }
            }
            Effect::CreateTopic { ticket, name } => {
                let event = topics::Event::CreateDynamicTopic { name, asked_by: ticket };
                self.driver.others(machine::Event::Topics(event));
            }
            Effect::Retry => self.driver.others(machine::Event::Retry),
        }
    }

    /// Other subs, or other topics for them.
    fn subs(&mut self, routes: &control::Routes, ask: &[String]) {
        let before = self.desk.allocation.clone();
        let (routes, refused) = self.desk.settle(routes);
        for (sub, why) in refused {
            let verdict = Verdict::Refused(why);
            self.handle.tell(Event::Vendor { sub: sub.to_string(), verdict });
        }
        // First where they go, then that they come.
        self.routes.send_replace(Arc::new(routes));
        let _ = self.gaps.send(Notice::Wanted(self.desk.subs(), now_ms()));
        let sockets = self.driver.look(|state| state.streaming.len());
        for socket in 0..sockets {
            let wanted = self.desk.allocation.of(socket);
            if wanted != before.of(socket) {
                let event = streaming::Event::Want(wanted.clone());
                self.driver.others(machine::Event::Streaming(socket, event));
            }
        }
        let mut again: BTreeMap<usize, Vec<Sub>> = BTreeMap::new();
        for text in ask {
            let Ok(sub) = Sub::parse(text) else { continue };
            let Some(socket) = self.desk.allocation.socket_of(&sub) else {
                let verdict = Verdict::Refused("no socket has room for it".to_owned());
                self.handle.tell(Event::Vendor { sub: text.clone(), verdict });
                continue;
            };
            let confirmed = self
                .driver
                .look(|state| state.streaming.get(socket).is_some_and(|region| region.is_on(&sub)));
            if confirmed {
                let verdict = Verdict::Confirmed;
                self.handle.tell(Event::Vendor { sub: text.clone(), verdict });
            } else {
                again.entry(socket).or_default().push(sub);
            }
        }
        for (socket, subs) in again {
            let event = streaming::Event::Again(subs);
            self.driver.others(machine::Event::Streaming(socket, event));
        }
    }
}

/// Where no commands are taken, the topic of gaps is still ours to create.
async fn ensure_gap_topic(brokers: &Brokers, topics: &Topics, stop: &CancellationToken) {
    let mut said = false;
    loop {
        let ensured = async {
            let client = crate::topics::client(brokers, Duration::ZERO).await?;
            crate::topics::ensure(&client, topics, false).await
        };
        match stop.run_until_cancelled(ensured).await {
            None | Some(Ok(())) => return,
            Some(Err(error)) if !said && !error.is_transient() => {
                warn!("the topic of gaps can't be created: {error}");
                said = true;
            }
            Some(Err(_)) => {}
        }
        let _ = stop.run_until_cancelled(tokio::time::sleep(ENSURE_AGAIN)).await;
    }
}

/// Reads commands and does what they ask for.
pub(super) struct Control {
    task: Task,
    log: Option<KafkaLog>,
    spool: Arc<Spool>,
    burst: Burst,
    replies: TopicId,
    orders: Orders,
    effects: mpsc::Receiver<Effect>,
    answers: mpsc::UnboundedReceiver<SubAnswer>,
    brokers: Brokers,
    topics: Topics,
}

pub(super) fn run_control(
    settings: &Settings,
    spool: &Arc<Spool>,
    task: Task,
    orders: Orders,
    effects: mpsc::Receiver<Effect>,
    answers: mpsc::UnboundedReceiver<SubAnswer>,
) -> Result<Control, SourceError> {
    let replies = spool.topic(&settings.topics.replies, &[0], false)?;
    let log = KafkaLog::new(settings.brokers.clone(), settings.topics.clone());
    let log = settings.control.then_some(log);
    let (burst, spool) = (Burst::new(spool), Arc::clone(spool));
    let (brokers, topics) = (settings.brokers.clone(), settings.topics.clone());
    Ok(Control { task, log, spool, burst, replies, orders, effects, answers, brokers, topics })
}

impl Control {
    /// Works until told to stop.
    pub(super) async fn run(self, stop: CancellationToken) -> Result<(), SourceError> {
        let Control { task, log, spool, mut burst, replies, mut orders, .. } = self;
        let (mut effects, mut answers) = (self.effects, self.answers);
        let (brokers, topics) = (self.brokers, self.topics);
        let hand_over = move |reply: &Reply| {
            let value = serde_json::to_vec(reply).map_err(|error| error.to_string())?;
            let key = reply.id.as_deref().unwrap_or_default();
            // What a disk that refused has left in it is this very reply.
            if burst.counts().0 == 0 {
                burst.push(replies, key.as_bytes(), &value, now_ms(), None);
            }
            spool.try_append(&mut burst).map_err(|error| error.to_string())?;
            burst.take_counts();
            Ok(())
        };
        let commands = async {
            match log {
                Some(log) => task.run(log, hand_over, stop.clone()).await,
                None => {
                    drop(task); // so that nobody waits for it
                    ensure_gap_topic(&brokers, &topics, &stop).await;
                    stop.cancelled().await;
                }
            }
        };
        let handle = orders.handle.clone();
        let executing = async {
            loop {
                tokio::select! {
                    Some(effect) = effects.recv() => orders.execute(effect),
                    Some(SubAnswer { sub, refused }) = answers.recv() => {
                        let verdict = refused.map_or(Verdict::Confirmed, Verdict::Refused);
                        handle.tell(Event::Vendor { sub: sub.to_string(), verdict });
                    }
                    () = stop.cancelled() => return,
                }
            }
        };
        tokio::join!(commands, executing);
        Ok(())
    }
}
