//! The keeper of [`Coverage`]: hears from the sockets what is covered and what is lost, tells
//! `gap-events` of it, has the candles fetched, and keeps it all in the state folder.
//!
//! ```text
//!  sockets ──Notice──▶ Gaps ─┬─▶ gap-events (through the spool)
//!  spool   ──Notice──▶       ├─▶ repairs ──▶ history
//!                            └─▶ sockets.json, alive
//! ```
//!
//! It never holds up a socket: notices come by a channel. Events are in the spool before the file says
//! so, so that a crash in between tells of a gap twice, which the table takes as one.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tickpanda_model::gap::{GapEvent, GapState};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::coverage::{self, Coverage, Reason, Repair, Told};
use crate::history::job::Pair;
use crate::store;
use crate::sub::{Kind, Sub};
use crate::watch::Missing;

/// Name of the file in the state folder.
const FILE: &str = "sockets.json";
/// A file that holds when the last frame came and when there was a socket last: written every second,
/// without forcing it to the disk.
const ALIVE: &str = "alive";
const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// How soon candles are asked for again that the history had no room for.
const AGAIN_EVERY: Duration = Duration::from_secs(60);
/// Notices taken at once, between two writes of the file.
const AT_ONCE: usize = 10_000;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// When a socket, or an attempt, ended last: milliseconds since the epoch.
    #[serde(default)]
    ended_at: i64,
    #[serde(default)]
    coverage: Coverage,
    /// Candles that are to be fetched and have not come.
    #[serde(default)]
    owed: BTreeSet<Repair>,
}

/// What the keeper hears.
#[derive(Debug)]
pub enum Notice {
    /// A sub gives data since then: live data, or else what the vendor has in store, or its word.
    Covered(Sub, i64, bool),
    /// These subs give none since then.
    Lost(Vec<Sub>, i64, Reason),
    /// These are all that are wanted from then on.
    Wanted(Vec<Sub>, i64),
    /// Trades that the vendor numbered never came, of this sub and record key.
    Missing(Sub, String, Missing),
    /// Frames of this key are gone from the spool: how many, from when to when.
    Spool(String, Kind, u64, i64, i64),
    /// A socket or an attempt ended then.
    Ended(i64),
    /// What became of a gap's candles.
    Candles(GapEvent),
    /// Answered when all that was heard before is in the spool.
    Told(oneshot::Sender<()>),
}

/// Whom the keeper tells.
pub trait Tell: Send {
    /// Puts the events on their way, durably.
    fn events(&mut self, events: &[(GapEvent, Option<Reason>)]) -> impl Future<Output = ()> + Send;
    /// Has candles fetched; those that are being fetched already are not twice. Whether all of them will
    /// be. [`events`](Self::events) is called right after it.
    fn repair(&mut self, repairs: Vec<Repair>) -> bool;
}

/// See the module.
#[derive(Debug)]
pub struct Gaps<T> {
    path: PathBuf,
    alive: PathBuf,
    kept: Kept,
    signs: Arc<Signs>,
    tell: T,
    /// Told at the start: what a crash may have swallowed.
    first: Told,
    /// Candles are owed that the history had no room for.
    again: bool,
    failed: bool,
}

/// Signs of life, as the sockets give them: milliseconds since the epoch, 0 where there was none.
#[derive(Debug, Default)]
pub struct Signs {
    /// When the last frame of any kind came, of each socket.
    pub frames: Vec<AtomicI64>,
    /// When there was a socket last, or an attempt at one.
    pub sockets: AtomicI64,
}

impl Signs {
    /// For so many sockets.
    pub fn new(sockets: usize) -> Self {
        Signs { frames: (0..sockets).map(|_| AtomicI64::new(0)).collect(), ..Signs::default() }
    }

    /// When the last frame came, of the socket that has waited longest for one.
    fn last_frame(&self) -> i64 {
        let frames = self.frames.iter().map(|frame| frame.load(Ordering::Relaxed));
        frames.filter(|frame| *frame > 0).min().unwrap_or(0)
    }
}

/// What an earlier run left, as far as the sockets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// When the last frame came, milliseconds since the epoch; 0 where nothing is known.
    pub last_frame: i64,
    /// When the last socket ended at the latest; 0 where there was none.
    pub ended_at: i64,
}

