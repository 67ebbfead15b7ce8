//! The place on the input topic, kept on the cluster as a group's offsets.
//!
//! A group without members: nobody divides the partitions, and two runners of one name repeat each
//! other's work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tickpanda_host::processor::{Commits, PartitionCommit, Timing};
use tickpanda_kafka::{Client, Committed, KafkaError};
use tracing::warn;

use super::metadata;
use super::outage::{Caller, Outage};
use super::topics::Topics;

/// Brokers forget a group's offset some days after its last commit (Kafka: 7), also of a group that is
/// only idle. So all are committed again this often.
const REFRESH: Duration = Duration::from_secs(3600);
/// Where that failed, it is tried again so much later: it is not urgent.
const REFRESH_AGAIN: Duration = Duration::from_secs(60);

/// Offsets of all input partitions.
#[derive(Debug)]
pub(super) struct Offsets {
    client: Client,
    group: String,
    topic: String,
    /// The topic that each partition's offsets are of.
    topic_ids: Mutex<Vec<Option<String>>>,
    outputs: Vec<String>,
    /// Those of other partitions are another runner's to move.
    hosted: BTreeSet<i32>,
    commits: Mutex<Commits>,
    /// When all are to be committed again. Held over a commit: one at a time, so that none overtakes another.
    writing: tokio::sync::Mutex<Instant>,
    outage: Arc<Outage>,
    refusal: Mutex<Refusal>,
}

