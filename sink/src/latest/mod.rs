//! The latest tick of each kind, market and pair in Redis, for readers that must not query the
//! database. Optional; without `REDIS_HOST` all of this does nothing.
//!
//! ```text
//!  writer ── offer, after the commit ──▶ Newest ◀── take ── task ── script ──▶ Redis
//!            (a lock and a map)                                 (newest wins)
//! ```
//!
//! A hash `tick:{kind}:{market}:{base}:{quote}` has the fields of the record on `tick-data`, in its
//! digits (`symbol`, `price`, `timestamp`, `kind`, `market`, `base`, `quote`, `received_at`, `id`, and where the tick has
//! them `volume`, `side`, `trade_id`, `ccseq`) and `time`, the event's in microseconds. In names, `:`, `%` and
//! blanks are percent-encoded.
//!
//! Newer is what has the later `time`, then the later `received_at`, then the larger `id`; a script
//! inside Redis decides it, so that no other sink, no restart and no late record puts an older tick
//! over a newer one. After Redis was away, all ticks that this sink knows are offered to it again: it
//! may have come back empty.
//!
//! **Must never** delay or fail the database path: offering takes a lock that is never held across
//! I/O, and whatever Redis does is the task's own trouble, told once an outage and counted.

mod counters;
mod link;
mod newest;
mod settings;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::ConnectionInfo;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::error::SinkError;
use crate::outage::{Outage, wait};
use crate::stats::Stats;
use crate::ticks::TickRow;

pub(crate) use counters::LatestCounters;
use link::Link;
use newest::{Newest, Tick};
pub use settings::RedisSettings;

/// Keys held at most, at about 600 bytes each.
const KEYS: usize = 32_768;
/// Ticks written in one round trip. Redis serves nobody else meanwhile, for about a millisecond.
const CHUNK: usize = 256;
/// The pause after a round trip: what comes meanwhile for the same key is written once.
const GATHER: Duration = Duration::from_millis(10);
/// Nothing to write for so long: Redis is asked whether it is still there.
const IDLE: Duration = Duration::from_secs(2);
/// How long what still waits may be written once the sink is told to stop.
const LAST: Duration = Duration::from_millis(300);

/// Where the writers put committed ticks. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    newest: Mutex<Newest>,
    came: Notify,
    stats: Arc<Stats>,
}

/// The task's side.
pub(crate) struct LatestTask {
    shared: Arc<Shared>,
    to: ConnectionInfo,
    outage: Outage,
}

impl Latest {
    /// The two ends, or one that does nothing where no Redis is set.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for an address that is none.
    pub(crate) fn new(
        settings: &RedisSettings,
        stats: &Arc<Stats>,
    ) -> Result<(Self, Option<LatestTask>), SinkError> {
        let Some(to) = settings.connection()? else { return Ok((Latest(None), None)) };
        let shared = Arc::new(Shared {
            newest: Mutex::new(Newest::new(KEYS)),
            came: Notify::new(),
            stats: Arc::clone(stats),
        });
        let what = format!("Redis {}", settings.address().unwrap_or_default());
        let outage = Outage::counted(what, stats.retries("redis", "unavailable"));
        let task = LatestTask { shared: Arc::clone(&shared), to, outage };
        Ok((Latest(Some(shared)), Some(task)))
    }

    /// Offers ticks that are committed, the newest of each pair at least; also such as were there already.
    pub(crate) fn offer(&self, newest: &[&TickRow<'_>]) {
        let Some(shared) = &self.0 else { return };
        let ticks = newest.iter().map(|row| {
            let tick = row.tick();
            let key = newest::key(tick.kind.as_str(), &tick.market, &tick.base, &tick.quote);
            (key, Tick::of(row))
        });
        shared.offer(ticks.collect());
        shared.came.notify_one();
    }
}

impl Shared {
    fn offer(&self, ticks: Vec<(String, Tick)>) {
        let mut newest = self.lock();
        let skipped =
            ticks.into_iter().filter_map(|(key, tick)| (!newest.offer(key, tick)).then_some(()));
        let skipped = skipped.count() as u64;
        self.waiting(&newest);
        drop(newest);
        self.stats.latest().skipped.inc_by(skipped);
    }

