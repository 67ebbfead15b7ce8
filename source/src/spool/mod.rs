//! The spool: everything that is to be published lies here first, on disk, a queue for each partition
//! of each topic, and is published from here. So receiving never waits for the broker, a killed process
//! loses nothing that it had received, and a broker that is away for hours costs disk, not frames.
//!
//! ```text
//!  stream ──▶ Burst ─┐  number,     ┌─▶ lane raw/0        ─▶ Request ─▶ publisher raw/0
//!  history ─▶ Burst ─┼─ write ──────┼─▶ lane raw/1        ─▶ Request ─▶ publisher raw/1
//!  others ──▶ Burst ─┘ (one lock)   └─▶ lane gap-events/0 ─▶ Request ─▶ publisher gap-events/0
//!                                          {dir}/{topic}/{partition}/{position}.log, ack
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | `record` | a record's bytes (pure) |
//! | `burst` | records received in one go |
//! | `lane`, `segment` | a queue, and the files it consists of |
//! | `request` | what is read for one produce request |
//! | `ack` | how far a lane is acknowledged |
//! | `room` | what goes when the spool is full |
//! | `lost` | what went, for gap events |
//! | `runs` | whose numbers are still here, for the ledger |
//! | `recover`, `scan` | opening what a crash has left |
//! | `moving` | after partitions went |
//! | `sync` | having the disk keep what waits for longer |
//! | `meter` | counts and latencies |
//!
//! What survives: a crash of the process costs nothing that was appended. A crash of the machine
//! costs what was appended in about the last second, as far as it was not published yet, and may
//! have the last requests published twice.
//!
//! Numbers (`seq`) are drawn as records are written, one lane after the other under one lock. So
//! whenever the process dies, the numbers of its run in the spool, or published already, are all
//! from 0 to some number, without a hole.
//!
//! The bound is bytes of all segments. When it is reached, or the disk is full, the oldest whole
//! segment goes, and what is lost with it is counted for each pair ([`Lost`]). The disk's other errors
//! are waited for: receiving waits, nothing is dropped.
//!
//! Writing is `pwrite` in the task that receives: into the page cache it is a copy of memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::backoff::{Backoff, Bounds};
use crate::error::SourceError;

mod ack;
mod books;
mod burst;
mod lane;
mod lost;
mod meter;
mod moving;
mod record;
mod recover;
mod request;
mod room;
mod runs;
mod scan;
mod segment;
mod sync;

pub use burst::Burst;
pub use lost::{Lost, kind_of};
pub use meter::{LATENCY_MS, Latency, Meter};
pub use record::{Headers, is_too_large};

pub(crate) use lane::Lane;
pub(crate) use request::Request;

use books::{Books, lock};
use lane::{Load, Written};
use moving::move_lane;

/// Name of the spool's folder in the state folder.
pub const FOLDER: &str = "spool";
/// The lanes' folder in it: a topic may have any name, also that of a file beside them.
const LANES: &str = "lanes";
/// Between attempts to write to a disk that refuses.
const DISK: Bounds = Bounds { floor: Duration::from_millis(50), ceiling: Duration::from_secs(2) };

/// How large it may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments, from [`Limits::LEAST`] to [`Limits::MOST`].
    pub bytes: u64,
}

impl Limits {
    /// Below this a large frame has no room. 1 MiB.
    pub const LEAST: u64 = 1 << 20;
    /// Above this a lane's records could not be told apart any more. 64 GiB.
    pub const MOST: u64 = 64 << 30;

    /// A segment is full at so many bytes.
    fn segment(self) -> u64 {
        (self.bytes / 64).clamp(64 << 10, 8 << 20)
    }
}

impl Default for Limits {
    /// 1 GiB.
    fn default() -> Self {
        Limits { bytes: 1 << 30 }
    }
}

/// A topic of a [`Spool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicId(usize);

/// What a former process has left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Earlier runs that the ledger may not know the end of, each with how many numbers it had drawn.
    pub runs: BTreeMap<u64, u64>,
    /// When the newest frame of a WebSocket was received that is here or was, ms since the epoch.
    pub last_frame_ms: Option<i64>,
    /// Records that wait for being published.
    pub waiting: u64,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Topics that have lanes, with their partitions. What waits in them is published once they are given
    /// to [`Spool::topic`].
    pub topics: BTreeMap<String, Vec<i32>>,
}

/// All lanes.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    limits: Limits,
    books: Arc<Books>,
    /// The next number of the run. Who writes holds this.
    next: Mutex<u64>,
    /// The same, for who only looks.
    drawn: AtomicU64,
    topics: RwLock<Topics>,
    version: AtomicU64,
    /// Lanes of topics that nobody has asked for yet.
    left: Mutex<BTreeMap<(String, i32), Arc<Lane>>>,
    added: watch::Sender<u64>,
}

