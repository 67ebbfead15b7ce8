//! `tickpanda-source backfill`: candles of the past for any number of pairs, page by page backwards,
//! through the same raw topic as everything else.
//!
//! It is the history region and its driver ([`crate::history`]) with a budget and a state folder of
//! their own, so that it may run beside a source. After `kill -9` the same command goes on where it was;
//! at most the one page in flight is fetched twice.

use std::path::PathBuf;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::clock::now_ms;
use crate::error::SourceError;
use crate::history::client::Client;
use crate::history::driver::{Alone, Driver, Ended, Out, Publish};
use crate::history::utc;
use crate::machine::history::{Done, Region, Rules, Saved};
use crate::spool::Headers;

mod progress;
pub mod settings;
mod state;
pub mod time;

use progress::Progress;
pub use settings::{BackfillArgs, Plan};
use state::State;
pub use state::{Came, Missed};

/// Names in the last line.
const NAMED: usize = 20;

/// What a backfill brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What came.
    pub came: Vec<Came>,
    /// What did not, or not all of it.
    pub missed: Vec<Missed>,
    /// Pages, and rows in them, by this process and those before.
    pub pages: u64,
    /// Rows in them.
    pub rows: u64,
    /// All of that in words, for the last line.
    pub words: String,
}

/// Fetches what the plan wants, until everything is there or `shutdown` is cancelled. The caller holds
/// the lock of the state folder ([`crate::ledger::Ledger::open`]), and publishes what the spool holds
/// before it says that all is well.
///
/// # Errors
/// [`SourceError::Incomplete`] where something did not come, [`SourceError::Unauthorized`],
/// [`SourceError::Setting`] where the folder holds another backfill that is not finished,
/// [`SourceError::State`].
pub async fn backfill(
    plan: Plan,
    client: Client,
    rules: Rules,
    spool: impl Publish,
    shutdown: &CancellationToken,
) -> Result<Report, SourceError> {
    let state = match prepare(&plan)? {
        Begin::Nothing(state) => {
            info!(
                "all of it is there: {} of {} jobs came; --again fetches it again",
                state.came.len(),
                state.came.len() + state.missed.len()
            );
            return judge(state, None);
        }
        Begin::With(state) => state,
    };
    let saved = state.region.clone();
    let far = state.far(&saved.jobs);
    info!(
        from = utc(state.wanted.from),
        to = utc(state.to),
        pairs = state.wanted.pairs.len(),
        intervals = state.wanted.intervals.len(),
        pages = far.of - far.pages,
        "backfill begins"
    );
    let rules = Rules { backfill_per_minute: plan.per_minute, queue: usize::MAX, ..rules };
    let region = Region::new(rules, Some(saved), now_ms());
    let progress = Progress::new(far);
    let keeper = Keeper { spool, state, folder: plan.state_dir, progress };
    let mut driver = Driver::<_, Alone>::new(region, client, keeper).ends_unauthorized();
    // Everything it wants is in the state already.
    let (_, events) = mpsc::channel(1);
    let ended = driver.run(events, shutdown).await;
    let (_, keeper) = driver.into_parts();
    let Keeper { state, .. } = keeper;
    match ended {
        Ended::Empty => judge(state, None),
        Ended::Told => judge(state, Some("stopped")),
        Ended::Unauthorized(info) => Err(SourceError::Unauthorized { info }),
    }
}

/// With what it begins.
enum Begin {
    With(State),
    /// It is all there.
    Nothing(State),
}

/// Looks at what the state folder says.
fn prepare(plan: &Plan) -> Result<Begin, SourceError> {
    let kept = state::load(&plan.state_dir)?.filter(|_| !plan.again);
    match kept {
        Some(mut kept) if kept.wanted == plan.wanted && !kept.is_finished() => {
            kept.take_up_failed();
            let far = kept.far(&kept.region.jobs);
            info!("resuming: {} of {} pages are there", far.pages, far.of);
            return Ok(Begin::With(kept));
        }
        // Up to now is further each time.
        Some(kept) if kept.wanted == plan.wanted && kept.wanted.to.is_some() => {
            return Ok(Begin::Nothing(kept));
        }
        Some(kept) if !kept.is_finished() => {
            let far = kept.far(&kept.region.jobs);
            let problem = format!(
                "{} holds another backfill ({} pairs from {}, {} of {} pages are there): finish it with the same command, choose another folder, or forget it with --again",
                plan.state_dir.display(),
                kept.wanted.pairs.len(),
                utc(kept.wanted.from),
                far.pages,
                far.of
            );
            return Err(SourceError::Setting { name: "--state-dir", problem });
        }
        _ => {}
    }
    let to = plan.wanted.to.unwrap_or_else(|| now_ms().div_euclid(1000));
    let state = State::begin(plan.wanted.clone(), to)
        .map_err(|problem| SourceError::Setting { name: "--from", problem })?;
    state::save(&plan.state_dir, &state)?;
    Ok(Begin::With(state))
}

/// The last line: what came and what did not.
fn judge(state: State, stopped: Option<&str>) -> Result<Report, SourceError> {
    let far = state.far(&state.region.jobs);
    let failed = !state.failed.is_empty();
    let missed: Vec<Missed> = state
        .missed
        .into_iter()
        .chain(state.failed.into_iter().map(|(missed, _)| missed))
        .collect();
    let mut names: Vec<String> = missed
        .iter()
        .take(NAMED)
        .map(|missed| format!("{} ({})", missed.what, missed.why))
        .collect();
    if missed.len() > NAMED {
        names.push(format!("and {} more", missed.len() - NAMED));
    }
    let words = String::new();
    let report = Report { came: state.came, missed, pages: far.pages, rows: far.rows, words };
    let all = report.came.len() + report.missed.len() + state.region.jobs.len();
    let came = format!(
        "{} of {all} came, {} pages with {} rows",
        report.came.len(),
        report.pages,
        report.rows
    );
    let again = "run the same command again";
    match stopped {
        Some(stopped) => {
            let what =
                format!("{stopped} with {} of {} pages; {again} to go on", far.pages, far.of);
            Err(SourceError::Incomplete { what })
        }
        None if names.is_empty() => {
            let open = if state.wanted.to.is_none() {
                "; candles that were not over yet are marked so"
            } else {
                ""
            };
            Ok(Report { words: format!("{came}{open}"), ..report })
        }
        None => {
            let hint = if failed { format!("; {again} to try what failed") } else { String::new() };
            let what = format!("{came}; not: {}{hint}", names.join(", "));
            Err(SourceError::Incomplete { what })
        }
    }
}

/// Keeps the state file, and passes bodies on.
struct Keeper<P> {
    spool: P,
    state: State,
    folder: PathBuf,
    progress: Progress,
}

impl<P: Publish> Publish for Keeper<P> {
    async fn publish(
        &mut self,
        key: &str,
        body: &[u8],
        received_at: i64,
        headers: Headers,
    ) -> Result<(), String> {
        self.spool.publish(key, body, received_at, headers).await
    }
}

impl<P: Publish> Out for Keeper<P> {
    async fn save(&mut self, saved: Saved) -> Result<(), String> {
        self.state.region = saved;
        state::save(&self.folder, &self.state).map_err(|error| error.to_string())
    }

    async fn done(&mut self, done: &Done) {
        self.state.ended(done);
    }

    fn seen(&mut self, region: &Region) {
        self.progress.show(self.state.far(region.jobs()), region, now_ms());
    }
}

#[cfg(test)]
mod tests;
