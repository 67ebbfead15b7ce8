//! What the source shows of itself, taken from where it is kept.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::clock::now_ms;
use crate::control::Handle;
use crate::counters::Counters;
use crate::driver::Driver;
use crate::machine::State;
use crate::observe::{
    BrokerView, HistoryView, Observe, Observed, SocketView, SpoolView, SubView, Totals,
};
use crate::publish::Outages;
use crate::settings::Settings;
use crate::spool::Spool;
use crate::stream::Links;

/// See the module.
pub(super) struct Sight {
    pub(super) settings: Arc<Settings>,
    pub(super) run: u64,
    pub(super) started: i64,
    pub(super) driver: Arc<Driver>,
    pub(super) spool: Arc<Spool>,
    pub(super) counters: Arc<Counters>,
    pub(super) outages: Arc<Outages>,
    pub(super) links: Links,
    pub(super) handle: Handle,
}

impl Observe for Sight {
    fn observe(&self) -> Observed {
        let (counters, meter) = (&self.counters, self.spool.meter());
        let mut seen = Observed {
            now: now_ms(),
            name: self.settings.name.clone(),
            run: self.run,
            started: self.started,
            broker: self.broker(),
            spool: SpoolView {
                bytes: self.spool.bytes(),
                limit: self.spool.limit(),
                records: self.spool.waiting(),
                oldest: self.spool.oldest_ms(),
                lost: meter.lost.get(),
            },
            control: self.handle.view(),
            totals: Totals {
                frames: counters.frames.get(),
                bytes: counters.bytes.get(),
                bodies: counters.bodies.get(),
                withheld: counters.withheld.get(),
                published: meter.published.get(),
                too_large: meter.too_large.get(),
                publish_retries: meter.retries.get(),
                publish: meter.latency.view(),
                reconnects: counters.ends.get(),
                gaps: counters.gaps.get(),
                alarms: counters.alarms.get(),
                commands: counters.commands.get(),
                requests: counters.requests.get(),
            },
            ..Observed::default()
        };
        self.driver.look(|state| self.machine(state, &mut seen));
        seen
    }
}

impl Sight {
    fn machine(&self, state: &State, seen: &mut Observed) {
        let offset = seen.now - self.driver.clock().ms();
        let ages = self.links.ages.lock().unwrap_or_else(PoisonError::into_inner);
        for (socket, region) in state.streaming.iter().enumerate() {
            let mut status = region.status();
            status.since += offset;
            seen.regions.push((format!("streaming/{socket}"), status));
            if region.wanted().is_empty() {
                continue; // it is not needed
            }
            seen.sockets.push(SocketView {
                connected: region.is_welcomed(),
                subs: region.wanted().len(),
                settled: region.confirmed() + region.dropped().len(),
                last_frame: Some(self.links.signs.frames[socket].load(Ordering::Relaxed))
                    .filter(|last| *last > 0),
            });
            for (sub, last, silent) in ages.get(socket).into_iter().flatten() {
                seen.subs.push(SubView {
                    sub: sub.to_string(),
                    since: self.started,
                    last_data: *last,
                    silent: *silent,
                });
            }
        }
        for (name, mut status) in
            [("history", state.history.status()), ("topics", state.topics.status())]
        {
            status.since = if status.since == 0 { self.started } else { status.since + offset };
            seen.regions.push((name.to_owned(), status));
        }
        let progress = state.history.progress();
        seen.history = HistoryView { jobs: progress.jobs, requests: progress.left };
    }

    fn broker(&self) -> BrokerView {
        let published = self.spool.meter().published.get() > 0;
        match self.outages.away() {
            Some((since, why)) => BrokerView { up: Some(false), since, why },
            None => BrokerView {
                up: published.then_some(true),
                since: self.started,
                why: String::new(),
            },
        }
    }
}
