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
use super::outage::Outage;
use super::topics::Topics;

/// Brokers forget a group's offset some days after its last commit (Kafka: 7), also of a group that is
/// only idle. So all are committed again this often.
const REFRESH: Duration = Duration::from_secs(3600);

/// Offsets of all input partitions.
#[derive(Debug)]
pub(super) struct Offsets {
    client: Client,
    group: String,
    topic: String,
    topic_id: Option<String>,
    outputs: Vec<String>,
    commits: Mutex<Commits>,
    /// When all were committed again. Held over a commit: one at a time, so that none overtakes another.
    writing: tokio::sync::Mutex<Instant>,
    outage: Arc<Outage>,
}

impl Offsets {
    pub(super) fn new(
        client: Client,
        name: &str,
        topics: &Topics,
        timing: Timing,
        outage: Arc<Outage>,
    ) -> Self {
        let partitions = usize::try_from(topics.input_partitions).unwrap_or(0);
        Self {
            client,
            group: format!("tickpanda-transform.{name}"),
            topic: topics.input.clone(),
            topic_id: topics.input_id.clone(),
            outputs: topics.output_names().map(str::to_owned).collect(),
            commits: Mutex::new(Commits::new(timing, partitions, topics.outputs.len())),
            writing: tokio::sync::Mutex::new(Instant::now()),
            outage,
        }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    fn commits(&self) -> MutexGuard<'_, Commits> {
        // Offsets that are each set in one step: whole after any panic.
        self.commits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All before `next` is acknowledged on an output topic.
    pub(super) fn written(&self, partition: usize, output: usize, next: i64) {
        self.commits().request(partition, output, next, Instant::now());
    }

    /// What is kept of a partition, once what is done is kept too; nothing where it never began.
    pub(super) async fn load(&self, partition: i32) -> Result<Option<Vec<i64>>, KafkaError> {
        self.flush().await?;
        let committed = self.client.committed(&self.group, &self.topic).await?;
        let found = committed.iter().find(|committed| committed.partition == partition);
        let Some(Committed { next_offset, metadata, .. }) = found else { return Ok(None) };
        let outputs = self.outputs.iter().map(String::as_str);
        let outputs = metadata::decode(*next_offset, metadata, self.topic_id.as_deref(), outputs);
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
        let mut last = self.writing.lock().await;
        if last.elapsed() < REFRESH {
            return;
        }
        let all: Vec<PartitionCommit> = {
            let commits = self.commits();
            let of = |partition| {
                let outputs = commits.of(partition).to_vec();
                PartitionCommit { partition, outputs }
            };
            let known = |commit: &PartitionCommit| commit.outputs.iter().all(Option::is_some);
            (0..commits.partitions()).map(of).filter(known).collect()
        };
        if self.write(&all).await.is_ok() {
            *last = Instant::now();
        }
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
        let offsets: Vec<Committed> = commits.iter().map(|commit| self.committed(commit)).collect();
        let written = self.client.commit(&self.group, &self.topic, &offsets).await;
        match &written {
            Ok(()) => self.commits().kept(commits),
            Err(error) => {
                self.commits().failed(commits, Instant::now());
                if error.is_transient() {
                    self.outage.failed(error);
                } else {
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
        let (next_offset, metadata) = metadata::encode(self.topic_id.as_deref(), outputs);
        let partition = i32::try_from(commit.partition).unwrap_or(i32::MAX);
        Committed { partition, next_offset, metadata }
    }
}

/// Partitions have no negative numbers.
pub(super) fn index(partition: i32) -> usize {
    usize::try_from(partition).unwrap_or(0)
}
