//! One lane's publisher.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tickpanda_model::limit::RAW_RECORD;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::outage::{Lane as Place, Outages};
use super::partition::{Partition as _, Partitions, Refusal};
use crate::backoff::{Backoff, Bounds};
use crate::clock::now_ms;
use crate::spool::{Lane, Request, Spool};

/// Bytes in one request, unless a single record is larger: below what the raw topic takes, so that a
/// request is never refused and sent again in halves. A larger record is blank already, unless the topic
/// takes less than it should.
const MAX_REQUEST: usize = RAW_RECORD * 3 / 4;
/// Bytes in the requests of all lanes together: on their way to the broker they take three times as much.
const ALL_REQUESTS: usize = 1 << 20;
/// However many lanes there are, and however often a request was too large for the topic.
const LEAST_REQUEST: usize = 32 * 1024;
const RETRY: Bounds = Bounds { floor: Duration::from_millis(100), ceiling: Duration::from_secs(2) };
/// So many times in a row a segment is tried to be read.
const READS: u32 = 6;

/// A lane's publisher.
pub(super) struct LanePublisher<P> {
    pub(super) lane: Arc<Lane>,
    pub(super) spool: Arc<Spool>,
    pub(super) partitions: P,
    pub(super) linger: Duration,
    pub(super) outages: Arc<Outages>,
    pub(super) drain: CancellationToken,
    pub(super) abandon: CancellationToken,
}

/// How it goes.
struct Progress<C> {
    client: Option<C>,
    backoff: Backoff,
    /// The most that a request may have, where the topic takes less than it should.
    most: usize,
    /// The record that ends there is published without its value: the topic takes even less.
    blank: Option<u64>,
    unreadable: u32,
    /// Whether it was said that records are too large.
    said_large: bool,
}

impl<P: Partitions> LanePublisher<P> {
    /// Publishes until told to drain and the lane is empty, or until told to give up.
    pub(super) async fn run(self) {
        let mut progress = Progress {
            client: None,
            backoff: Backoff::default(),
            most: MAX_REQUEST,
            blank: None,
            unreadable: 0,
            said_large: false,
        };
        let mut request = Request::default();
        let work = async {
            while self.wait().await {
                if let Some(pause) = self.attempt(&mut request, &mut progress).await {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.outages.back.notified() => {}
                    }
                }
            }
        };
        self.abandon.run_until_cancelled(work).await;
    }

    /// Waits until something is to be published: the linger of the first record is over, or there is
    /// enough for a request. False where there is nothing and never will be.
    async fn wait(&self) -> bool {
        loop {
            self.lane.wake_at(self.share());
            let pending = self.lane.pending();
            let draining = self.drain.is_cancelled();
            if pending.bytes == 0 {
                if draining {
                    return false;
                }
                tokio::select! {
                    () = self.lane.ready.notified() => {}
                    () = self.drain.cancelled() => {}
                }
                continue;
            }
            let Some(opened) = pending.opened else { return true };
            let due = opened + self.linger;
            if draining || pending.bytes >= self.share() as u64 || Instant::now() >= due {
                return true;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.lane.ready.notified() => {}
                () = self.drain.cancelled() => {}
            }
        }
    }

    /// The most bytes of a request, as long as all lanes are busy.
    fn share(&self) -> usize {
        (ALL_REQUESTS / self.outages.lanes().max(1)).clamp(LEAST_REQUEST, MAX_REQUEST)
    }

    /// Publishes one request. Says how long to wait, where that failed.
    async fn attempt(
        &self,
        request: &mut Request,
        progress: &mut Progress<P::Partition>,
    ) -> Option<Duration> {
        let most = progress.most.min(self.share());
        if let Err(error) = self.lane.read(request, most) {
            return self.unreadable(&error, progress);
        }
        progress.unreadable = 0;
        if request.is_empty() {
            // All that is left is damaged, and is passed over.
            self.lane.acknowledge(request);
            return Some(RETRY.floor);
        }
        if progress.blank.is_some_and(|at| request.upto().0 == at) {
            request.blank();
        }
        match self.produce(request, &mut progress.client).await {
            Ok(()) => {
                self.published(request, &mut progress.said_large);
                if progress.backoff.failures() > 0 {
                    progress.backoff.reset();
                    self.outages.served(&self.place());
                }
                progress.blank = None;
                // Back towards the whole, in steps that cost few refusals.
                progress.most = (progress.most + MAX_REQUEST / 64).min(MAX_REQUEST);
                None
            }
            Err(Refusal::TooLarge(_)) if request.len() > 1 => {
                progress.most = (request.wire() / 2).max(1);
                None
            }
            Err(Refusal::TooLarge(_)) if !request.is_blank() => {
                (progress.blank, progress.most) = (Some(request.upto().0), 1);
                None
            }
            Err(Refusal::TooLarge(words)) => {
                // Until somebody raises the topic's limit.
                let trouble = super::Trouble::Refused(Arc::clone(&self.lane.topic));
                Some(self.failed(&Refusal::Trouble(trouble, words), progress))
            }
            Err(trouble) => {
                progress.client = None;
                Some(self.failed(&trouble, progress))
            }
        }
    }

    async fn produce(
        &self,
        request: &Request,
        client: &mut Option<P::Partition>,
    ) -> Result<(), Refusal> {
        let client = match client {
            Some(client) => client,
            none => {
                none.insert(self.partitions.connect(&self.lane.topic, self.lane.partition).await?)
            }
        };
        client.produce(request).await
    }

    fn published(&self, request: &Request, said_large: &mut bool) {
        let meter = self.spool.meter();
        meter.requests.add(1);
        meter.published.add(request.len());
        meter.latency.see(request.received(), now_ms());
        let too_large = request.blanked();
        if too_large > 0 {
            meter.too_large.add(too_large);
            let (topic, partition) = (&self.lane.topic, self.lane.partition);
            if !std::mem::replace(said_large, true) {
                warn!(
                    %topic, partition, frames = too_large,
                    "larger than the topic takes (max.message.bytes): published size and hash only, here and from now on"
                );
            }
        }
        if !self.lane.acknowledge(request) {
            meter.lost_and_published.add(request.len());
        }
    }

    fn failed(&self, refusal: &Refusal, progress: &mut Progress<P::Partition>) -> Duration {
        self.spool.meter().retries.add(1);
        if let Refusal::Trouble(trouble, words) = refusal {
            self.outages.failed(&self.place(), trouble, words);
        }
        progress.backoff.next(RETRY, &mut rand::rng())
    }

    /// A disk that can't read. Other disks can, after a while; what this one has lost is lost.
    fn unreadable(
        &self,
        error: &io::Error,
        progress: &mut Progress<P::Partition>,
    ) -> Option<Duration> {
        self.spool.meter().disk_errors.add(1);
        let (topic, partition) = (&self.lane.topic, self.lane.partition);
        if progress.unreadable == 0 {
            warn!(%topic, partition, %error, "the spool can't be read: trying again");
        }
        progress.unreadable += 1;
        if progress.unreadable >= READS || error.kind() == io::ErrorKind::NotFound {
            progress.unreadable = 0;
            self.lane.give_up();
            return None;
        }
        Some(RETRY.floor * 2u32.pow(progress.unreadable))
    }

    fn place(&self) -> Place {
        (Arc::clone(&self.lane.topic), self.lane.partition)
    }
}