impl<T: Tell> Gaps<T> {
    /// Reads what an earlier run left. `spooled` is the newest frame in the spool (milliseconds since
    /// the epoch). What that run covered has a gap from now on.
    ///
    /// # Errors
    /// The file is damaged or can't be read.
    pub fn open(
        state_dir: &Path,
        spooled: Option<i64>,
        signs: Arc<Signs>,
        tell: T,
    ) -> io::Result<(Self, Before)> {
        let (path, alive) = (state_dir.join(FILE), state_dir.join(ALIVE));
        let mut kept: Kept = store::load(&path)?.unwrap_or_default();
        let text = std::fs::read_to_string(&alive).unwrap_or_default();
        let mut marks = text.split_whitespace().map(|mark| mark.parse::<i64>().unwrap_or(0));
        let (frame, socket) = (marks.next().unwrap_or(0), marks.next().unwrap_or(0));
        // With several sockets the newest frame says nothing of the others.
        let spooled = spooled.filter(|_| signs.frames.len() <= 1 || frame == 0);
        let last = frame.max(spooled.unwrap_or(0));
        // After a crash the socket may have lived for as long as the mark is wide after the last that is
        // known of it; one that was killed within its first second has frames, but no mark.
        let known = socket.max(last);
        let lived = if known > 0 { known + 1000 } else { 0 };
        let before = Before { last_frame: last, ended_at: kept.ended_at.max(lived) };
        // What it opens is told with all that is open.
        kept.coverage.begin(last);
        let mut first = kept.coverage.open_gaps();
        first.repairs = kept.owed.iter().cloned().collect();
        signs.frames.iter().for_each(|frame| frame.store(last, Ordering::Relaxed));
        signs.sockets.store(socket, Ordering::Relaxed);
        let gaps = Gaps { path, alive, kept, signs, tell, first, again: false, failed: false };
        Ok((gaps, before))
    }

    /// Listens until every sender is gone, or until `stop`, and then to what has been said before.
    pub async fn run(
        mut self,
        mut notices: mpsc::UnboundedReceiver<Notice>,
        stop: CancellationToken,
    ) {
        let first = std::mem::take(&mut self.first);
        self.pass_on(first).await;
        let mut heard = Vec::new();
        let mut every = tokio::time::interval(ALIVE_EVERY);
        let mut again = tokio::time::interval(AGAIN_EVERY);
        loop {
            let many = tokio::select! {
                biased;
                many = notices.recv_many(&mut heard, AT_ONCE) => many,
                () = stop.cancelled() => 0,
                _ = every.tick() => {
                    self.mark();
                    continue;
                }
                _ = again.tick(), if self.again => {
                    let repairs = self.kept.owed.iter().cloned().collect();
                    self.pass_on(Told { repairs, ..Told::default() }).await;
                    continue;
                }
            };
            let before = self.kept.clone();
            let mut told = Told::default();
            let (mut candles, mut waiting) = (Vec::new(), Vec::new());
            for notice in heard.drain(..) {
                let notice = match notice {
                    Notice::Told(sender) => {
                        waiting.push(sender);
                        continue;
                    }
                    notice => notice,
                };
                told = told.and(self.hear(notice, &mut candles));
            }
            self.pass_on(told).await;
            if !candles.is_empty() {
                self.tell.events(&candles).await;
            }
            if self.kept != before {
                self.save().await;
            }
            for sender in waiting {
                // Who has gone does not mind.
                let _ = sender.send(());
            }
            if many == 0 {
                self.mark();
                return;
            }
        }
    }

    fn hear(&mut self, notice: Notice, candles: &mut Vec<(GapEvent, Option<Reason>)>) -> Told {
        let coverage = &mut self.kept.coverage;
        match notice {
            Notice::Covered(sub, at, live) => coverage.covered(&sub, at, live),
            Notice::Lost(subs, last, reason) => coverage.lost(&subs, last, reason),
            Notice::Wanted(subs, at) => coverage.wanted(&subs, at),
            Notice::Missing(sub, key, missing) => coverage.missing(&sub, &key, missing),
            Notice::Spool(key, kind, count, from, to) => {
                coverage::lost_frames(&key, kind, count, from, to)
            }
            Notice::Ended(at) => {
                self.kept.ended_at = self.kept.ended_at.max(at);
                Told::default()
            }
            Notice::Candles(event) => {
                match event.state {
                    // The history has no room for it now.
                    GapState::Open => self.again = true,
                    _ => self.kept.owed.retain(|repair| !is_of(&event, repair)),
                }
                candles.push((event, None));
                Told::default()
            }
            Notice::Told(_) => Told::default(),
        }
    }

    async fn pass_on(&mut self, told: Told) {
        // What is no plain pair has no candles.
        let plain = |r: &Repair| Pair::new(&r.market, &r.base, &r.quote).is_ok();
        let Told { events, repairs } = told;
        let repairs: Vec<Repair> = repairs.into_iter().filter(plain).collect();
        let told = Told { events, repairs };
        if told.events.is_empty() && told.repairs.is_empty() {
            return;
        }
        // Written down until they have come, whatever becomes of us or of the history meanwhile.
        self.kept.owed.extend(told.repairs.iter().cloned());
        self.again = !self.tell.repair(told.repairs);
        self.tell.events(&told.events).await;
    }

    /// Off the async threads: it waits for the disk.
    async fn save(&mut self) {
        let (path, kept) = (self.path.clone(), self.kept.clone());
        let saved = tokio::task::spawn_blocking(move || store::save(&path, &kept)).await;
        let saved = saved.unwrap_or_else(|error| Err(io::Error::other(error)));
        match saved {
            Ok(()) => self.failed = false,
            Err(error) if !self.failed => {
                warn!(
                    "{}: {error}: gaps are told of, but a restart may not know of them",
                    self.path.display()
                );
                self.failed = true;
            }
            Err(_) => {}
        }
    }

