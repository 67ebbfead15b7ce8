//! How far the audit is: a bar on a terminal, otherwise a line in the log now and then.

use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tracing::info;

/// Between two lines in the log.
const LINE: Duration = Duration::from_secs(5);

/// One stage of the work.
pub(crate) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    line: Mutex<Line>,
}

struct Line {
    done: u64,
    length: u64,
    last: Instant,
}

impl Progress {
    /// Begins a stage with about so much to do.
    pub(crate) fn new(what: &'static str, length: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(length).with_message(what);
            let style = ProgressStyle::with_template(
                "{msg:24} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            );
            match style {
                Ok(style) => bar.with_style(style),
                Err(_) => bar,
            }
        });
        if bar.is_none() {
            info!(about = length, "{what}");
        }
        Progress { what, bar, line: Mutex::new(Line { done: 0, length, last: Instant::now() }) }
    }

    /// So much more is done.
    pub(crate) fn advance(&self, more: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(more);
            return;
        }
        let Ok(mut line) = self.line.lock() else { return };
        line.done += more;
        if line.last.elapsed() >= LINE {
            line.last = Instant::now();
            info!(done = line.done, of = line.length, "{}", self.what);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
