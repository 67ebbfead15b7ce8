//! The history at work: its region in the machine that all share, bodies to the spool, progress to
//! `history.json`, and who asked is told.

use std::path::PathBuf;
use std::sync::Arc;

use tickpanda_model::control::History;
use tickpanda_model::gap::GapState;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::orders::Desk;
use super::tell;
use crate::api_key::ApiKey;
use crate::control::{self, Handle};
use crate::counters::Counters;
use crate::coverage;
use crate::driver::{Driver, Inbox};
use crate::error::SourceError;
use crate::gaps::Notice;
use crate::history::client::Client;
use crate::history::driver::{self as history_driver, Home, Out, Publish};
use crate::history::job::{Asker, Job};
use crate::history::{self};
use crate::machine::history::{Done, Effect, Event, Outcome, Region, Saved};
use crate::machine::{self};
use crate::settings::Settings;
use crate::spool::{Burst, Headers, Spool, TopicId};
use crate::store;

/// Name of the file in the state folder.
const FILE: &str = "history.json";

/// The region as an earlier run left it.
pub(super) fn load(settings: &Settings, now: i64) -> Result<Region, SourceError> {
    let path = settings.state_dir.join(FILE);
    let saved: Option<Saved> =
        store::load(&path).map_err(|error| SourceError::State { path, error })?;
    let waiting = saved.as_ref().map_or(0, |saved| saved.jobs.len());
    if waiting > 0 {
        info!(jobs = waiting, "history of the last run goes on where it was");
    }
    Ok(Region::new(settings.rules.history, saved, now))
}

/// The newest candles of all pairs that are subscribed to.
pub(super) fn wish_start_up(
    settings: &Settings,
    desk: &Desk,
    wishes: &mpsc::Sender<Event>,
    now: i64,
) {
    let subs: Vec<String> = desk.subs().iter().map(ToString::to_string).collect();
    wish(&history::jobs(&subs, &settings.history, settings.history_limit), wishes, now);
}

/// Asks for these at the start.
fn wish(wanted: &[History], wishes: &mpsc::Sender<Event>, now: i64) {
    let mut refused = 0usize;
    for wanted in wanted {
        match Job::start_up(wanted, now) {
            Ok(job) => {
                let event = Event::FetchHistoricalData(Box::new(job));
                refused += usize::from(wishes.try_send(event).is_err());
            }
            Err(why) => warn!("no history of {}~{}~{}: {why}", wanted.e, wanted.fsym, wanted.tsym),
        }
    }
    if refused > 0 {
        warn!(refused, "too much history is asked for at once: these are not fetched");
    }
}

/// Works until told to stop.
pub(super) async fn work(
    home: Shared,
    client: Client,
    out: PastOut,
    wishes: mpsc::Receiver<Event>,
    stop: CancellationToken,
) -> Result<(), SourceError> {
    let mut driver = history_driver::Driver::<_, Shared>::new(home, client, out);
    driver.run(wishes, &stop).await;
    Ok(())
}

/// The region in the machine that the whole source shares.
pub(super) struct Shared {
    driver: Arc<Driver>,
    inbox: Inbox<Effect>,
}

impl Shared {
    pub(super) fn new(driver: Arc<Driver>, inbox: Inbox<Effect>) -> Self {
        Shared { driver, inbox }
    }
}

impl Home for Shared {
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.driver.own(machine::Event::History(event)).into_iter();
        let own = effects.filter_map(|effect| match effect {
            machine::Effect::History(effect) => Some(effect),
            _ => None,
        });
        own.collect()
    }

    fn now(&mut self) -> i64 {
        self.driver.clock().ms()
    }

    fn look<T>(&self, look: impl FnOnce(&Region) -> T) -> T {
        self.driver.look(|state| look(&state.history))
    }

    async fn others(&mut self) -> Vec<Effect> {
        match self.inbox.recv().await {
            Some(effects) => effects,
            None => std::future::pending().await,
        }
    }
}

