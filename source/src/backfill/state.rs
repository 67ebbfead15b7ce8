//! How far a backfill is: one file in its state folder, replaced after each page.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::settings::Wanted;
use crate::error::SourceError;
use crate::history::job::Job;
use crate::machine::history::{Done, Outcome, Region, Saved};
use crate::store;

/// Name of the file.
const FILE: &str = "backfill.json";

/// What is in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// What was asked for.
    pub(crate) wanted: Wanted,
    /// Up to when, seconds since the epoch: what "now" was when it began.
    pub(crate) to: i64,
    /// What is still to be fetched.
    pub(crate) region: Saved,
    /// What has come.
    pub(crate) came: Vec<Came>,
    /// What the vendor does not have.
    pub(crate) missed: Vec<Missed>,
    /// What failed, and is tried again the next time: why, and how far it was.
    pub(crate) failed: Vec<(Missed, Job)>,
}

/// Candles that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Came {
    /// `Coinbase~BTC~USD 1h`
    pub what: String,
    /// Pages.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// What there is to say of it: where the listing begins.
    pub notes: Vec<String>,
}

/// Candles that did not all come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// `Coinbase~BTC~USD 1h`
    pub what: String,
    /// Why.
    pub why: String,
    /// Pages that came.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Far {
    /// Pages that are there.
    pub(crate) pages: u64,
    /// Of so many.
    pub(crate) of: u64,
    /// Rows in them.
    pub(crate) rows: u64,
}

impl State {
    /// One that begins. `to` in seconds.
    ///
    /// # Errors
    /// In words, what the vendor does not have.
    pub(crate) fn begin(wanted: Wanted, to: i64) -> Result<Self, String> {
        let region = Region::saved_with(wanted.jobs(to)?);
        Ok(State { wanted, to, region, came: vec![], missed: vec![], failed: vec![] })
    }

    /// Whether there is nothing left that could come.
    pub(crate) fn is_finished(&self) -> bool {
        self.region.jobs.is_empty() && self.failed.is_empty()
    }

    /// Takes up again what failed.
    pub(crate) fn take_up_failed(&mut self) {
        for (_, mut job) in std::mem::take(&mut self.failed) {
            job.begin_anew();
            self.region.jobs.push(job);
        }
    }

    /// Takes down how a job ended.
    pub(crate) fn ended(&mut self, done: &Done) {
        let (job, what) = (&done.job, done.job.about());
        let (pages, rows) = (job.pages_done(), job.rows_done());
        let missed = |why: &str| Missed { what: what.clone(), why: why.to_owned(), pages, rows };
        match &done.outcome {
            Outcome::Complete => {
                self.came.push(Came { what, pages, rows, notes: job.notes.clone() });
            }
            Outcome::TooOld(why) | Outcome::Refused(why) => self.missed.push(missed(why)),
            Outcome::GaveUp(why) | Outcome::NotTaken(why) => {
                self.failed.push((missed(why), job.clone()));
            }
        }
    }

    /// How far it is, with what the region still has.
    pub(crate) fn far(&self, region: &[Job]) -> Far {
        let mut far = Far::default();
        let came = self.came.iter().map(|came| (came.pages, came.rows));
        let missed = self.missed.iter().chain(self.failed.iter().map(|(missed, _)| missed));
        let waiting = region.iter().map(|job| (job.pages_done(), job.rows_done()));
        for (pages, rows) in
            came.chain(missed.map(|missed| (missed.pages, missed.rows))).chain(waiting)
        {
            far.pages += pages;
            far.rows += rows;
        }
        far.of = far.pages + region.iter().map(Job::pages_left).sum::<u64>();
        far
    }
}

/// Where the file is.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// What is in it, if there is one.
pub(crate) fn load(folder: &Path) -> Result<Option<State>, SourceError> {
    let path = path(folder);
    store::load(&path).map_err(|error| SourceError::State { path, error })
}

/// Replaces it. The folder is made if missing.
pub(crate) fn save(folder: &Path, state: &State) -> Result<(), SourceError> {
    let path = path(folder);
    std::fs::create_dir_all(folder)
        .and_then(|()| store::save(&path, state))
        .map_err(|error| SourceError::State { path, error })
}
