//! The control task: reads commands, saves what they change, has it done, and hands over the replies.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tickpanda_model::control::Reply;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::commands::{Base, Commands, Effect, Event};
use super::kept::{FILE, Kept};
use super::reader::{self, Log, Seen};
use super::understand::said;
use crate::backoff::{Backoff, Bounds};
use crate::clock::now_ms;
use crate::counters::Count;
use crate::error::SourceError;
use crate::observe::ControlView;
use crate::store;
use crate::tally::Tally;

/// Events that may wait for the task: the vendor's words on as many subs as there can be.
const EVENTS: usize = 32 * 1024;
/// Effects that may wait for the source.
const EFFECTS: usize = 256;
/// Events that are saved together.
const TOGETHER: usize = 1000;
/// How often time passes for who waits too long.
const TICK: Duration = Duration::from_secs(1);
/// How long it may take to stop: with more time, no reply is repeated after an ordinary restart.
const GRACE: Duration = Duration::from_millis(300);
/// Between attempts to save.
const SAVE_AGAIN: Bounds =
    Bounds { floor: Duration::from_millis(200), ceiling: Duration::from_secs(10) };

/// Tells the control task what became of its effects.
#[derive(Clone, Debug)]
pub struct Handle {
    events: mpsc::Sender<Told>,
    dropped: Arc<Count>,
    view: Arc<Mutex<ControlView>>,
}

/// An event, and whom to tell when what it changed is saved.
type Told = (Event, Option<oneshot::Sender<()>>);

impl Handle {
    /// Tells it, and never waits. What does not fit into its queue is counted and dropped: the command it
    /// was about is answered when it has waited too long, or taken up again after a restart.
    pub fn tell(&self, event: Event) {
        if self.events.try_send((event, None)).is_err() {
            self.dropped.add(1);
        }
    }

    /// Tells it, and returns when what that changed is saved: for who must not forget the work before
    /// (else a crash in between would have it done again). Whether it is; not where the task is ending.
    pub async fn settle(&self, event: Event) -> bool {
        let (saved, done) = oneshot::channel();
        self.events.send((event, Some(saved))).await.is_ok() && done.await.is_ok()
    }

    /// What the task shows of itself.
    pub fn view(&self) -> ControlView {
        let view = *self.view.lock().unwrap_or_else(PoisonError::into_inner);
        ControlView { dropped: self.dropped.get(), ..view }
    }
}

/// Where a reply is handed over: it must be safe there from the end of the process on (the spool), and
/// must not wait for a broker. An error is tried again a second later.
pub trait Replies: FnMut(&Reply) -> Result<(), String> + Send {}
impl<F: FnMut(&Reply) -> Result<(), String> + Send> Replies for F {}

/// The task, loaded and not yet running.
#[derive(Debug)]
pub struct Task {
    commands: Commands,
    path: PathBuf,
    events: mpsc::Receiver<Told>,
    effects: mpsc::Sender<Effect>,
    /// Replies by status.
    tally: Arc<Tally<1>>,
    /// See [`Handle::view`].
    view: Arc<Mutex<ControlView>>,
    /// Replies that could not be handed over were spoken of.
    unreplied: bool,
}

impl Task {
    /// Loads what was kept in `state_dir`. Besides the task: whom to tell what became of its effects, and
    /// the effects.
    ///
    /// # Errors
    /// [`SourceError::State`]: the file can't be read, or is not ours. Nothing is guessed then, because
    /// a command would run twice.
    pub fn load(
        base: Base,
        state_dir: &Path,
        tally: Arc<Tally<1>>,
    ) -> Result<(Self, Handle, mpsc::Receiver<Effect>), SourceError> {
        let path = state_dir.join(FILE);
        let kept: Option<Kept> =
            store::load(&path).map_err(|error| SourceError::State { path: path.clone(), error })?;
        let commands = Commands::new(base, kept.unwrap_or_default());
        let (tell, events) = mpsc::channel(EVENTS);
        let (effects, done) = mpsc::channel(EFFECTS);
        let view = Arc::<Mutex<ControlView>>::default();
        let handle = Handle { events: tell, dropped: Arc::default(), view: Arc::clone(&view) };
        let task = Task { commands, path, events, effects, tally, view, unreplied: false };
        task.show();
        Ok((task, handle, done))
    }

    /// The subs in effect: to begin with, before [`Task::run`].
    pub fn commands(&self) -> &Commands {
        &self.commands
    }

    /// Takes commands until told to stop. What was under way is taken up first.
    pub async fn run<L: Log>(self, log: L, replies: impl Replies, stop: CancellationToken) {
        let late = async {
            stop.cancelled().await;
            sleep(GRACE).await;
        };
        tokio::select! {
            () = self.work(log, replies, &stop) => {}
            () = late => {}
        }
    }

