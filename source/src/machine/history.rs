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
use crate::history::gap;
use crate::history::job::{Class, Job};
use crate::history::utc;
use crate::history::walk::{Got, Page, Then, Walk};
use crate::pages;
use crate::rest::{Reaction, Wait, Window};

mod queue;
mod show;

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

    /// An answer has come.
    fn fetched(&mut self, id: u64, answer: Answer, at: Moment, effects: &mut Vec<Effect>) {
        // An answer that nobody waits for is one to a question of before.
        let Doing::Fetching { job, walk, page } = self.doing else { return };
        let Some(index) = self.index(id).filter(|_| job == id) else { return };
        self.doing = Doing::Nothing;
        self.counts.requests += 1;
        let received_at = answer.received_at;
        match answer.reaction {
            Reaction::Publish => {
                self.recovered(index, effects);
                let parts = self.parts(index, walk, page, &answer);
                let after = match (&answer.rows, parts) {
                    (None, _) => After::GaveUp("an answer without rows".into()),
                    (Some(rows), Some(parts)) => {
                        let text = format!(
                            "{}: a page of {} bytes is larger than the topic takes, asking for it in {}",
                            self.jobs[index].about(),
                            answer.size,
                            parts.len()
                        );
                        effects.push(say(Level::INFO, &text));
                        let oldest = rows.times.first().copied();
                        self.jobs[index].walks[walk].split(page, oldest, parts);
                        self.store.dirty = true;
                        return;
                    }
                    (Some(rows), None) => After::Took { got: Got::from(rows), received_at },
                };
                self.publish(index, walk, page, after, effects);
            }
            Reaction::Refused(what) => {
                self.recovered(index, effects);
                self.publish(index, walk, page, After::Refused(what), effects);
            }
            Reaction::TooOld(what) => {
                self.recovered(index, effects);
                self.publish(index, walk, page, After::TooOld(what), effects);
            }
            Reaction::GiveUp(what) => {
                self.recovered(index, effects);
                self.finish(index, Outcome::GaveUp(what), effects);
            }
            Reaction::Unauthorized(what) => {
                let until = at.ms.saturating_add(ms(self.rules.unauthorized));
                self.pause = Some(Pause { until, firm: false, why: what.clone() });
                if !self.unauthorized {
                    self.unauthorized = true;
                    effects.push(Effect::Unauthorized(what));
                }
            }
            Reaction::RateLimited(what, wait) => self.rate_limited(what, wait, at, effects),
            Reaction::Retry(what) => {
                let json = answer.json;
                self.try_again(index, (walk, page), what, json, at, effects);
            }
        }
    }

    /// Smaller pages instead of one that is too large, if it can be shared out.
    fn parts(&self, index: usize, walk: usize, page: Page, answer: &Answer) -> Option<Vec<Page>> {
        let rows = answer.rows.as_ref().filter(|_| answer.too_large)?;
        // Rows after what was asked for would be asked for in their turn, without end.
        rows.times.last().filter(|last| **last <= page.to)?;
        let job = &self.jobs[index];
        let request = job.walks.get(walk)?.request(&job.pair, page);
        let parts: Vec<Page> = (pages::pages(&request, &rows.times, answer.size, PAGE).iter())
            .filter_map(|part| Some(Page { to: part.to?, limit: part.limit? }))
            .collect();
        (!parts.is_empty()).then_some(parts)
    }

    fn publish(
        &mut self,
        index: usize,
        walk: usize,
        page: Page,
        after: After,
        effects: &mut Vec<Effect>,
    ) {
        let job = &self.jobs[index];
        let Some(request) = job.walks.get(walk).map(|walk| walk.request(&job.pair, page)) else {
            return;
        };
        let (job, failures) = (job.id, Backoff::default());
        self.doing = Doing::Publishing { job, walk, page, after, failures, again: None };
        effects.push(Effect::Publish { job, request });
    }

    /// The body is in the spool: now it counts.
    fn published(&mut self, id: u64, at: Moment, effects: &mut Vec<Effect>) {
        let Doing::Publishing { job, .. } = self.doing else { return };
        let Some(index) = self.index(id).filter(|_| job == id) else { return };
        let doing = std::mem::replace(&mut self.doing, Doing::Nothing);
        let Doing::Publishing { walk, page, after, failures, .. } = doing else { return };
        if failures.failures() > 0 {
            effects.push(say(Level::INFO, "history goes into the spool again"));
        }
        self.counts.bodies += 1;
        self.store.dirty = true;
        match after {
            After::Took { got, received_at } => {
                self.took(index, walk, page, got, received_at, effects);
            }
            After::Refused(what) => self.refused(index, walk, what, effects),
            After::TooOld(what) => self.too_old(index, walk, page, what, at, effects),
            After::GaveUp(what) => self.finish(index, Outcome::GaveUp(what), effects),
        }
    }

    fn took(
        &mut self,
        index: usize,
        walk: usize,
        page: Page,
        got: Got,
        received_at: i64,
        effects: &mut Vec<Effect>,
    ) {
        self.counts.pages += 1;
        self.counts.rows += got.rows as u64;
        let class = self.jobs[index].class();
        let unfinished = self.jobs[index].walks[walk].unfinished(page, received_at);
        let then = self.jobs[index].walks[walk].took(page, got);
        match then {
            // A gap is short, and whoever had one was listed.
            Then::Listing if class != Class::Gap => {
                if let Some(walk) = self.jobs[index].remove(walk) {
                    let from = utc(walk.oldest.unwrap_or(page.to));
                    self.jobs[index]
                        .note(format!("{}: no candles around {from} and before", walk.interval));
                }
            }
            Then::Stuck => {
                let what = format!("the answer is about candles after {}", utc(page.to));
                return self.finish(index, Outcome::GaveUp(what), effects);
            }
            Then::Listing | Then::Further => {}
        }
        let closing = match (class, unfinished) {
            // A gap is repaired only when its last candle is closed.
            (Class::Gap, Some(walk)) => {
                self.jobs[index].walks.push_back(walk);
                None
            }
            // These are told now, and the candles still come.
            (Class::Command | Class::StartUp, Some(walk)) => {
                Some(Job::closing(self.jobs[index].pair.clone(), walk))
            }
            // A backfill does not wait for a day to end.
            _ => None,
        };
        self.go_on(index, effects);
        if let Some(job) = closing {
            self.enqueue(job, effects);
        }
    }

    fn refused(&mut self, index: usize, walk: usize, what: String, effects: &mut Vec<Effect>) {
        let job = &mut self.jobs[index];
        let pages = job.walks.get(walk).map_or(0, |walk| walk.pages);
        if pages == 0 || job.class() == Class::Gap {
            return self.finish(index, Outcome::Refused(what), effects);
        }
        // Later candles came, and nothing but `toTs` has changed since: there are no earlier ones.
        if let Some(walk) = job.remove(walk) {
            let from = walk.oldest.map(utc).unwrap_or_default();
            job.note(format!("{}: nothing before {from} ({what})", walk.interval));
        }
        self.go_on(index, effects);
    }

    fn too_old(
        &mut self,
        index: usize,
        walk: usize,
        page: Page,
        what: String,
        at: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let job = &mut self.jobs[index];
        let rest = job.walks.get(walk).and_then(Walk::rest);
        if job.class() == Class::Gap
            && let Some((from, to)) = rest
            && let Some(unit) = job.walks.get(walk).map(|walk| walk.interval.unit())
        {
            let now = at.ms.div_euclid(1000);
            let plan = gap::coarser(unit, from, to, now);
            if !plan.ranges.is_empty() {
                job.remove(walk);
                job.follow(plan, now);
                job.note(what);
                return self.go_on(index, effects);
            }
        }
        let interval =
            job.walks.get(walk).map(|walk| walk.interval.to_string()).unwrap_or_default();
        let what = format!("{interval} up to {} is not to be had: {what}", utc(page.to));
        self.finish(index, Outcome::TooOld(what), effects);
    }

    fn not_published(&mut self, id: u64, what: &str, at: Moment, effects: &mut Vec<Effect>) {
        let bounds = self.rules.retry;
        let Doing::Publishing { job, failures, again, .. } = &mut self.doing else { return };
        if *job != id || again.is_some() {
            return;
        }
        if failures.failures() == 0 {
            effects.push(say(
                Level::WARN,
                &format!("history does not go into the spool, trying again: {what}"),
            ));
        }
        *again = Some(at.ms.saturating_add(ms(failures.after(bounds, at.roll))));
    }

    fn not_saved(&mut self, what: String, at: Moment, effects: &mut Vec<Effect>) {
        if !self.store.saving {
            return;
        }
        if self.store.failures.failures() == 0 {
            effects.push(say(
                Level::WARN,
                &format!("the progress of history can't be written down, trying again: {what}"),
            ));
        }
        let wait = self.store.failures.after(self.rules.retry, at.roll);
        let again = Some((at.ms.saturating_add(ms(wait)), what));
        self.store = Store { dirty: true, saving: false, again, failures: self.store.failures };
    }

    fn rate_limited(&mut self, what: String, wait: Wait, at: Moment, effects: &mut Vec<Effect>) {
        let first = self.limited.failures() == 0;
        let backoff = self.limited.after(self.rules.retry, at.roll);
        let (wait, firm) = match wait {
            Wait::Seconds(seconds) => (Duration::from_secs(seconds), true),
            // Where the vendor's windows begin is not known: by the clock, or else a whole one.
            Wait::Window(window) if first => {
                (duration(window.ms() - at.ms.rem_euclid(window.ms())), window <= Window::Minute)
            }
            Wait::Window(window) => (duration(window.ms()), window <= Window::Minute),
            Wait::Unknown => (backoff, false),
        };
        let jitter = self.rules.retry.floor.mul_f64(at.roll.clamp(0.0, 1.0));
        let wait = wait.min(self.rules.longest_wait) + jitter;
        if first {
            let text =
                format!("too many REST calls, waiting {} s: {what}", wait.as_secs_f64().ceil());
            effects.push(say(Level::WARN, &text));
        }
        self.pause = Some(Pause { until: at.ms.saturating_add(ms(wait)), firm, why: what });
    }

    fn try_again(
        &mut self,
        index: usize,
        (walk, page): (usize, Page),
        what: String,
        json: bool,
        at: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let first = self.failures.failures() == 0;
        let until = at.ms.saturating_add(ms(self.failures.after(self.rules.retry, at.roll)));
        self.pause = Some(Pause { until, firm: false, why: what.clone() });
        let job = &mut self.jobs[index];
        job.attempts += 1;
        if job.attempts < self.rules.attempts {
            if first {
                let text = format!("{}: no history yet, trying again: {what}", job.about());
                effects.push(say(Level::WARN, &text));
            }
            return self.yield_turn(index);
        }
        job.attempts = 0;
        job.rounds += 1;
        if job.class() == Class::Gap && job.rounds < self.rules.rounds {
            let until = at.ms.saturating_add(ms(self.rules.round));
            self.jobs[index].put_off(until);
            self.store.dirty = true;
            let text = format!("{}: no history, put off: {what}", self.jobs[index].about());
            effects.push(say(Level::WARN, &text));
        } else if json {
            // It is final now.
            self.publish(index, walk, page, After::GaveUp(what), effects);
        } else {
            // What is no JSON is not the vendor's answer.
            self.finish(index, Outcome::GaveUp(what), effects);
        }
    }

    /// An answer of the vendor's, whatever it says.
    fn recovered(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.jobs[index].attempts = 0;
        let troubled = self.failures.failures() + self.limited.failures() > 0 || self.unauthorized;
        if troubled {
            effects.push(say(Level::INFO, "history goes on"));
        }
        self.unauthorized = false;
        self.failures.reset();
        self.limited.reset();
    }

    fn retry_now(&mut self, at: Moment) {
        self.pause = self.pause.take().filter(|pause| pause.firm && pause.until > at.ms);
        if let Doing::Publishing { again: Some(again), .. } = &mut self.doing {
            *again = at.ms;
        }
        if let Some((again, _)) = &mut self.store.again {
            *again = at.ms;
        }
        self.jobs.iter_mut().for_each(|job| job.put_off(0));
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

fn duration(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}

#[cfg(test)]
mod tests;