/// Where the history goes.
pub(super) struct PastOut {
    path: PathBuf,
    keys: Vec<ApiKey>,
    spool: Arc<Spool>,
    burst: Burst,
    topic: TopicId,
    counters: Arc<Counters>,
    handle: Handle,
    gaps: mpsc::UnboundedSender<Notice>,
}

impl PastOut {
    pub(super) fn new(
        settings: &Settings,
        spool: &Arc<Spool>,
        topic: TopicId,
        counters: &Arc<Counters>,
        handle: Handle,
        gaps: &mpsc::UnboundedSender<Notice>,
    ) -> Self {
        PastOut {
            path: settings.state_dir.join(FILE),
            keys: settings.api_keys.clone(),
            spool: Arc::clone(spool),
            burst: Burst::new(spool),
            topic,
            counters: Arc::clone(counters),
            handle,
            gaps: gaps.clone(),
        }
    }
}

impl Publish for PastOut {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> Result<(), String> {
        if self.spool.bytes() > self.spool.limit() / 2 {
            return Err("the spool is half full, and the rest is for the stream".to_owned());
        }
        if self.keys.iter().any(|api_key| api_key.is_in(body)) {
            // A refusal that repeats what it refuses. Nothing else of the vendor's has it.
            warn!(pair = key, "an answer is not published, because the API key is in it");
            self.counters.withheld.add(1);
            return Ok(());
        }
        self.burst.push(self.topic, key.as_bytes(), body, received_at, Some(&headers));
        self.burst.take_counts();
        self.spool.append(&mut self.burst).await;
        self.counters.bodies.add(1);
        Ok(())
    }
}

impl Out for PastOut {
    async fn save(&mut self, saved: Saved) -> Result<(), String> {
        let path = self.path.clone();
        // Off the async threads: it waits for the disk.
        let saved = tokio::task::spawn_blocking(move || store::save(&path, &saved)).await;
        match saved {
            Ok(saved) => saved.map_err(|error| format!("{}: {error}", self.path.display())),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn done(&mut self, done: &Done) {
        let Done { job, outcome } = done;
        let notes = job.notes.join("; ");
        for asker in &job.askers {
            match asker {
                Asker::Gap(name) => {
                    let Some(repair) = tell::repair_of(name, &job.pair) else { continue };
                    let (state, detail) = match outcome.problem() {
                        Some(why) if matches!(outcome, Outcome::NotTaken(_)) => {
                            (GapState::Open, format!("{why}; they are asked for again"))
                        }
                        None => {
                            (GapState::Repaired, format!("{} candles fetched", job.rows_done()))
                        }
                        Some(why) => (GapState::Unrepairable, why.to_owned()),
                    };
                    let detail = [detail, notes.clone()].join("; ");
                    let detail = detail.trim_end_matches("; ");
                    let event = coverage::candles(&repair, state, detail);
                    let _ = self.gaps.send(Notice::Candles(event));
                }
                Asker::Command(ticket) => {
                    let ticket = *ticket;
                    let pages =
                        format!("{} candles in {} pages", job.rows_done(), job.pages_done());
                    let outcome = match outcome.problem() {
                        None => Ok([pages, notes.clone()].join("; ")),
                        Some(why) => Err([why.to_owned(), pages, notes.clone()].join("; ")),
                    };
                    let tidy = |text: String| text.trim_end_matches("; ").to_owned();
                    let outcome = outcome.map(tidy).map_err(tidy);
                    self.handle.settle(control::Event::Done { ticket, outcome }).await;
                }
                _ => match outcome {
                    Outcome::Complete => {
                        debug!("history of {}: {} rows", job.about(), job.rows_done())
                    }
                    _ => debug!("history of {}: {:?}", job.about(), outcome),
                },
            }
        }
    }

    fn answered(&mut self, reaction: &'static str) {
        self.counters.requests.add([reaction]);
    }
}
