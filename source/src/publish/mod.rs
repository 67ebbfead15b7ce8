//! Publishing what is in the spool: a task for each lane, one produce request in flight, so that a
//! pair's order holds under retries. A record leaves the spool when the broker has it; what the broker
//! does not take is sent again, with the same sequence numbers, until it does.
//!
//! ```text
//!  lane ─▶ Request ─▶ Partition::produce ─▶ acknowledged ─▶ lane
//!    ▲                     │ refused, broken, too slow
//!    └───── backoff ◀──────┘
//! ```
//!
//! Every attempt reads from the lane afresh, so nothing is held in memory while a broker is away, and
//! what had to go from a full spool meanwhile is not sent any more. While a request is in flight the
//! lane fills, and the next request takes all of that up to its limit: requests grow with the load by
//! themselves, the linger matters only when idle.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::error::SourceError;
use crate::spool::Spool;

mod lane;
mod outage;
mod partition;

pub use outage::{Outages, Trouble};
pub use partition::Cluster;

use lane::LanePublisher;
use partition::Partitions;

/// The publishers of a spool.
#[derive(Debug)]
pub struct Publishers {
    /// Starts one for each lane, and watches them.
    head: JoinHandle<Result<(), SourceError>>,
    outages: Arc<Outages>,
    spool: Arc<Spool>,
    /// They end once their lanes are empty.
    drain: CancellationToken,
    /// They end.
    abandon: CancellationToken,
}

impl Publishers {
    /// Starts publishing all topics of the spool, those that are added later too. `linger` is how long a
    /// record may wait for others.
    pub fn start(spool: &Arc<Spool>, cluster: Cluster, linger: Duration) -> Self {
        Self::start_with(spool, cluster, linger)
    }

    pub(crate) fn start_with<P: Partitions>(
        spool: &Arc<Spool>,
        partitions: P,
        linger: Duration,
    ) -> Self {
        let outages = Arc::<Outages>::default();
        let (drain, abandon) = (CancellationToken::new(), CancellationToken::new());
        let head = Head {
            spool: Arc::clone(spool),
            partitions,
            linger,
            outages: Arc::clone(&outages),
            drain: drain.clone(),
            abandon: abandon.clone(),
        };
        let head = tokio::spawn(head.run());
        Publishers { head, outages, spool: Arc::clone(spool), drain, abandon }
    }

    /// What keeps records from being published, for `/ready`.
    pub fn outages(&self) -> &Arc<Outages> {
        &self.outages
    }

    /// Returns when a publisher broke, which never should.
    pub async fn broken(&mut self) -> SourceError {
        match (&mut self.head).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => SourceError::Internal("the publishers ended before their time".into()),
            Err(error) => SourceError::Internal(format!("the publishers broke: {error}")),
        }
    }

    /// Publishes what waits, for as long as `deadline`, and ends. What waits then is in the spool for the
    /// next start. Nothing may be appended any more. Returns how many records wait.
    pub async fn stop(mut self, deadline: Duration) -> u64 {
        self.drain.cancel();
        // After a panic there is no task to wait for.
        if !self.head.is_finished() && timeout(deadline, &mut self.head).await.is_err() {
            self.abandon.cancel();
            let _ = (&mut self.head).await;
        }
        self.spool.waiting()
    }
}

impl Drop for Publishers {
    fn drop(&mut self) {
        self.abandon.cancel();
    }
}

/// What starts publishers.
struct Head<P> {
    spool: Arc<Spool>,
    partitions: P,
    linger: Duration,
    outages: Arc<Outages>,
    drain: CancellationToken,
    abandon: CancellationToken,
}

impl<P: Partitions> Head<P> {
    async fn run(self) -> Result<(), SourceError> {
        let syncing = self.abandon.child_token();
        let _end_syncing = syncing.clone().drop_guard();
        tokio::spawn(Arc::clone(&self.spool).keep_synced(syncing));
        let mut added = self.spool.added();
        let mut known = HashSet::new();
        let mut publishers = JoinSet::new();
        loop {
            added.borrow_and_update();
            let lanes: Vec<_> = {
                let topics = self.spool.topics();
                topics.list.iter().flat_map(|topic| &topic.lanes).map(Arc::clone).collect()
            };
            let count = lanes.len();
            self.outages.share(count);
            for lane in lanes {
                if known.insert((Arc::clone(&lane.topic), lane.partition)) {
                    let publisher = LanePublisher {
                        lane,
                        spool: Arc::clone(&self.spool),
                        partitions: self.partitions.clone(),
                        linger: self.linger,
                        outages: Arc::clone(&self.outages),
                        drain: self.drain.clone(),
                        abandon: self.abandon.clone(),
                    };
                    publishers.spawn(publisher.run());
                }
            }
            let draining = self.drain.is_cancelled();
            tokio::select! {
                Some(ended) = publishers.join_next() => {
                    ended.map_err(|error| SourceError::Internal(format!("a publisher broke: {error}")))?;
                }
                _ = added.changed(), if !draining => {}
                () = self.drain.cancelled(), if !draining => {}
                else => break,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
