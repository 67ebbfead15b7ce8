//! What connections and calls have in common.

use std::sync::{Arc, Mutex};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::ExchangeConfig;
use crate::faults::Desk;
use crate::journal::{Journal, JournalEvent};
use crate::market::Market;
use crate::quota::Quota;
use crate::replay::Recording;
use crate::stats::{Counters, Ledger, Report, Stats, Tally};

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ExchangeConfig,
    pub(crate) market: Arc<Market>,
    /// Present in a replay.
    pub(crate) recording: Option<Arc<tokio::sync::Mutex<Recording>>>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) openings: Mutex<Quota>,
    pub(crate) calls: Mutex<Quota>,
    pub(crate) counters: Counters,
    /// Data frames by subscription.
    pub(crate) tally: Tally,
    /// What clients did.
    pub(crate) ledger: Ledger,
    /// What was sent, if somebody wants to know.
    pub(crate) journal: Option<Journal>,
    /// What goes wrong.
    pub(crate) desk: Desk,
    pub(crate) started_s: u64,
    pub(crate) started_ms: u64,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn open_sockets(&self) -> usize {
        self.config.max_sockets.saturating_sub(self.slots.available_permits())
    }

    /// Milliseconds since the start, by a clock that only grows.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.desk.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes into the journal, if there is one, that a socket opens or closes.
    pub(crate) fn note(&self, socket: u64, event: JournalEvent) {
        if let Some(journal) = &self.journal {
            journal.socket(self.config.clock.millis(), socket, event);
        }
    }

    /// Closes every socket; how many it were.
    pub(crate) fn kick(&self) -> usize {
        let open = self.open_sockets();
        self.desk.kick();
        open
    }

    pub(crate) fn stats(&self) -> Stats {
        let journal_failed = self.journal.as_ref().is_some_and(Journal::has_failed);
        self.counters.read(self.open_sockets(), journal_failed)
    }

    pub(crate) fn report(&self) -> Report {
        let (openings, messages, calls, forgotten) = self.ledger.read();
        Report {
            stats: self.stats(),
            now_ms: self.now_ms(),
            started_ms: self.started_ms,
            openings,
            messages,
            calls,
            forgotten,
            sent: self.tally.read(),
            struck: self.desk.struck(),
        }
    }
}