/// Topics that were asked for.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    pub(crate) list: Vec<Topic>,
    pub(crate) version: u64,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    /// Whether its records are numbered.
    pub(crate) raw: bool,
    pub(crate) lanes: Vec<Arc<Lane>>,
}

impl Spool {
    /// Opens the spool in `folder`, which is made if it is missing, for the run with number `run`.
    /// Whoever opens it holds the lock of the state folder's ledger: two sources must not share one.
    ///
    /// # Errors
    /// [`SourceError::Spool`]: the disk's.
    pub fn open(
        folder: &Path,
        limits: Limits,
        run: u64,
    ) -> Result<(Arc<Self>, Recovered), SourceError> {
        let failed = |error| SourceError::Spool { path: folder.to_owned(), error };
        let bytes = limits.bytes.clamp(Limits::LEAST, Limits::MOST);
        let lanes = folder.join(LANES);
        fs::create_dir_all(&lanes).map_err(failed)?;
        let books = Arc::new(Books::open(folder, run));
        let mut recovered = Recovered::default();
        let mut left = BTreeMap::new();
        for (topic, partition) in lanes_in(&lanes).map_err(failed)? {
            let place = lanes.join(&topic).join(partition.to_string());
            let (lane, found) =
                Lane::open(place, topic.as_str().into(), partition, Arc::clone(&books))
                    .map_err(failed)?;
            for (run, (drawn, waiting)) in found.runs {
                books.runs().found(run, drawn, waiting);
            }
            recovered.last_frame_ms = recovered.last_frame_ms.max(found.frame_ms);
            recovered.topics.entry(topic.clone()).or_default().push(partition);
            left.insert((topic, partition), Arc::new(lane));
        }
        books.runs().save();
        recovered.runs = books.runs().earlier();
        (recovered.waiting, recovered.bytes) = (books.waiting.get(), books.bytes.get());
        if recovered.waiting > 0 {
            let (records, bytes) = (recovered.waiting, recovered.bytes);
            info!(records, bytes, "the spool holds records of an earlier run: they go first");
        }
        let spool = Spool {
            folder: lanes,
            limits: Limits { bytes },
            books,
            next: Mutex::new(0),
            drawn: AtomicU64::new(0),
            topics: RwLock::default(),
            version: AtomicU64::new(0),
            left: Mutex::new(left),
            added: watch::Sender::new(0),
        };
        Ok((Arc::new(spool), recovered))
    }

