//! What an answer of the vendor's means: which of [`Reaction`]s it is decides, never its text.

use tracing::Level;

use super::{After, Doing, Effect, Outcome, PAGE, Pause, Region, ms, say};
use crate::backoff::Backoff;
use crate::history::answer::Answer;
use crate::history::walk::{Got, Page};
use crate::machine::Moment;
use crate::pages;
use crate::rest::Reaction;

impl Region {
    /// An answer has come.
    pub(super) fn fetched(
        &mut self,
        id: u64,
        answer: Answer,
        at: Moment,
        effects: &mut Vec<Effect>,
    ) {
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

    pub(super) fn publish(
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
}