    fn take(&self) -> Vec<(String, Tick)> {
        let mut newest = self.lock();
        let taken = newest.take(CHUNK);
        self.waiting(&newest);
        taken
    }

    fn written(&self, ticks: Vec<(String, Tick)>) {
        self.lock().written(ticks);
    }

    fn again(&self) {
        let mut newest = self.lock();
        newest.again();
        self.waiting(&newest);
    }

    fn waiting(&self, newest: &Newest) {
        self.stats.latest().pending.set(i64::try_from(newest.waiting()).unwrap_or(i64::MAX));
    }

    /// A panic elsewhere while the lock was held leaves ticks behind, each whole.
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LatestTask {
    /// Writes what is offered until `stop`, and then, as far as it goes, what still waits.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut link = None;
        tokio::select! {
            () = self.forever(&mut link) => {}
            () = stop.cancelled() => {}
        }
        // Without it, the last ticks before a stop would be missing until their pair ticks again.
        // What was on its way when the stop came waits again, see `Taken`.
        if link.is_some() {
            let last = async { while self.round(&mut link).await.is_ok_and(|more| more) {} };
            let _ = tokio::time::timeout(LAST, last).await;
        }
    }

    async fn forever(&self, link: &mut Option<Link>) {
        let mut attempt = 0;
        loop {
            match self.round(link).await {
                Ok(true) => {
                    attempt = 0;
                    tokio::time::sleep(GATHER).await;
                }
                Ok(false) => {
                    attempt = 0;
                    let came = self.shared.came.notified();
                    if tokio::time::timeout(IDLE, came).await.is_err() {
                        self.ask(link).await;
                    }
                }
                Err(error) => {
                    *link = None;
                    self.shared.stats.latest().up.set(0);
                    self.outage.failed(&error);
                    wait(attempt).await;
                    attempt = attempt.saturating_add(1);
                }
            }
        }
    }

    /// Whether Redis is still there, while nothing is written; if not, the next round opens anew and
    /// writes everything again, as a Redis that was restarted may be empty.
    async fn ask(&self, link: &mut Option<Link>) {
        let Some(open) = link else { return };
        if open.ping().await.is_err() {
            *link = None;
        }
    }

    /// One round trip; false where nothing waits.
    async fn round(&self, link: &mut Option<Link>) -> redis::RedisResult<bool> {
        let (shared, counters) = (&self.shared, self.shared.stats.latest());
        let open = match link {
            Some(open) => open,
            None => {
                let open = Link::open(&self.to).await?;
                shared.again();
                link.insert(open)
            }
        };
        let taken = Taken { shared, ticks: shared.take() };
        if !taken.ticks.is_empty() {
            let done = open.write(&taken.ticks).await?;
            counters.written.inc_by(done.written);
            counters.outdone.inc_by(done.outdone);
            counters.refused.inc_by(done.refused);
        }
        // Only here: a replica that answers but takes nothing does not serve.
        self.outage.served();
        counters.up.set(1);
        if taken.ticks.is_empty() {
            return Ok(false);
        }
        taken.written();
        Ok(true)
    }
}

/// Ticks on their way to Redis: they wait again if they do not arrive, whatever keeps them from it.
struct Taken<'a> {
    shared: &'a Shared,
    ticks: Vec<(String, Tick)>,
}

impl Taken<'_> {
    fn written(mut self) {
        self.shared.written(std::mem::take(&mut self.ticks));
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let ticks = std::mem::take(&mut self.ticks);
        if !ticks.is_empty() {
            self.shared.offer(ticks);
        }
    }
}