impl Offsets {
    pub(super) fn new(
        client: Client,
        name: &str,
        topics: &Topics,
        hosted: BTreeSet<i32>,
        timing: Timing,
        outage: Arc<Outage>,
    ) -> Self {
        let partitions = usize::try_from(topics.input_partitions).unwrap_or(0);
        Self {
            client,
            group: format!("tickpanda-transform.{name}"),
            topic: topics.input.clone(),
            topic_ids: Mutex::new(vec![topics.input_id.clone(); partitions]),
            outputs: topics.output_names().map(str::to_owned).collect(),
            hosted,
            commits: Mutex::new(Commits::new(timing, partitions, topics.outputs.len())),
            writing: tokio::sync::Mutex::new(Instant::now() + REFRESH),
            outage,
            refusal: Mutex::default(),
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        // Offsets that are each set in one step: whole after any panic.
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self) -> MutexGuard<'_, Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_ids(&self) -> MutexGuard<'_, Vec<Option<String>>> {
        self.topic_ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic_id(&self, partition: usize) -> Option<String> {
        self.topic_ids().get(partition).cloned().flatten()
    }

    /// All before `next` is acknowledged on an output topic.
    pub(super) fn written(&self, partition: usize, output: usize, next: i64) {
        self.commits().request(partition, output, next, Instant::now());
    }

    /// What is kept of a partition, once what is done is kept too; nothing where it never began.
    pub(super) async fn load(&self, partition: i32) -> Result<Option<Vec<i64>>, KafkaError> {
        self.flush().await?;
        let committed = self.client.committed(&self.group, &self.topic).await?;
        self.outage.served(Caller::Commits);
        let found = committed.iter().find(|committed| committed.partition == partition);
        let Some(Committed { next_offset, metadata, .. }) = found else { return Ok(None) };
        let outputs = self.outputs.iter().map(String::as_str);
        let topic_id = self.topic_id(index(partition));
        let outputs = metadata::decode(*next_offset, metadata, topic_id.as_deref(), outputs);
        let found = outputs.iter().copied().map(Some).collect();
        self.commits().found(&PartitionCommit { partition: index(partition), outputs: found });
        Ok(Some(outputs))
    }

    /// The partitions of which an offset is kept.
    pub(super) async fn known(&self) -> Result<BTreeSet<i32>, KafkaError> {
        let committed = self.client.committed(&self.group, &self.topic).await?;
        Ok(committed.into_iter().map(|committed| committed.partition).collect())
    }

    /// Partitions begin, or go on, at these offsets: kept at once and together.
    pub(super) async fn begin(&self, places: &BTreeMap<i32, i64>) -> Result<(), KafkaError> {
        for (partition, offset) in places {
            self.commits().skipped(index(*partition), *offset, Instant::now());
        }
        self.flush().await
    }

    /// Where a partition is of which nothing is kept any more; nothing where this run has not begun it.
    pub(super) fn done(&self, partition: i32) -> Option<i64> {
        self.commits().done(index(partition)).iter().copied().min().flatten()
    }

    /// The topic was created anew: a partition begins with its first record.
    pub(super) async fn begin_anew(
        &self,
        partition: i32,
        topic_id: &str,
    ) -> Result<(), KafkaError> {
        if let Some(of) = self.topic_ids().get_mut(index(partition)) {
            *of = Some(topic_id.to_owned());
        }
        self.begin(&BTreeMap::from([(partition, 0)])).await
    }

    /// Commits what is due, and all of it where the last time is long ago. A failure is logged here.
    pub(super) async fn flush_if_due(&self) {
        let due = self.commits().due().is_some_and(|due| due <= Instant::now());
        // What fails here is tried again at its time, and tried before any partition starts again.
        let flushed = if due { self.flush().await } else { Ok(()) };
        if flushed.is_ok() {
            self.refresh().await;
        }
    }

    async fn refresh(&self) {
        let mut due = self.writing.lock().await;
        if Instant::now() < *due {
            return;
        }
        let all: Vec<PartitionCommit> = {
            let commits = self.commits();
            let of = |partition| {
                let outputs = commits.of(partition).to_vec();
                PartitionCommit { partition, outputs }
            };
            let known = |commit: &PartitionCommit| commit.outputs.iter().all(Option::is_some);
            self.hosted.iter().copied().map(index).map(of).filter(known).collect()
        };
        let written = self.write(&all).await;
        *due = Instant::now() + if written.is_ok() { REFRESH } else { REFRESH_AGAIN };
    }

    async fn flush(&self) -> Result<(), KafkaError> {
        let _one_at_a_time = self.writing.lock().await;
        let taken = self.commits().take();
        self.write(&taken).await
    }

    /// Commits all that is done: for the end.
    pub(super) async fn flush_all(&self) -> Result<(), KafkaError> {
        let _one_at_a_time = self.writing.lock().await;
        let taken = self.commits().take_all();
        self.write(&taken).await
    }

    async fn write(&self, commits: &[PartitionCommit]) -> Result<(), KafkaError> {
        if commits.is_empty() {
            return Ok(());
        }
        let offsets: Vec<Committed> = commits.iter().map(|commit| self.committed(commit)).collect();
        let written = self.client.commit(&self.group, &self.topic, &offsets).await;
        match &written {
            Ok(()) => {
                self.commits().kept(commits);
                self.outage.served(Caller::Commits);
                self.refusal().over();
            }
            Err(error) => {
                self.commits().failed(commits, Instant::now());
                if error.is_denied() {
                    self.outage.refused(Caller::Commits, error);
                } else if error.is_transient() {
                    self.outage.failed(Caller::Commits, error);
                } else if self.refusal().is_news(error.to_string()) {
                    warn!(
                        "offsets were not committed, a restart now would repeat outputs: {error}"
                    );
                }
            }
        }
        written
    }

    fn committed(&self, commit: &PartitionCommit) -> Committed {
        let offsets = commit.outputs.iter().map(|next| next.unwrap_or(0));
        let outputs = self.outputs.iter().map(String::as_str).zip(offsets);
        let topic_id = self.topic_id(commit.partition);
        let (next_offset, metadata) = metadata::encode(topic_id.as_deref(), outputs);
        let partition = i32::try_from(commit.partition).unwrap_or(i32::MAX);
        Committed { partition, next_offset, metadata }
    }
}

/// The last refusal of a commit: it is tried again and again, and said once.
#[derive(Debug, Default)]
struct Refusal(Option<String>);

impl Refusal {
    fn is_news(&mut self, error: String) -> bool {
        let news = self.0.as_ref() != Some(&error);
        self.0 = Some(error);
        news
    }

    fn over(&mut self) {
        self.0 = None;
    }
}

/// Partitions have no negative numbers.
pub(super) fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::run::topics::OutputTopic;
    use tickpanda_broker::{Broker, BrokerConfig};
    use tickpanda_kafka::ClientConfig;

    #[tokio::test]
    async fn a_refresh_that_is_refused_waits_a_minute_and_leaves_other_runners_partitions_alone() {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
        broker.create_topic("in", 2, &[]).unwrap();
        let address = [broker.addr().to_string()];
        let client = Client::connect(&address, ClientConfig::default()).await.unwrap();
        let output = OutputTopic { name: "out".into(), partitions: 1, limit: 1_000 };
        let topics = Topics {
            input: "in".into(),
            input_partitions: 2,
            input_id: None,
            outputs: vec![output],
        };
        // The broker takes no name of more than 249 bytes.
        for (name, pause) in [("short".to_owned(), REFRESH), ("x".repeat(300), REFRESH_AGAIN)] {
            let (hosted, outage) = (BTreeSet::from([0]), Arc::new(Outage::new(String::new())));
            let (client, timing) = (client.clone(), Timing::prompt());
            let offsets = Offsets::new(client, &name, &topics, hosted, timing, outage);
            for partition in 0..2 {
                offsets.commits().found(&PartitionCommit { partition, outputs: vec![Some(7)] });
            }
            let now = Instant::now();
            *offsets.writing.lock().await = now;
            offsets.flush_if_due().await;
            let due = *offsets.writing.lock().await;
            assert!((now + pause..now + pause + REFRESH_AGAIN / 2).contains(&due), "{name}");
            let kept = if pause == REFRESH { BTreeSet::from([0]) } else { BTreeSet::new() };
            assert_eq!(offsets.known().await.unwrap(), kept);
        }
        broker.shutdown().await.unwrap();
    }

    #[test]
    fn a_refusal_is_said_once_until_it_changes_or_is_over() {
        let mut refusal = Refusal::default();
        for (error, news) in [("a", true), ("a", false), ("b", true), ("b", false), ("a", true)] {
            assert_eq!(refusal.is_news(error.to_owned()), news, "{error}");
        }
        refusal.over();
        assert!(refusal.is_news("a".to_owned()));
    }
}
