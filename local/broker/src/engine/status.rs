//! How far a transform is, for people and for whoever waits for it to be done.

use tickpanda_host::LogDrops;
use uuid::Uuid;

use crate::compress::Compression;

/// A transform with its input partitions.
#[derive(Debug, Clone)]
pub struct TransformStatus {
    /// As deployed.
    pub name: String,
    /// Drawn when a transform of this name was first deployed on this input topic.
    pub id: Uuid,
    /// Whether somebody has stopped it until it is resumed.
    pub paused: bool,
    /// The guest's environment, as given.
    pub env: Vec<(String, String)>,
    /// How its output is compressed.
    pub compression: Compression,
    /// Where it reads.
    pub input_topic: String,
    /// Where it writes.
    pub output_topics: Vec<String>,
    /// One for each partition of the input topic, in order.
    pub partitions: Vec<PartitionStatus>,
    /// Messages of the guest that nobody saw, by the broker's rules.
    pub dropped_logs: LogDrops,
}

/// One input partition of a transform.
#[derive(Debug, Clone)]
pub struct PartitionStatus {
    /// Its index.
    pub partition: i32,
    /// Whether it gets on.
    pub state: TransformState,
    /// The offset it reads next: the outputs of everything before it have been appended.
    pub next: i64,
    /// The offset it would begin with after a crash.
    pub committed: i64,
    /// The input partition's end.
    pub end: i64,
    /// Records still to be transformed: `end - next`.
    pub lag: i64,
    /// How often it has failed since it was deployed or the broker started.
    pub failures: u64,
}

/// Whether a partition's transform gets on, in the broker's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransformState {
    /// It is about to start, or paused.
    Inactive,
    /// It works, or waits for input.
    Running,
    /// It has failed, at its start or on a batch, and is resting before it tries that again.
    Errored(String),
    /// Nothing is known of it: its module is not compiled yet, or can't be, for this reason; that is tried again. Nothing
    /// that [`Broker::deploy`](crate::Broker::deploy) has taken gets here.
    Unknown(String),
}
