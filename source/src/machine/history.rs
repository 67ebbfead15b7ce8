//! The history region: which REST request is next, and what each answer means. Pure: the time and the
//! random numbers come with the events, bodies stay with whoever drives it ([`crate::history::driver`]).
//!
//! ```text
//!            ┌───────────────────── budget, not_before ─────────────────────┐
//!            ▼                                                               │
//!  idle ── Fetch ──▶ fetchingHistoricalData ── Publish ──▶ publishingHistoricalData ── Save ──▶ idle
//!                          │                                    │
//!                          ▼    wait: backoff, rate limit, key  ▼
//!                        error ─────────── then again ───────▶ where it was
//! ```
//!
//! One request is in flight at a time. Gaps go before commands, these before the history at the start,
//! all of them before `backfill`; among equals pairs take turns. Every job ends in exactly one
//! [`Effect::Done`], or is written down when the process ends.

use serde::{Deserialize, Serialize};
use std::time::Duration;
use tickpanda_model::control::History;
use tickpanda_model::limit::RAW_RECORD;
use tracing::Level;

use super::{Moment, Name, Status};
use crate::backoff::{Backoff, Bounds};
use crate::history::answer::Answer;
use crate::history::budget::{Budget, PER_MINUTE};
use crate::history::job::{Asker, Job};
use crate::history::walk::{Got, Page};

mod published;
mod queue;
mod reactions;
mod show;
mod trouble;

pub use show::{Counts, Progress};

/// As large as a page should be in bytes: rows differ in length, and a page that is too large again
/// costs two more requests.
const PAGE: usize = RAW_RECORD * 7 / 8;

/// Waits and limits; tests compress them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// Calls a minute for gaps, commands and the history at the start.
    pub per_minute: u32,
    /// Calls a minute for `backfill`.
    pub backfill_per_minute: u32,
    /// After a request or a write that may work later.
    pub retry: Bounds,
    /// Attempts at a page in a row.
    pub attempts: u32,
    /// How often the repair of a gap begins its attempts anew before it is given up.
    pub rounds: u32,
    /// Between these.
    pub round: Duration,
    /// After a refusal of the key.
    pub unauthorized: Duration,
    /// After too many calls, at most: then it is tried.
    pub longest_wait: Duration,
    /// Jobs that may wait.
    pub queue: usize,
}

impl Default for Rules {
    fn default() -> Self {
        let hour = Duration::from_secs(3600);
        Rules {
            per_minute: PER_MINUTE,
            backfill_per_minute: PER_MINUTE,
            retry: Bounds { floor: Duration::from_secs(1), ceiling: Duration::from_secs(60) },
            attempts: 20,
            rounds: 24,
            round: hour,
            unauthorized: hour,
            longest_wait: hour,
            queue: 10_000,
        }
    }
}

/// The region.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    rules: Rules,
    jobs: Vec<Job>,
    /// Who was waiting when the process began. They may ask again, and may have been answered by then.
    taken_over: Vec<Asker>,
    next_id: u64,
    /// Turn of the job served last.
    turn: u64,
    live: Budget,
    backfill: Budget,
    doing: Doing,
    /// Nothing is asked for until then.
    pause: Option<Pause>,
    /// Requests failed in a row.
    failures: Backoff,
    /// Refused for too many calls in a row.
    limited: Backoff,
    /// The key was refused, and nothing has come since.
    unauthorized: bool,
    store: Store,
    stopping: bool,
    counts: Counts,
    name: Name,
    since: i64,
    wake: Option<i64>,
}

/// What is in flight.
#[derive(Clone, Debug, PartialEq)]
enum Doing {
    Nothing,
    Fetching {
        job: u64,
        walk: usize,
        page: Page,
    },
    Publishing {
        job: u64,
        walk: usize,
        page: Page,
        after: After,
        failures: Backoff,
        again: Option<i64>,
    },
}

/// What a page means once its body is in the spool.
#[derive(Clone, Debug, PartialEq)]
enum After {
    Took { got: Got, received_at: i64 },
    Refused(String),
    TooOld(String),
    GaveUp(String),
}

