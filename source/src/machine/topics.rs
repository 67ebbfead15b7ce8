//! The region that creates topics: one after the other, each until it is there or can't be had.
//!
//! ```text
//!  idle ── CREATE_DYNAMIC_TOPIC ──▶ creatingTopic ── created ──▶ the next one, or idle
//!                                    │        ▲
//!                            failed, │        │ backoff over, or RETRY
//!                         may pass   ▼        │
//!                                     error ──┘── too often ──▶ given up: the next one, or idle
//! ```
//!
//! Whoever asks is told in the end, in every case: [`Effect::Ready`] or [`Effect::GiveUp`].

use std::collections::VecDeque;
use std::time::Duration;

use super::{Moment, Name, Status};

/// Topics that may wait; the next one is given up at once.
pub const MAX_TOPICS: usize = 100;
/// Who may wait for one topic.
const MAX_ASKERS: usize = 100;
/// Attempts at one topic: about seven minutes, after which the others have their turn.
const MAX_ATTEMPTS: u32 = 12;
/// The first wait after a failure, and the longest; with jitter up to half of it more.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// An attempt that nobody has spoken of for so long has failed: whoever drives this has time limits
/// that are shorter.
const PATIENCE: Duration = Duration::from_secs(120);

/// The region.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Region {
    /// The one at the front is at work.
    queue: VecDeque<Wanted>,
    doing: Doing,
    /// Milliseconds since the epoch.
    since: i64,
}

/// A topic that is wanted.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    name: String,
    asked_by: Vec<u64>,
    attempts: u32,
}

/// What becomes of the one at the front.
#[derive(Clone, Debug, PartialEq, Default)]
enum Doing {
    /// There is none.
    #[default]
    Nothing,
    /// An attempt is under way, since this moment.
    Creating(i64),
    /// It has failed, for this reason, and is tried again at this moment.
    Waiting(i64, String),
}

/// What happens to it.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// `CREATE_DYNAMIC_TOPIC`: a topic is wanted.
    CreateDynamicTopic {
        /// Its name, checked.
        name: String,
        /// Who is told what became of it.
        asked_by: u64,
    },
    /// It is there.
    Created {
        /// Its name.
        name: String,
        /// For people: what was done, and what reads it.
        detail: String,
    },
    /// The attempt failed.
    Failed {
        /// Its name.
        name: String,
        /// For people.
        why: String,
        /// Whether it may work later.
        transient: bool,
    },
    /// `RETRY`: an attempt that is waited for begins now.
    Retry,
    /// A moment has come.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Create it; bring back [`Event::Created`] or [`Event::Failed`].
    Create {
        /// Its name.
        name: String,
    },
    /// It is there: tell those who asked.
    Ready {
        /// Its name.
        name: String,
        /// For people.
        detail: String,
        /// Who asked.
        asked_by: Vec<u64>,
    },
    /// It can't be had: tell those who asked.
    GiveUp {
        /// Its name.
        name: String,
        /// For people.
        why: String,
        /// Who asked.
        asked_by: Vec<u64>,
    },
}

impl Region {
    /// One step.
    pub fn step(&mut self, event: Event, at: Moment) -> Vec<Effect> {
        match event {
            Event::CreateDynamicTopic { name, asked_by } => self.want(name, asked_by, at),
            Event::Created { name, detail } => self.created(&name, detail, at),
            Event::Failed { name, why, transient } => self.failed(&name, why, transient, at),
            Event::Retry => match self.doing {
                Doing::Waiting(..) => self.begin(at),
                _ => vec![],
            },
            Event::Tick => match self.doing {
                Doing::Waiting(until, _) if at.ms >= until => self.begin(at),
                Doing::Creating(since) if at.ms >= since.saturating_add(ms(PATIENCE)) => {
                    let name = self.queue.front().map(|wanted| wanted.name.clone());
                    let why = format!("nothing was heard of it for {} s", PATIENCE.as_secs());
                    name.map_or(vec![], |name| self.failed(&name, why, true, at))
                }
                _ => vec![],
            },
        }
    }

