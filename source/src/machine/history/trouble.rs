//! Whatever goes wrong: how long to wait, what is said of it, and when it is given up. Each wait ends by
//! itself.

use std::time::Duration;

use tracing::Level;

use super::{After, Doing, Effect, Outcome, Pause, Region, Store, ms, say};
use crate::history::job::Class;
use crate::history::walk::Page;
use crate::machine::Moment;
use crate::rest::{Wait, Window};

impl Region {
    pub(super) fn not_published(
        &mut self,
        id: u64,
        what: &str,
        at: Moment,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn not_saved(&mut self, what: String, at: Moment, effects: &mut Vec<Effect>) {
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

    pub(super) fn rate_limited(
        &mut self,
        what: String,
        wait: Wait,
        at: Moment,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn try_again(
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
    pub(super) fn recovered(&mut self, index: usize, effects: &mut Vec<Effect>) {
        self.jobs[index].attempts = 0;
        let troubled = self.failures.failures() + self.limited.failures() > 0 || self.unauthorized;
        if troubled {
            effects.push(say(Level::INFO, "history goes on"));
        }
        self.unauthorized = false;
        self.failures.reset();
        self.limited.reset();
    }

    pub(super) fn retry_now(&mut self, at: Moment) {
        self.pause = self.pause.take().filter(|pause| pause.firm && pause.until > at.ms);
        if let Doing::Publishing { again: Some(again), .. } = &mut self.doing {
            *again = at.ms;
        }
        if let Some((again, _)) = &mut self.store.again {
            *again = at.ms;
        }
        self.jobs.iter_mut().for_each(|job| job.put_off(0));
    }
}

fn duration(ms: i64) -> Duration {
    Duration::from_millis(ms.max(0).unsigned_abs())
}
