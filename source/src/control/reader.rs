//! Reading the control topic, whatever happens to it: brokers that are away, a topic that is missing,
//! cut, damaged or made anew. It decides nothing about places; it says what it found, and is told where
//! to go on.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::place::{Bounds, Identity};
use crate::backoff::{Backoff, Bounds as Waits};

/// How long one read waits for a record, all partitions together.
const WAIT: Duration = Duration::from_secs(1);
/// Between attempts while the topic can't be read.
const RETRY: Waits = Waits { floor: Duration::from_millis(250), ceiling: Duration::from_secs(5) };
/// Failures that are over after so long are nobody's concern: a topic that was made just now has no leader yet.
const QUIET: Duration = Duration::from_secs(2);
/// Records that are handed over at once: they are saved together, and each may be owed a reply.
pub const MAX_RECORDS: usize = 100;

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The place is not there (any more).
    OutOfRange,
    /// What is at the place can't be read, now or later.
    Damaged(String),
    /// It may work later.
    Away(String),
}

/// A record of the control topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place.
    pub offset: i64,
    /// Its value, if it has one.
    pub value: Option<Vec<u8>>,
}

/// Records of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// By offset.
    pub records: Vec<Record>,
    /// Where to read on.
    pub next: i64,
}

/// The control topic, as a cluster has it.
pub trait Log: Send {
    /// Which topic it is now; where there is none, it is created. Errors are in words.
    fn identity(&mut self) -> impl Future<Output = Result<Identity, String>> + Send;
    /// Where its partitions begin and end.
    fn bounds(&mut self) -> impl Future<Output = Result<Vec<Bounds>, String>> + Send;
    /// Records from an offset on, once there are some or the wait is over.
    fn read(
        &mut self,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> impl Future<Output = Result<Page, Failure>> + Send;
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A topic, and its partitions: where to read on is to be decided anew.
    Topic(Identity, Vec<Bounds>),
    /// Something of a partition of the topic that was seen last.
    Page(i32, Page),
}

/// Reads on from wherever it is told, until nobody tells it any more.
pub async fn read<L: Log>(
    log: L,
    mut places: mpsc::Receiver<BTreeMap<i32, i64>>,
    seen: mpsc::Sender<Seen>,
) {
    let mut reader = Reader::new(log);
    while let Some(places) = places.recv().await {
        if seen.send(reader.next(&places).await).await.is_err() {
            return;
        }
    }
}

struct Reader<L> {
    log: L,
    topic: Option<Identity>,
    turn: usize,
    backoff: Backoff,
    /// Since when nothing can be read.
    failing: Option<Instant>,
    /// Whether that was said.
    said: bool,
    /// Where a damaged run was said to begin: its further offsets are not said.
    damaged: Option<(i32, i64)>,
}

impl<L: Log> Reader<L> {
    fn new(log: L) -> Self {
        let (backoff, failing) = (Backoff::default(), None);
        Reader { log, topic: None, turn: 0, backoff, failing, said: false, damaged: None }
    }

    async fn next(&mut self, places: &BTreeMap<i32, i64>) -> Seen {
        loop {
            match self.attempt(places).await {
                Ok(Some(seen)) => return seen,
                Ok(None) => {}
                Err(why) => {
                    // Whatever was wrong: behind the same name there may be another topic now.
                    self.topic = None;
                    let since = *self.failing.get_or_insert_with(Instant::now);
                    if !self.said && since.elapsed() >= QUIET {
                        self.said = true;
                        warn!("no commands can be read, trying again: {why}");
                    }
                    let wait = self.backoff.next(RETRY, &mut rand::rng());
                    sleep(wait).await;
                }
            }
        }
    }

    /// Something, or nothing yet.
    async fn attempt(&mut self, places: &BTreeMap<i32, i64>) -> Result<Option<Seen>, String> {
        let Some(topic) = self.topic.clone() else {
            let topic = self.log.identity().await?;
            let bounds = self.log.bounds().await?;
            self.topic = Some(topic.clone());
            return Ok(Some(Seen::Topic(topic, bounds)));
        };
        self.turn = self.turn.wrapping_add(1);
        let partitions = u32::try_from(places.len()).unwrap_or(u32::MAX).max(1);
        let Some((&partition, &offset)) = places.iter().nth(self.turn % partitions as usize) else {
            return Err(format!("{} has no partition", topic.name));
        };
        let page = match self.log.read(partition, offset, WAIT / partitions).await {
            Ok(page) => page,
            Err(Failure::OutOfRange) => {
                return Err(format!("{}/{partition} has no offset {offset}", topic.name));
            }
            Err(Failure::Away(why)) => return Err(why),
            Err(Failure::Damaged(why)) => {
                let goes_on = self.damaged == Some((partition, offset));
                if !goes_on {
                    warn!("a command can't be read and is stepped over: {why}");
                }
                self.damaged = Some((partition, offset + 1));
                let page = Page { records: vec![], next: offset + 1 };
                return Ok(Some(Seen::Page(partition, page)));
            }
        };
        if self.failing.take().is_some() {
            self.backoff.reset();
            if std::mem::take(&mut self.said) {
                info!("commands are read again");
            }
        }
        if page.next == offset {
            return Ok(None);
        }
        // A topic that was made anew since may have given these under the old one's offsets, and they
        // would run again when they are read under its own.
        if self.log.identity().await? != topic {
            self.topic = None;
            return Ok(None);
        }
        Ok(Some(Seen::Page(partition, few(page, offset))))
    }
}

/// No more records than can be dealt with at once, none before the offset asked for.
fn few(mut page: Page, offset: i64) -> Page {
    page.records.retain(|record| record.offset >= offset);
    if let Some(next) = page.records.get(MAX_RECORDS) {
        page.next = next.offset;
        page.records.truncate(MAX_RECORDS);
    }
    page
}
