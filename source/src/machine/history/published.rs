//! What a page means once its body is in the spool: the walk is further, or has come to its end.

use super::{After, Doing, Effect, Outcome, Region, say};
use crate::history::gap;
use crate::history::job::{Class, Job};
use crate::history::utc;
use crate::history::walk::{Got, Page, Then, Walk};
use crate::machine::Moment;
use tracing::Level;

impl Region {
    /// The body is in the spool: now it counts.
    pub(super) fn published(&mut self, id: u64, at: Moment, effects: &mut Vec<Effect>) {
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
}
