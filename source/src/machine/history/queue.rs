//! The jobs that wait: taking them on, whose turn it is, and how they end.

use tracing::Level;

use super::{Doing, Done, Effect, Outcome, Region, Rules, Saved, say};
use crate::history::job::{Class, Job};

impl Region {
    /// What waits, and how far it is.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// What a region writes down that has taken these on and done nothing yet.
    pub fn saved_with(jobs: Vec<Job>) -> Saved {
        let rules = Rules { queue: jobs.len(), ..Rules::default() };
        let mut region = Self::new(rules, None, 0);
        // None of them can be refused, and who has nothing to fetch is told by nobody.
        jobs.into_iter().for_each(|job| region.enqueue(job, &mut vec![]));
        Saved { live: None, backfill: None, ..region.saved() }
    }

    pub(super) fn index(&self, id: u64) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == id)
    }

    /// Takes a job on. Who waits already goes on waiting (after a restart, whoever keeps gaps and
    /// commands may ask again); the same as what waits joins it; one too many ends at once.
    pub(super) fn enqueue(&mut self, mut job: Job, effects: &mut Vec<Effect>) {
        if !job.leave_out(&self.jobs, &self.taken_over) {
            return;
        }
        if self.jobs.iter_mut().any(|waiting| waiting.absorb(&job)) {
            self.store.dirty = true;
            return;
        }
        job.settle();
        if job.walks.is_empty() {
            return end(job, Outcome::Complete, effects);
        }
        if self.jobs.len() >= self.rules.queue {
            self.counts.not_taken += 1;
            let what = format!("{} requests for history wait already", self.jobs.len());
            return end(job, Outcome::NotTaken(what), effects);
        }
        job.id = self.next_id;
        self.next_id += 1;
        self.jobs.push(job);
        self.yield_turn(self.jobs.len() - 1);
        self.store.dirty = true;
    }

    /// Puts a job behind all others of its class and pair, and not before any other pair's: so a pair
    /// with a hundred jobs does not hold up one with a single job.
    pub(super) fn yield_turn(&mut self, index: usize) {
        let (class, id) = (self.jobs[index].class(), self.jobs[index].id);
        let pair = &self.jobs[index].pair;
        let same = |job: &&Job| job.id != id && job.class() == class && job.pair == *pair;
        let last = self.jobs.iter().filter(same).map(|job| job.turn).max().unwrap_or(0);
        self.jobs[index].turn = last.max(self.turn) + 1;
    }

    /// The most urgent job that may go on now and has a call left, and which of its walks. Takes the
    /// call.
    pub(super) fn pick(&mut self, now: i64) -> Option<(usize, usize)> {
        let live = self.live.next(now) <= now;
        let backfill = self.backfill.next(now) <= now;
        let may = |class| if class == Class::Backfill { backfill } else { live };
        let ready = self.jobs.iter().enumerate().filter_map(|(index, job)| {
            let (class, walk) = (job.class(), job.ready(now)?);
            may(class).then_some(((class, job.turn, job.id), index, walk))
        });
        let ((class, turn, _), index, walk) = ready.min()?;
        let budget = if class == Class::Backfill { &mut self.backfill } else { &mut self.live };
        budget.take(now);
        self.turn = self.turn.max(turn);
        Some((index, walk))
    }

    /// When the next request may be made, if there is one to make.
    pub(super) fn next_request(&mut self, now: i64) -> Option<i64> {
        let (live, backfill) = (self.live.next(now), self.backfill.next(now));
        let next = |job: &Job| {
            let budget = if job.class() == Class::Backfill { backfill } else { live };
            Some(job.not_before()?.max(budget))
        };
        self.jobs.iter().filter_map(next).min()
    }

    pub(super) fn next_wake(&mut self, now: i64) -> Option<i64> {
        if self.stopping {
            return None;
        }
        let store = self.store.again.as_ref().map(|(again, _)| *again);
        let publish = match self.doing {
            Doing::Publishing { again, .. } => again,
            _ => None,
        };
        let request = match &self.pause {
            _ if self.doing != Doing::Nothing => None,
            Some(pause) => Some(pause.until),
            // First what is there must be written down.
            None if self.store.is_busy() => None,
            None => self.next_request(now),
        };
        [store, publish, request].into_iter().flatten().min()
    }

    /// The job has a page more, or less to fetch: on to its next turn, or it has ended.
    pub(super) fn go_on(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.jobs[index].settle();
        if self.jobs[index].walks.is_empty() {
            self.finish(index, Outcome::Complete, effects);
        } else {
            self.yield_turn(index);
        }
    }

    /// The job has ended.
    pub(super) fn finish(&mut self, index: usize, outcome: Outcome, effects: &mut Vec<Effect>) {
        let job = self.jobs.remove(index);
        self.store.dirty = true;
        match outcome.problem() {
            None => self.counts.complete += 1,
            Some(what) => {
                self.counts.incomplete += 1;
                effects.push(say(Level::WARN, &format!("{}: {what}", job.about())));
            }
        }
        let start_up = |job: &Job| job.class() == Class::StartUp;
        if start_up(&job) && !self.jobs.iter().any(start_up) {
            let text = format!(
                "history at the start is fetched: {} requests, {} bodies",
                self.counts.requests, self.counts.bodies
            );
            effects.push(say(Level::INFO, &text));
        }
        end(job, outcome, effects);
    }
}

fn end(job: Job, outcome: Outcome, effects: &mut Vec<Effect>) {
    effects.push(Effect::Done(Box::new(Done { job, outcome })));
}