    /// A few bytes into the page cache.
    fn mark(&self) {
        let (frame, socket) = (self.signs.last_frame(), self.signs.sockets.load(Ordering::Relaxed));
        if frame > 0 || socket > 0 {
            // What can't be written makes a later gap a little longer, no more.
            let _ = std::fs::write(&self.alive, format!("{frame} {socket}"));
        }
    }
}

/// Whether it tells of these candles.
fn is_of(event: &GapEvent, repair: &Repair) -> bool {
    let named = |part: &Option<String>, name: &str| part.as_deref() == Some(name);
    named(&event.market, &repair.market)
        && named(&event.base, &repair.base)
        && named(&event.quote, &repair.quote)
        && (event.gap_from, event.gap_to) == (repair.from, Some(repair.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<(Vec<GapEvent>, Vec<Repair>)>>);

    impl Tell for Heard {
        async fn events(&mut self, events: &[(GapEvent, Option<Reason>)]) {
            self.0.lock().unwrap().0.extend(events.iter().map(|(event, _)| event.clone()));
        }
        fn repair(&mut self, repairs: Vec<Repair>) -> bool {
            self.0.lock().unwrap().1.extend(repairs);
            true
        }
    }

    fn sub() -> Sub {
        Sub::parse("0~Coinbase~BTC~USD").unwrap()
    }

    /// A run that hears these notices; what it told, and what it found at its start.
    async fn run(dir: &Path, spooled: Option<i64>, notices: Vec<Notice>) -> (Heard, Before) {
        let (heard, signs) = (Heard::default(), Arc::new(Signs::new(1)));
        let opened = Gaps::open(dir, spooled, Arc::clone(&signs), heard.clone());
        let (gaps, before) = opened.unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        for notice in notices {
            if let Notice::Covered(_, at, _) = notice {
                signs.frames[0].fetch_max(at, Ordering::Relaxed);
                signs.sockets.fetch_max(at, Ordering::Relaxed);
            }
            sender.send(notice).unwrap();
        }
        drop(sender);
        gaps.run(receiver, CancellationToken::new()).await;
        (heard, before)
    }

    #[tokio::test]
    async fn a_gap_survives_a_restart_and_ends_with_the_first_data_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let covered = |at| Notice::Covered(sub(), at, true);
        let (heard, before) = run(dir.path(), None, vec![covered(1_000)]).await;
        assert_eq!(before, Before { last_frame: 0, ended_at: 0 });
        assert_eq!(heard.0.lock().unwrap().0, []);
        // It was killed; its last frame is in the spool.
        let (heard, before) = run(dir.path(), Some(5_000), vec![]).await;
        assert_eq!(before, Before { last_frame: 5_000, ended_at: 6_000 });
        let told = heard.0.lock().unwrap().0.clone();
        assert_eq!((told.len(), told[0].gap_from, told[0].state), (1, 5_000, GapState::Open));
        // Killed again before the vendor came back: told again, the same gap.
        let notices = vec![Notice::Ended(9_000), covered(10_000)];
        let (heard, before) = run(dir.path(), Some(5_000), notices).await;
        assert!(before.ended_at >= 2_000);
        let (told, repairs) = heard.0.lock().unwrap().clone();
        let spans: Vec<_> = told.iter().map(|gap| (gap.gap_from, gap.gap_to)).collect();
        assert_eq!(spans, [(5_000, None), (5_000, Some(10_000))]);
        assert_eq!(repairs.len(), 1);
        let (_, before) = run(dir.path(), None, vec![]).await;
        assert_eq!(before.ended_at, 11_000, "it lived until its last mark, and a second more");
    }

    #[tokio::test]
    async fn candles_are_asked_for_until_they_have_come_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let covered = |at| Notice::Covered(sub(), at, true);
        let lost = Notice::Lost(vec![sub()], 2_000, Reason::NoConnection);
        let (heard, _) = run(dir.path(), None, vec![covered(1_000), lost, covered(3_000)]).await;
        let repair = heard.0.lock().unwrap().1[0].clone();
        // Killed, or stopped, before anybody has fetched them.
        let (heard, _) = run(dir.path(), None, vec![]).await;
        assert_eq!(heard.0.lock().unwrap().1, std::slice::from_ref(&repair));
        let come = coverage::candles(&repair, GapState::Repaired, "");
        run(dir.path(), None, vec![Notice::Candles(come)]).await;
        let (heard, _) = run(dir.path(), None, vec![]).await;
        assert_eq!(heard.0.lock().unwrap().1, []);
    }

    #[tokio::test]
    async fn a_file_that_is_damaged_is_an_error_and_not_a_fresh_start() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        let opened = Gaps::open(dir.path(), None, Arc::new(Signs::new(1)), Heard::default());
        assert!(opened.is_err());
    }
}