#[derive(Clone, Debug, PartialEq)]
struct Pause {
    until: i64,
    /// Not even RETRY ends it: the vendor said how long.
    firm: bool,
    why: String,
}

/// Whether what is in the file is what is here.
#[derive(Clone, Debug, Default, PartialEq)]
struct Store {
    dirty: bool,
    saving: bool,
    failures: Backoff,
    again: Option<(i64, String)>,
}

/// What must outlive the process: part of the state file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// What is still wanted, and how far it is.
    pub jobs: Vec<Job>,
    /// The next job's number.
    next_id: u64,
    /// Calls made: a process that is started again and again has one budget, not one each.
    live: Option<Budget>,
    backfill: Option<Budget>,
}

/// What happens to the region.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `FETCH_HISTORICAL_DATA`: candles are wanted. The driver executes [`Effect::Save`] before it says
    /// to anybody that they will come.
    FetchHistoricalData(Box<Job>),
    /// What came back for the request of this job.
    Fetched {
        /// As in [`Effect::Fetch`].
        job: u64,
        /// The answer, without its body.
        answer: Answer,
    },
    /// The body is in the spool.
    Published {
        /// As in [`Effect::Publish`].
        job: u64,
    },
    /// The body is not in the spool, and why. It is tried again: the driver keeps the body.
    NotPublished {
        /// As in [`Effect::Publish`].
        job: u64,
        /// In words.
        what: String,
    },
    /// What [`Region::saved`] gave is in the state file.
    Saved,
    /// It is not, and why.
    NotSaved(String),
    /// RETRY
    Retry,
    /// A moment has come.
    Tick,
    /// The process ends: nothing new is begun, what is left stays written down.
    Stopping,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the vendor for this, and bring [`Event::Fetched`].
    Fetch {
        /// For whom.
        job: u64,
        /// The request.
        request: History,
    },
    /// Put the body of this request into the spool, with the key and headers of [`crate::rest`], and
    /// bring [`Event::Published`] or [`Event::NotPublished`].
    Publish {
        /// For whom.
        job: u64,
        /// The request.
        request: History,
    },
    /// Write down [`Region::saved`], and bring [`Event::Saved`] or [`Event::NotSaved`].
    Save,
    /// A job has ended. It comes before the `Save` that forgets the job: whoever has to pass it on
    /// writes down that it is owed in the same file, and it is passed on exactly once.
    Done(Box<Done>),
    /// The vendor refuses the key. Said once, until it takes it again.
    Unauthorized(String),
    /// One line of log.
    Say(Level, String),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The job, with everybody who asked for it and what there is to say of it.
    pub job: Job,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All that was wanted is there, as far as the vendor has it.
    Complete,
    /// What is older than the rows that came is not to be had, in the vendor's words.
    TooOld(String),
    /// The vendor refused it for good, in its words.
    Refused(String),
    /// It failed too often.
    GaveUp(String),
    /// It was not begun.
    NotTaken(String),
}

impl Outcome {
    /// Why not everything came; `None` if it did.
    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Complete => None,
            Self::TooOld(what)
            | Self::Refused(what)
            | Self::GaveUp(what)
            | Self::NotTaken(what) => Some(what),
        }
    }
}

impl Default for Region {
    fn default() -> Self {
        Self::new(Rules::default(), None, 0)
    }
}

impl Region {
    /// A region that goes on where an earlier process was; `now` in ms.
    pub fn new(rules: Rules, saved: Option<Saved>, now: i64) -> Self {
        let Saved { jobs, next_id, live, backfill } = saved.unwrap_or_default();
        let budget = |saved: Option<Budget>, calls| match saved {
            Some(budget) => budget.resized(calls),
            None => Budget::per_minute(calls),
        };
        let mut region = Region {
            rules,
            turn: jobs.iter().map(|job| job.turn).min().unwrap_or(1).saturating_sub(1),
            next_id: jobs.iter().map(|job| job.id + 1).max().unwrap_or(0).max(next_id),
            taken_over: jobs.iter().flat_map(|job| job.askers.iter().cloned()).collect(),
            jobs,
            live: budget(live, rules.per_minute),
            backfill: budget(backfill, rules.backfill_per_minute),
            doing: Doing::Nothing,
            pause: None,
            failures: Backoff::default(),
            limited: Backoff::default(),
            unauthorized: false,
            store: Store::default(),
            stopping: false,
            counts: Counts::default(),
            name: Name::Idle,
            since: now,
            wake: None,
        };
        // What it has goes on by itself: with the first event, and that is this moment at the latest.
        region.wake = (!region.jobs.is_empty()).then_some(now);
        region
    }

