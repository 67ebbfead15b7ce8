//! What the region shows of itself: on `/state`, in the metrics, on a progress bar.

use super::{Doing, Name, Region, Status};
use crate::history::job::Class;
use crate::history::utc;

/// Counts since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers, and requests that got none.
    pub requests: u64,
    /// Bodies put into the spool.
    pub bodies: u64,
    /// Of these, pages of candles.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Jobs that ended with all that was wanted.
    pub complete: u64,
    /// Jobs that ended without.
    pub incomplete: u64,
    /// Jobs refused because too many waited.
    pub not_taken: u64,
}

/// How far the jobs are that still wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Jobs.
    pub jobs: u64,
    /// Pages they have fetched.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// Pages still to come, at most: less where a listing begins.
    pub left: u64,
}

impl Region {
    /// Counts since the start of the process.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress { jobs: self.jobs.len() as u64, ..Progress::default() };
        for job in &self.jobs {
            progress.pages += job.pages_done();
            progress.rows += job.rows_done();
            progress.left += job.pages_left();
        }
        progress
    }

    /// How long so many more pages of a backfill take at least, by its budget, ms.
    pub fn backfill_lasts(&self, now: i64, pages: u64) -> i64 {
        self.backfill.lasts(now, pages)
    }

    /// Whether a request is in flight, or a body or the progress is being written.
    pub fn is_busy(&self) -> bool {
        let publishing = matches!(self.doing, Doing::Publishing { again: None, .. });
        matches!(self.doing, Doing::Fetching { .. }) || publishing || self.store.saving
    }

    pub(super) fn present_name(&self) -> Name {
        let failing = self.pause.is_some() || self.store.again.is_some();
        match &self.doing {
            _ if self.stopping => Name::Idle,
            Doing::Publishing { again: Some(_), .. } => Name::Error,
            Doing::Fetching { .. } => Name::FetchingHistoricalData,
            Doing::Publishing { .. } => Name::PublishingHistoricalData,
            Doing::Nothing if failing => Name::Error,
            Doing::Nothing => Name::Idle,
        }
    }

    /// What it shows.
    pub fn status(&self) -> Status {
        Status { name: self.name, since: self.since, detail: self.detail() }
    }

    fn detail(&self) -> String {
        let Progress { jobs, pages, left, .. } = self.progress();
        let again = self.wake.map(|at| utc(at.div_euclid(1000))).unwrap_or_default();
        let what = match &self.doing {
            _ if self.stopping => "stopping".to_owned(),
            Doing::Publishing { again: Some(_), .. } => {
                format!("the spool refuses it, again at {again}")
            }
            Doing::Fetching { job, page, .. } | Doing::Publishing { job, page, .. } => {
                let job = self.jobs.iter().find(|waiting| waiting.id == *job);
                let about = job.map(|job| job.about()).unwrap_or_default();
                format!("{about} up to {}", utc(page.to))
            }
            Doing::Nothing => match (&self.pause, &self.store.again) {
                (Some(pause), _) => format!("{}, again at {again}", pause.why),
                (None, Some((_, why))) => {
                    format!("progress not written down: {why}, again at {again}")
                }
                (None, None) if self.jobs.is_empty() => return "nothing to fetch".into(),
                (None, None) => format!("next request at {again}"),
            },
        };
        let gaps = self.jobs.iter().filter(|job| job.class() == Class::Gap).count();
        format!("{what}; {jobs} jobs wait ({gaps} gaps), {pages} pages fetched, {left} to come")
    }
}
