//! Gaps on their way: events to `gap-events` through the spool, and candles that are to be fetched.

use std::sync::Arc;

use tickpanda_model::gap::{GapEvent, GapState};
use tokio::sync::mpsc;

use crate::clock::now_ms;
use crate::counters::Counters;
use crate::coverage::{self, Reason, Repair};
use crate::gaps::Tell;
use crate::history::job::{Job, Pair};
use crate::machine::history::Event;
use crate::spool::{Burst, Spool, TopicId};

/// See the module.
pub(super) struct Teller {
    spool: Arc<Spool>,
    burst: Burst,
    topic: TopicId,
    /// `None`: no candles are fetched in this run.
    wishes: Option<mpsc::Sender<Event>>,
    counters: Arc<Counters>,
}

impl Teller {
    pub(super) fn new(
        spool: &Arc<Spool>,
        topic: TopicId,
        wishes: Option<mpsc::Sender<Event>>,
        counters: &Arc<Counters>,
    ) -> Self {
        let (burst, counters) = (Burst::new(spool), Arc::clone(counters));
        Teller { spool: Arc::clone(spool), burst, topic, wishes, counters }
    }

    fn push(&mut self, event: &GapEvent) {
        // Text and numbers only: nothing that serde_json refuses.
        let value = serde_json::to_vec(event).unwrap_or_default();
        let key = coverage::key(event);
        self.burst.push(self.topic, key.as_bytes(), &value, now_ms(), None);
    }
}

impl Tell for Teller {
    async fn events(&mut self, events: &[(GapEvent, Option<Reason>)]) {
        for (event, reason) in events {
            // Counted when they end, so that each counts once.
            if let (Some(reason), Some(_)) = (reason, event.gap_to) {
                let kind = crate::sub::Kind::named(&event.kind);
                self.counters.gaps.add([kind.as_str(), reason.as_str()]);
            }
            self.push(event);
        }
        self.spool.append(&mut self.burst).await;
        self.burst.take_counts();
    }

    fn repair(&mut self, repairs: Vec<Repair>) -> bool {
        // Owed they stay, but there is nothing to try again for in this run.
        let Some(wishes) = self.wishes.clone() else { return true };
        let mut known: Vec<Repair> = Vec::new();
        let mut all = true;
        for repair in repairs {
            // Trades and ticker of a pair have the same gap, and the same candles.
            if known.contains(&repair) {
                continue;
            }
            let Ok(pair) = Pair::new(&repair.market, &repair.base, &repair.quote) else { continue };
            let (from, to) = (repair.from, repair.to);
            let job = Job::gap(name(&repair), pair, from, to, now_ms());
            self.push(&coverage::candles(&repair, GapState::Open, "they are being fetched"));
            // Full: they stay owed, and are asked for again.
            all &= wishes.try_send(Event::FetchHistoricalData(Box::new(job))).is_ok();
            known.push(repair);
        }
        // What was pushed goes with the events that follow.
        all
    }
}

/// A gap's name in the history: its ends and its pair. All pairs of a socket have the same ends.
fn name(repair: &Repair) -> String {
    let Repair { market, base, quote, from, to } = repair;
    format!("{from}~{to}~{market}~{base}~{quote}")
}

/// The gap of that name.
pub(super) fn repair_of(name: &str, pair: &Pair) -> Option<Repair> {
    let mut ends = name.splitn(3, '~');
    let (from, to) = (ends.next()?, ends.next()?);
    Some(Repair {
        market: pair.market.clone(),
        base: pair.base.clone(),
        quote: pair.quote.clone(),
        from: from.parse().ok()?,
        to: to.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Moment;
    use crate::machine::history::{Region, Rules};

    fn gap(base: &str) -> Repair {
        let [market, base, quote] = ["Coinbase", base, "USD"].map(str::to_owned);
        Repair { market, base, quote, from: 1_773_144_000_000, to: 1_773_144_005_000 }
    }

    #[test]
    fn pairs_that_have_a_gap_at_the_same_time_are_all_repaired_and_each_once() {
        let now = 1_773_144_006_000;
        let mut region = Region::new(Rules::default(), None, now);
        for base in ["BTC", "ETH", "SOL", "ETH"] {
            let repair = gap(base);
            let pair = Pair::new(&repair.market, &repair.base, &repair.quote).unwrap();
            let name = name(&repair);
            assert_eq!(repair_of(&name, &pair), Some(repair.clone()));
            let job = Job::gap(name, pair, repair.from, repair.to, now);
            let at = Moment { ms: now, roll: 0.0 };
            region.step(Event::FetchHistoricalData(Box::new(job)), at);
        }
        let bases: Vec<&str> = region.jobs().iter().map(|job| job.pair.base.as_str()).collect();
        assert_eq!(bases, ["BTC", "ETH", "SOL"]);
    }
}