    /// A topic to append to, with its partitions (at least one). Records of a `raw` one are numbered. Asked
    /// for again, it takes in partitions that are new. What lies in lanes of partitions that the topic does
    /// not have any more is moved to where its keys belong now.
    ///
    /// # Errors
    /// [`SourceError::Spool`]: the disk's.
    pub fn topic(&self, name: &str, partitions: &[i32], raw: bool) -> Result<TopicId, SourceError> {
        let failed = |error| SourceError::Spool { path: self.folder.join(name), error };
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if !name.bytes().all(legal) || ["", ".", ".."].contains(&name) || partitions.is_empty() {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "no topic with partitions",
            )));
        }
        let mut next = lock(&self.next);
        let mut topics = self.topics.write().unwrap_or_else(PoisonError::into_inner);
        let known = topics.list.iter().position(|topic| &*topic.name == name);
        let id = known.unwrap_or(topics.list.len());
        if known.is_none() {
            topics.list.push(Topic { name: name.into(), raw, lanes: Vec::new() });
        }
        let topic = &mut topics.list[id];
        for partition in partitions {
            if topic.lanes.iter().any(|lane| lane.partition == *partition) {
                continue;
            }
            let found = lock(&self.left).remove(&(name.to_owned(), *partition));
            let lane = match found {
                Some(lane) => lane,
                None => {
                    let place = self.folder.join(name).join(partition.to_string());
                    let topic = Arc::clone(&topic.name);
                    let lane = Lane::open(place, topic, *partition, Arc::clone(&self.books));
                    Arc::new(lane.map_err(failed)?.0)
                }
            };
            topic.lanes.push(lane);
        }
        let mut left = lock(&self.left);
        let gone: Vec<_> = left.keys().filter(|(topic, _)| topic == name).cloned().collect();
        for place in gone {
            if let Some(lane) = left.remove(&place) {
                move_lane(&lane, &topic.lanes, &mut next, self.limits.segment()).map_err(failed)?;
            }
        }
        topics.version += 1;
        self.version.store(topics.version, Ordering::Release);
        self.added.send_replace(topics.version);
        Ok(TopicId(id))
    }

    /// Appends what the burst holds and leaves it empty. When it returns, no crash of the process loses
    /// any of it. It waits only for a disk that refuses to be written.
    pub async fn append(&self, burst: &mut Burst) {
        let mut backoff = Backoff::default();
        while let Err(error) = self.try_append(burst) {
            self.books.meter.disk_errors.add(1);
            if backoff.failures() == 0 {
                let folder = self.folder.display();
                warn!(%folder, %error, "the spool can't be written: receiving waits until it can");
            }
            let wait = backoff.next(DISK, &mut rand::rng());
            tokio::time::sleep(wait).await;
        }
        if backoff.failures() > 0 {
            info!("the spool can be written again");
        }
    }

    /// One attempt. What it has written is not in the burst any more.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn try_append(&self, burst: &mut Burst) -> io::Result<()> {
        let mut next = lock(&self.next);
        for (lane, load) in burst.loads() {
            let written = self.write(lane, load, &mut next);
            self.drawn.store(*next, Ordering::Release);
            written?;
            load.clear();
        }
        Ok(())
    }

    fn write(&self, lane: &Lane, load: &mut Load, next: &mut u64) -> io::Result<()> {
        loop {
            let room = self.limits.bytes.saturating_sub(self.books.bytes.get());
            match lane.write(load, next, self.limits.segment(), room) {
                Ok(Written::All) => return Ok(()),
                Ok(Written::Part) => {}
                Ok(Written::NoRoom) if self.make_room() => {}
                // A record larger than everything; there is none.
                Ok(Written::NoRoom) => return Err(io::ErrorKind::FileTooLarge.into()),
                Err(error) if is_full(&error) && self.make_room() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Has the oldest segment go. False where there is none.
    fn make_room(&self) -> bool {
        let lanes = self.lanes();
        let victim = room::victim(lanes.iter().map(|lane| lane.candidate()));
        let Some(lane) = victim.and_then(|lane| lanes.get(lane)) else { return false };
        lane.evict();
        true
    }

    /// How many numbers of this run are drawn.
    pub fn drawn(&self) -> u64 {
        self.drawn.load(Ordering::Acquire)
    }

    /// Of these, how many are of records that are neither acknowledged nor lost.
    pub fn unsettled(&self) -> u64 {
        self.drawn().saturating_sub(self.books.runs().settled())
    }

    /// Records that wait for being published.
    pub fn waiting(&self) -> u64 {
        self.books.waiting.get()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.books.bytes.get()
    }

    /// The bound of [`bytes`](Self::bytes).
    pub fn limit(&self) -> u64 {
        self.limits.bytes
    }

    /// Since when, about, the oldest record waits, ms since the epoch.
    pub fn oldest_ms(&self) -> Option<i64> {
        self.lanes().iter().filter_map(|lane| lane.oldest_ms()).min()
    }

    /// What was done so far.
    pub fn meter(&self) -> &Meter {
        &self.books.meter
    }

    /// Returns when there is something in [`take_lost`](Self::take_lost) or
    /// [`ended_runs`](Self::ended_runs).
    pub async fn news(&self) {
        loop {
            let notified = self.books.news.notified();
            let ended = !self.books.runs().ended().is_empty();
            if ended || self.books.lost().has_news() {
                return;
            }
            notified.await;
        }
    }

    /// What was lost and is not told yet. It comes again, also after a crash, until
    /// [`lost_told`](Self::lost_told) says that gap events of it are in the spool.
    pub fn take_lost(&self) -> Vec<Lost> {
        self.books.lost().take()
    }

    /// What [`take_lost`](Self::take_lost) returned last is told.
    pub fn lost_told(&self) {
        self.books.lost().told();
    }

    /// Earlier runs of which no record waits any more, with how many numbers they had drawn: for the
    /// ledger. They come again until they are [forgotten](Self::forget_run).
    pub fn ended_runs(&self) -> Vec<(u64, u64)> {
        self.books.runs().ended()
    }

    /// The ledger knows how that run ended.
    pub fn forget_run(&self, run: u64) {
        self.books.runs().forget(run);
    }

    /// Tells when topics or partitions were added.
    pub(crate) fn added(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }

    pub(crate) fn topics(&self) -> RwLockReadGuard<'_, Topics> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All lanes, those nobody has asked for included.
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        let topics = self.topics();
        let left = lock(&self.left);
        let asked = topics.list.iter().flat_map(|topic| &topic.lanes);
        asked.chain(left.values()).map(Arc::clone).collect()
    }
}

/// Topics and partitions that have a folder.
fn lanes_in(folder: &Path) -> io::Result<Vec<(String, i32)>> {
    let mut lanes = Vec::new();
    for topic in fs::read_dir(folder)? {
        let topic = topic?;
        if !topic.file_type()?.is_dir() {
            continue;
        }
        let Ok(name) = topic.file_name().into_string() else { continue };
        for lane in fs::read_dir(topic.path())? {
            let lane = lane?;
            let partition = lane.file_name().to_str().and_then(|name| name.parse().ok());
            if let (true, Some(partition)) = (lane.file_type()?.is_dir(), partition) {
                lanes.push((name.clone(), partition));
            }
        }
    }
    lanes.sort_unstable();
    Ok(lanes)
}

/// Whether room on the disk would help.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests;
