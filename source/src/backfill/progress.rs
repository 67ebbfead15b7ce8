//! How far a backfill is, for people: a bar on a terminal, otherwise a line in the log now and then.

use std::io::{IsTerminal as _, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

use super::state::Far;
use crate::machine::Name;
use crate::machine::history::Region;

/// Between two lines in the log.
const LINE: Duration = Duration::from_secs(5);

/// What shows it.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    /// Pages that were there at the beginning.
    first: u64,
    shown: Far,
    line: Instant,
}

impl Progress {
    /// Begins.
    pub(crate) fn new(far: Far) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} pages, {msg}");
            let bar = ProgressBar::new(far.of);
            style.map(|style| bar.clone().with_style(style)).unwrap_or(bar)
        });
        Progress { bar, begun: Instant::now(), first: far.pages, shown: far, line: Instant::now() }
    }

    /// Shows how far it is; `now` in ms.
    pub(crate) fn show(&mut self, far: Far, region: &Region, now: i64) {
        let status = region.status();
        let lasts = self.lasts(far, region, now);
        if let Some(bar) = &self.bar {
            bar.set_length(far.of);
            bar.set_position(far.pages);
            bar.set_message(match status.name {
                Name::Error => status.detail,
                _ => format!("{} rows, {}", far.rows, left(lasts)),
            });
        } else if self.line.elapsed() >= LINE && far != self.shown {
            (self.line, self.shown) = (Instant::now(), far);
            info!(pages = far.pages, of = far.of, rows = far.rows, "backfill: {}", left(lasts));
        }
    }

    /// How long the rest takes: by the budget, or by how long a page took so far, whichever is longer.
    fn lasts(&self, far: Far, region: &Region, now: i64) -> Duration {
        let pages = far.of.saturating_sub(far.pages);
        let budget = region.backfill_lasts(now, pages).max(0).unsigned_abs();
        let done = u32::try_from(far.pages.saturating_sub(self.first)).unwrap_or(u32::MAX);
        let each = self.begun.elapsed().checked_div(done).unwrap_or_default();
        let so_far = each.saturating_mul(u32::try_from(pages).unwrap_or(u32::MAX));
        so_far.max(Duration::from_millis(budget))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `about 2 h 5 min left`
fn left(lasts: Duration) -> String {
    let seconds = lasts.as_secs();
    match seconds {
        0..60 => format!("about {} s left", seconds.max(1)),
        60..3600 => format!("about {} min left", seconds.div_ceil(60)),
        _ => format!("about {} h {} min left", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_said_in_words() {
        for (seconds, words) in [
            (0, "about 1 s left"),
            (59, "about 59 s left"),
            (61, "about 2 min left"),
            (3599, "about 60 min left"),
            (7500, "about 2 h 5 min left"),
        ] {
            assert_eq!(left(Duration::from_secs(seconds)), words);
        }
    }
}