    /// The next moment it waits for.
    pub fn wake(&self) -> Option<i64> {
        match self.doing {
            Doing::Nothing => None,
            Doing::Creating(since) => Some(since.saturating_add(ms(PATIENCE))),
            Doing::Waiting(until, _) => Some(until),
        }
    }

    /// The state it is in.
    pub fn name(&self) -> Name {
        match self.doing {
            Doing::Nothing => Name::Idle,
            Doing::Creating(_) => Name::CreatingTopic,
            Doing::Waiting(..) => Name::Error,
        }
    }

    /// What it shows.
    pub fn status(&self) -> Status {
        let name = || self.queue.front().map_or("", |wanted| &wanted.name);
        let more = match self.queue.len().saturating_sub(1) {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let detail = match &self.doing {
            Doing::Nothing => String::new(),
            Doing::Creating(_) => format!("{}{more}", name()),
            Doing::Waiting(_, why) => format!("{}{more}: {why}", name()),
        };
        Status { name: self.name(), since: self.since, detail }
    }

    fn want(&mut self, name: String, asked_by: u64, at: Moment) -> Vec<Effect> {
        if let Some(wanted) = self.queue.iter_mut().find(|wanted| wanted.name == name) {
            if wanted.asked_by.contains(&asked_by) {
                return vec![];
            }
            if wanted.asked_by.len() < MAX_ASKERS {
                wanted.asked_by.push(asked_by);
                return vec![];
            }
        } else if self.queue.len() < MAX_TOPICS {
            self.queue.push_back(Wanted { name, asked_by: vec![asked_by], attempts: 0 });
            return if self.doing == Doing::Nothing { self.begin(at) } else { vec![] };
        }
        let why = "too many topics are being created already: try again later".to_owned();
        vec![Effect::GiveUp { name, why, asked_by: vec![asked_by] }]
    }

    fn created(&mut self, name: &str, detail: String, at: Moment) -> Vec<Effect> {
        // Also one that was thought lost, or that is waited for: it is there.
        let found = self.queue.iter().position(|wanted| wanted.name == name);
        let Some(found) = found else { return vec![] };
        let Some(Wanted { name, asked_by, .. }) = self.queue.remove(found) else { return vec![] };
        let mut effects = vec![Effect::Ready { name, detail, asked_by }];
        if found == 0 {
            effects.extend(self.begin(at));
        }
        effects
    }

    fn failed(&mut self, name: &str, why: String, transient: bool, at: Moment) -> Vec<Effect> {
        // Of an attempt that was given up, or is over: it says nothing of the one under way.
        let is_awaited = matches!(self.doing, Doing::Creating(_));
        let Some(wanted) = self.queue.front_mut() else { return vec![] };
        if !is_awaited || wanted.name != name {
            return vec![];
        }
        wanted.attempts = wanted.attempts.saturating_add(1);
        if transient && wanted.attempts < MAX_ATTEMPTS {
            let doubled = FIRST_WAIT.saturating_mul(2u32.saturating_pow(wanted.attempts - 1));
            let step = doubled.min(LONGEST_WAIT);
            let wait = step + step.mul_f64(at.roll.clamp(0.0, 1.0) / 2.0);
            self.now(Doing::Waiting(at.ms.saturating_add(ms(wait)), why), at);
            return vec![];
        }
        let Some(Wanted { name, asked_by, attempts }) = self.queue.pop_front() else {
            return vec![];
        };
        let why = if attempts > 1 { format!("{why} (after {attempts} attempts)") } else { why };
        let mut effects = vec![Effect::GiveUp { name, why, asked_by }];
        effects.extend(self.begin(at));
        effects
    }

    /// An attempt at the one at the front, if there is one.
    fn begin(&mut self, at: Moment) -> Vec<Effect> {
        match self.queue.front().map(|wanted| wanted.name.clone()) {
            None => {
                self.now(Doing::Nothing, at);
                vec![]
            }
            Some(name) => {
                self.now(Doing::Creating(at.ms), at);
                vec![Effect::Create { name }]
            }
        }
    }

    fn now(&mut self, doing: Doing, at: Moment) {
        (self.doing, self.since) = (doing, at.ms);
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
