//! Whose records are still in the spool: the numbers of this run, and those of earlier runs that
//! were killed, or stopped before all they had was published.
//!
//! A run has ended when the last of its records is acknowledged, by whichever run does that; then
//! the ledger gets its line, with the number that it had drawn. Because numbers are drawn as records
//! are written, that is one more than the greatest in the spool. It is kept in `runs.json` until
//! the ledger has it, because the records go.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::store;

/// Name of the file in the spool's folder.
pub(crate) const FILE: &str = "runs.json";

/// The newest of a number of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The last run that numbered one, and the number after its greatest.
    pub(crate) run: Option<(u64, u64)>,
    /// When the last frame of a WebSocket came, in milliseconds since the epoch.
    pub(crate) frame_ms: Option<i64>,
}

impl Newest {
    /// Takes in a record.
    pub(crate) fn see(&mut self, header: &super::record::Header) {
        if !header.is_sequenced() {
            return;
        }
        let next = header.n.saturating_add(1);
        let before = self.run.filter(|(run, _)| *run == header.run).map_or(0, |(_, next)| next);
        self.run = Some((header.run, next.max(before)));
        if !header.is_rest() {
            self.frame_ms = self.frame_ms.max(Some(header.received_at));
        }
    }
}

/// An earlier run.
#[derive(Clone, Copy, Debug, Default)]
struct Earlier {
    /// How many numbers it had drawn.
    drawn: u64,
    /// Of its records, those that wait.
    waiting: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    path: PathBuf,
    current: u64,
    /// Numbers of the current run whose records are acknowledged or lost.
    settled: u64,
    earlier: BTreeMap<u64, Earlier>,
}

impl Runs {
    /// For run `current`, with what earlier ones have left in `dir` about those before them.
    pub(crate) fn open(dir: &Path, current: u64) -> Self {
        let path = dir.join(FILE);
        let known: BTreeMap<String, u64> = store::load(&path).unwrap_or_else(|error| {
            let path = path.display();
            warn!(%path, %error, "what earlier runs had drawn is known from their records only");
            None
        }).unwrap_or_default();
        let known = known.into_iter().filter_map(|(run, drawn)| {
            Some((u64::from_str_radix(&run, 16).ok()?, Earlier { drawn, waiting: 0 }))
        });
        Runs { path, current, settled: 0, earlier: known.collect() }
    }

    /// An earlier run has drawn at least so many numbers, and so many of its records wait.
    pub(crate) fn found(&mut self, run: u64, drawn: u64, waiting: u64) {
        let earlier = self.earlier.entry(run).or_default();
        earlier.drawn = earlier.drawn.max(drawn);
        earlier.waiting += waiting;
    }

    /// So many records of a run wait no longer. True where that ends an earlier run.
    pub(crate) fn settle(&mut self, run: u64, records: u64) -> bool {
        if run == self.current {
            self.settled += records;
            return false;
        }
        let Some(earlier) = self.earlier.get_mut(&run) else { return false };
        let waited = earlier.waiting > 0;
        earlier.waiting = earlier.waiting.saturating_sub(records);
        waited && earlier.waiting == 0
    }

    /// Numbers of the current run whose records are acknowledged or lost.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// Earlier runs, with how many numbers they had drawn.
    pub(crate) fn earlier(&self) -> BTreeMap<u64, u64> {
        self.earlier.iter().map(|(run, earlier)| (*run, earlier.drawn)).collect()
    }

    /// Those of them of which nothing waits.
    pub(crate) fn ended(&self) -> Vec<(u64, u64)> {
        let ended = self.earlier.iter().filter(|(_, earlier)| earlier.waiting == 0);
        ended.map(|(run, earlier)| (*run, earlier.drawn)).collect()
    }

    /// The ledger knows how this one ended.
    pub(crate) fn forget(&mut self, run: u64) {
        if self.earlier.remove(&run).is_some() {
            self.save();
        }
    }

    /// Keeps what is known of earlier runs.
    pub(crate) fn save(&self) {
        let known: BTreeMap<String, u64> =
            self.earlier.iter().map(|(run, e)| (format!("{run:016x}"), e.drawn)).collect();
        if let Err(error) = store::save(&self.path, &known) {
            // The ledger then says of a run that it was killed, which is true.
            warn!(path = %self.path.display(), %error, "cannot keep what earlier runs had drawn");
        }
    }
}
