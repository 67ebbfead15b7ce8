//! The bounded queue between whoever receives (WebSocket, REST) and the publishers, one lane per
//! partition.
//!
//! ```text
//! receive loop ─▶ Burst (a batch per partition) ─┐ room?  ┌─▶ lane 0 ─▶ publisher 0
//! history      ─▶ Burst ─────────────────────────┴────────┴─▶ lane N ─▶ publisher N
//! ```
//!
//! The bound is bytes over all lanes. When it is reached, [`Outbox::send`] waits, so the socket is
//! not read: nothing is dropped, the vendor's frames wait in TCP. That is said once in the log.
//! (A vendor that can't send for long disconnects; a spool on disk is to take its place here.)

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tickpanda_kafka::murmur2_partition;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tracing::{info, warn};

use crate::batch::{Batch, Headers};
use crate::error::SourceError;

/// A queue that is full for longer than this is worth a line in the log.
const MOMENT: Duration = Duration::from_secs(1);

/// Receiving end of a lane. Its length needs no bound of its own: each batch in it holds room.
pub type Lane = mpsc::UnboundedReceiver<Batch>;

/// Where received frames are left for publishing.
#[derive(Debug)]
pub struct Outbox {
    /// Next sequence number of the run.
    next: AtomicU64,
    lanes: Vec<mpsc::UnboundedSender<Batch>>,
    room: Arc<Semaphore>,
    capacity: u32,
    full: AtomicBool,
}

impl Outbox {
    /// An outbox for so many partitions that holds about `capacity` bytes, and its lanes.
    pub fn new(partitions: usize, capacity: u32) -> (Self, Vec<Lane>) {
        let (lanes, receivers) = (0..partitions).map(|_| mpsc::unbounded_channel()).unzip();
        let room = Arc::new(Semaphore::new(capacity as usize));
        let full = AtomicBool::new(false);
        (Outbox { next: AtomicU64::new(0), lanes, room, capacity, full }, receivers)
    }

    /// How many sequence numbers have been drawn.
    pub fn drawn(&self) -> u64 {
        self.next.load(Ordering::Acquire)
    }

    /// Hands over what the burst holds and leaves it empty; waits while the queue is full.
    pub async fn send(&self, burst: &mut Burst) -> Result<(), SourceError> {
        for (lane, open) in self.lanes.iter().zip(&mut burst.batches) {
            if open.is_empty() {
                continue;
            }
            let mut batch = std::mem::take(open);
            // A batch larger than the whole queue may pass when it has the queue to itself.
            let cost = u32::try_from(batch.size()).unwrap_or(u32::MAX).min(self.capacity);
            let permit = self.room_for(cost).await;
            let gone = || SourceError::Internal("a publisher ended before its time".into());
            batch.hold(permit.map_err(|_| gone())?);
            lane.send(batch).map_err(|_| gone())?;
        }
        Ok(())
    }

    /// Room for so many bytes, as soon as there is some. A wait of more than a moment is said once.
    async fn room_for(&self, cost: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        let mut room = pin!(Arc::clone(&self.room).acquire_many_owned(cost));
        if let Ok(room) = timeout(MOMENT, &mut room).await {
            return room;
        }
        let first = !self.full.swap(true, Ordering::Relaxed);
        if first {
            let bytes = self.capacity;
            warn!(
                bytes,
                "the queue to the broker is full: receiving waits for it, nothing is dropped"
            );
        }
        let room = room.await;
        if first {
            self.full.store(false, Ordering::Relaxed);
            info!("the queue to the broker has room again");
        }
        room
    }
}

/// Frames received in one go, sorted by partition. Kept and used again by its owner.
#[derive(Debug)]
pub struct Burst {
    batches: Vec<Batch>,
    frames: usize,
    bytes: usize,
}

impl Burst {
    /// An empty burst for `outbox`.
    pub fn new(outbox: &Outbox) -> Self {
        let batches = outbox.lanes.iter().map(|_| Batch::new()).collect();
        Burst { batches, frames: 0, bytes: 0 }
    }

    /// Adds a record and draws its sequence number. `received_at` is ms since the epoch; the
    /// partition is Kafka's default for the key.
    pub fn push(
        &mut self,
        outbox: &Outbox,
        key: &[u8],
        value: &[u8],
        received_at: i64,
        headers: Option<Box<Headers>>,
    ) {
        let lanes = i32::try_from(self.batches.len()).unwrap_or(i32::MAX);
        let partition = usize::try_from(murmur2_partition(key, lanes)).unwrap_or_default();
        let batch = &mut self.batches[partition];
        if batch.is_empty() {
            // The one that was left here may be old, and its linger begins with its first record.
            *batch = Batch::new();
        }
        let n = outbox.next.fetch_add(1, Ordering::AcqRel);
        batch.push(n, key, value, received_at, headers);
        self.frames += 1;
        self.bytes += value.len();
    }

    /// Frames and bytes of values pushed since the last call.
    pub fn take_counts(&mut self) -> (usize, usize) {
        (std::mem::take(&mut self.frames), std::mem::take(&mut self.bytes))
    }

    /// Frames and bytes of values pushed since [`take_counts`](Self::take_counts).
    pub fn counts(&self) -> (usize, usize) {
        (self.frames, self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_always_takes_the_same_lane_and_numbers_count_all_lanes() {
        let (outbox, mut lanes) = Outbox::new(3, 1 << 20);
        let mut burst = Burst::new(&outbox);
        for i in 0..300 {
            burst.push(&outbox, format!("M~C{}~USD", i % 30).as_bytes(), b"{}", i, None);
        }
        outbox.send(&mut burst).await.unwrap();
        assert_eq!((burst.take_counts(), outbox.drawn()), ((300, 600), 300));
        let mut numbers = Vec::new();
        for (partition, lane) in lanes.iter_mut().enumerate() {
            let batch = lane.try_recv().unwrap();
            for record in batch.records(0) {
                let key = record.key.unwrap();
                assert_eq!(murmur2_partition(&key, 3), i32::try_from(partition).unwrap());
                let seq = String::from_utf8(record.headers["seq"].clone()).unwrap();
                numbers.push(seq.parse::<tickpanda_model::header::Seq>().unwrap().n);
            }
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_full_queue_holds_the_sender_back_until_there_is_room() {
        let (outbox, mut lanes) = Outbox::new(1, 1000);
        let mut burst = Burst::new(&outbox);
        burst.push(&outbox, b"k", &[0; 900], 0, None);
        outbox.send(&mut burst).await.unwrap();
        burst.push(&outbox, b"k", &[0; 5000], 0, None);
        let mut send = Box::pin(outbox.send(&mut burst));
        assert!(timeout(Duration::from_millis(20), &mut send).await.is_err(), "there was no room");
        drop(lanes[0].recv().await);
        send.await.unwrap();
        assert_eq!(lanes[0].recv().await.unwrap().len(), 1);
    }
}