    /// What must outlive the process.
    pub fn saved(&self) -> Saved {
        Saved {
            jobs: self.jobs.clone(),
            next_id: self.next_id,
            live: Some(self.live.clone()),
            backfill: Some(self.backfill.clone()),
        }
    }

    /// One step.
    pub fn step(&mut self, event: Event, at: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::FetchHistoricalData(job) => self.enqueue(*job, &mut effects),
            Event::Fetched { job, answer } => self.fetched(job, answer, at, &mut effects),
            Event::Published { job } => self.published(job, at, &mut effects),
            Event::NotPublished { job, what } => self.not_published(job, &what, at, &mut effects),
            Event::Saved if !self.store.saving => {}
            Event::Saved => {
                if self.store.failures.failures() > 0 {
                    effects.push(say(Level::INFO, "the progress of history is written down again"));
                }
                self.store = Store { dirty: self.store.dirty, ..Store::default() };
            }
            Event::NotSaved(what) => self.not_saved(what, at, &mut effects),
            Event::Retry => self.retry_now(at),
            Event::Tick => {}
            Event::Stopping => {
                self.stopping = true;
                // Once more, whenever it was to be tried again.
                if let Some((again, _)) = &mut self.store.again {
                    *again = at.ms;
                }
            }
        }
        self.proceed(at, &mut effects);
        self.wake = self.next_wake(at.ms);
        let name = self.present_name();
        if name != self.name {
            (self.name, self.since) = (name, at.ms);
        }
        effects
    }

    /// The state it is in.
    pub fn name(&self) -> Name {
        self.name
    }

    /// The next moment it waits for.
    pub fn wake(&self) -> Option<i64> {
        self.wake
    }

    /// Begins whatever can be begun.
    fn proceed(&mut self, at: Moment, effects: &mut Vec<Effect>) {
        if self.store.again.as_ref().is_some_and(|(again, _)| *again <= at.ms) {
            self.store.again = None;
        }
        if self.store.dirty && !self.store.saving && self.store.again.is_none() {
            self.store =
                Store { dirty: false, saving: true, again: None, failures: self.store.failures };
            effects.push(Effect::Save);
        }
        if self.stopping {
            return;
        }
        if let Doing::Publishing { job, walk, page, again, .. } = &mut self.doing
            && again.is_some_and(|again| again <= at.ms)
        {
            *again = None;
            let (id, walk, page) = (*job, *walk, *page);
            let job = self.jobs.iter().find(|job| job.id == id);
            if let Some(request) =
                job.and_then(|job| Some(job.walks.get(walk)?.request(&job.pair, page)))
            {
                effects.push(Effect::Publish { job: id, request });
            }
        }
        if self.pause.as_ref().is_some_and(|pause| pause.until <= at.ms) {
            self.pause = None;
        }
        // A page is asked for only when the progress of the one before is written down.
        if self.doing != Doing::Nothing || self.pause.is_some() || self.store.is_busy() {
            return;
        }
        if let Some((index, walk)) = self.pick(at.ms) {
            let job = &mut self.jobs[index];
            // Never none: a job without a page left has been taken away.
            let Some(page) = job.walks[walk].page(at.ms.div_euclid(1000)) else { return };
            let request = job.walks[walk].request(&job.pair, page);
            self.doing = Doing::Fetching { job: job.id, walk, page };
            effects.push(Effect::Fetch { job: job.id, request });
        }
    }
}

impl Store {
    fn is_busy(&self) -> bool {
        self.dirty || self.saving
    }
}

fn say(level: Level, text: &str) -> Effect {
    Effect::Say(level, text.to_owned())
}

fn ms(wait: Duration) -> i64 {
    i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
