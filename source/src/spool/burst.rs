//! Records received in one go, sorted by lane and encoded as the spool has them: one copy of each, no
//! allocation once the buffers have grown. Kept and used again by its owner.

use std::sync::Arc;

use tickpanda_kafka::murmur2_partition;

use super::lane::{Lane, Load};
use super::record::{self, Headers};
use super::{Spool, TopicId};

/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 256 * 1024;

/// What is going to be appended.
#[derive(Debug)]
pub struct Burst {
    spool: Arc<Spool>,
    /// Of which state of the spool's topics.
    version: u64,
    topics: Vec<Loads>,
    frames: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Loads {
    raw: bool,
    lanes: Vec<(Arc<Lane>, Load)>,
}

impl Burst {
    /// An empty one.
    pub fn new(spool: &Arc<Spool>) -> Self {
        let spool = Arc::clone(spool);
        Burst { spool, version: 0, topics: Vec::new(), frames: 0, bytes: 0 }
    }

    /// Adds a record, received at `received_at` (ms since the epoch); the partition is Kafka's default for
    /// the key. A value larger than the raw topic takes is left out, and headers say how large it was and
    /// which.
    pub fn push(
        &mut self,
        topic: TopicId,
        key: &[u8],
        value: &[u8],
        received_at: i64,
        headers: Option<&Headers>,
    ) {
        if self.version != self.spool.version() {
            self.renew();
        }
        let Some(loads) = self.topics.get_mut(topic.0) else { return };
        let lanes = i32::try_from(loads.lanes.len()).unwrap_or(i32::MAX);
        let partition = usize::try_from(murmur2_partition(key, lanes)).unwrap_or_default();
        let Some((_, load)) = loads.lanes.get_mut(partition) else { return };
        record::encode(&mut load.bytes, loads.raw, key, value, received_at, headers);
        self.frames += 1;
        self.bytes += value.len();
    }

    /// Takes in topics and partitions that are new.
    fn renew(&mut self) {
        let topics = self.spool.topics();
        self.version = topics.version;
        self.topics.resize_with(topics.list.len(), Loads::default);
        for (loads, topic) in self.topics.iter_mut().zip(&topics.list) {
            loads.raw = topic.raw;
            let new = topic.lanes.iter().skip(loads.lanes.len());
            loads.lanes.extend(new.map(|lane| (Arc::clone(lane), Load::default())));
        }
    }

    /// Records and bytes of values pushed since the last call.
    pub fn take_counts(&mut self) -> (usize, usize) {
        (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes))
    }

    /// Records and bytes of values pushed since [`take_counts`](Self::take_counts).
    pub fn counts(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }

    /// What is to be written.
    pub(super) fn loads(&mut self) -> impl Iterator<Item = (&Lane, &mut Load)> {
        let lanes = self.topics.iter_mut().flat_map(|loads| &mut loads.lanes);
        let loaded = lanes.filter(|(_, load)| !load.bytes.is_empty());
        loaded.map(|(lane, load)| (&**lane, load))
    }
}

impl Load {
    /// An empty one for records that keep their numbers.
    pub(super) fn numbered() -> Self {
        Load { numbered: true, ..Load::default() }
    }

    /// All of it is written.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.written = 0;
    }
}