    /// Dropped at any point, it has lost nothing: what is saved is saved as a whole.
    async fn work<L: Log>(mut self, log: L, mut replies: impl Replies, stop: &CancellationToken) {
        let (places, asked) = mpsc::channel::<BTreeMap<i32, i64>>(1);
        let (found, mut seen) = mpsc::channel(1);
        let reading = reader::read(log, asked, found);
        let working = async {
            let resumed = self.commands.resume();
            self.execute(resumed).await;
            self.hand_over(&mut replies).await;
            let mut tick = interval(TICK);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut events = Vec::new();
            // Whether the reader is at work, and whether there is anybody who tells anything.
            let (mut reads, mut told) = (false, true);
            loop {
                // While replies are owed no more commands are taken, so that they are bounded.
                if !reads && self.commands.kept().replies.is_empty() {
                    reads = places.send(self.commands.places()).await.is_ok();
                }
                let before = self.commands.kept().clone();
                let owed = before.replies.len();
                let (mut effects, mut waiters) = (Vec::new(), Vec::new());
                tokio::select! {
                    () = stop.cancelled() => return,
                    Some(found) = seen.recv() => {
                        reads = false;
                        effects = self.seen(found);
                    }
                    count = self.events.recv_many(&mut events, TOGETHER), if told => {
                        told = count > 0;
                        for (event, waiter) in events.drain(..) {
                            effects.extend(self.commands.event(event, now_ms()));
                            waiters.extend(waiter);
                        }
                    }
                    _ = tick.tick() => self.commands.tick(now_ms()),
                }
                for reply in self.commands.kept().replies.iter().skip(owed) {
                    self.tally.add([reply.status.as_str()]);
                    let Reply { id, action, status, detail, .. } = reply;
                    let id = id.as_deref().unwrap_or_default();
                    info!(id, action, status = status.as_str(), "command: {}", said(detail, 600));
                }
                if *self.commands.kept() != before {
                    self.save().await;
                }
                for waiter in waiters {
                    let _ = waiter.send(()); // it may have gone
                }
                self.execute(effects).await;
                self.hand_over(&mut replies).await;
                self.show();
            }
        };
        tokio::select! {
            () = reading => {}
            () = working => {}
        }
    }

    fn show(&self) {
        let kept = self.commands.kept();
        let view = ControlView {
            pending: kept.pending.len() as u64,
            owed: kept.replies.len() as u64,
            added: kept.subs.added.len() as u64,
            removed: kept.subs.removed.len() as u64,
            dropped: 0,
        };
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn seen(&mut self, seen: Seen) -> Vec<Effect> {
        match seen {
            Seen::Topic(topic, bounds) => {
                for note in self.commands.found(&topic, &bounds) {
                    info!("commands: {note}");
                }
                vec![]
            }
            Seen::Page(partition, page) => {
                let now = now_ms();
                let records = page.records.iter();
                let values = records.map(|record| record.value.as_deref());
                let effects = values.flat_map(|value| self.commands.receive(value, now)).collect();
                self.commands.advance(partition, page.next);
                effects
            }
        }
    }

    /// Returns when it is saved, however long that takes: nothing may be done before.
    async fn save(&self) {
        let mut backoff = Backoff::default();
        loop {
            let (path, kept) = (self.path.clone(), self.commands.kept().clone());
            // Not here: it waits for the disk.
            let saved = tokio::task::spawn_blocking(move || store::save(&path, &kept)).await;
            let why = match saved {
                Ok(Ok(())) => {
                    if backoff.failures() > 0 {
                        info!("commands go on: {} is written again", self.path.display());
                    }
                    return;
                }
                Ok(Err(error)) => error.to_string(),
                Err(error) => error.to_string(),
            };
            if backoff.failures() == 0 {
                let path = self.path.display();
                warn!("commands wait, because {path} can't be written, trying again: {why}");
            }
            let wait = backoff.next(SAVE_AGAIN, &mut rand::rng());
            sleep(wait).await;
        }
    }

    async fn execute(&self, effects: Vec<Effect>) {
        for effect in effects {
            if self.effects.send(effect).await.is_err() {
                // The source is ending, and so will this task.
                return;
            }
        }
    }

    async fn hand_over(&mut self, replies: &mut impl Replies) {
        let mut handed_over = 0;
        for reply in &self.commands.kept().replies {
            if let Err(why) = replies(reply) {
                if !self.unreplied {
                    warn!("replies to commands wait, trying again: {why}");
                    self.unreplied = true;
                }
                break;
            }
            self.unreplied = false;
            handed_over += 1;
        }
        if handed_over > 0 {
            self.commands.replied(handed_over);
            self.save().await;
        }
        self.show();
    }
}
