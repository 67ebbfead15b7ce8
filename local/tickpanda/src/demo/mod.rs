//! `tickpanda demo`: everything on one machine, over real sockets, into a real database.
//!
//! ```text
//! exchange ──ws, http──▶ source ──kafka──▶ broker [raw ▶ transform.wasm ▶ outputs] ──kafka──▶ sink ──▶ database
//!  (child)               (child)            (in this process)                                (child)
//! ```
//!
//! Source and sink are the binaries that production uses. This process holds the broker, watches,
//! and at the end drains: source first, then transform, then sink. Then it recounts the raw topic.
//!
//! | module | what it holds |
//! |---|---|
//! | [`settings`] | the options |
//! | `pipeline` | starting the parts and stopping them in the order of the data |
//! | `parts` | the command line of each program |
//! | `children` | a program that dies with us |
//! | `feed` | exchange, recorded file or the real vendor |
//! | `database` | whose database it is, rows in it |
//! | `watch` | how far each part has come; the line a second |
//! | `display` | numbers for people |
//! | `recount`, [`sums`] | the sums at the end |

mod children;
mod database;
pub(crate) mod display;
mod feed;
mod parts;
mod pipeline;
mod recount;
pub mod settings;
pub mod sums;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;

use settings::DemoSettings;
use sums::Sums;

/// Where broker, database and logs lie, for this run or for several.
enum DataDir {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl DataDir {
    fn open(wanted: Option<PathBuf>) -> Result<Self> {
        let Some(dir) = wanted else {
            let temporary = tempfile::Builder::new().prefix("tickpanda-demo-").tempdir();
            return Ok(DataDir::Temporary(temporary.context("cannot make a temporary folder")?));
        };
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let dir = dir.canonicalize().with_context(|| format!("cannot use {}", dir.display()))?;
        Ok(DataDir::Kept(dir))
    }

    fn path(&self) -> &std::path::Path {
        match self {
            DataDir::Kept(dir) => dir,
            DataDir::Temporary(dir) => dir.path(),
        }
    }
}

/// Runs the demo to its end; true where the sums balance and nothing is lost.
///
/// # Errors
/// Where a part could not be started, ended too early, or did not drain.
pub async fn run(settings: DemoSettings) -> Result<bool> {
    let stop = tickpanda_program::stop_token(false)?;
    tokio::spawn(leave_on_second_signal(stop.clone()));
    let feed = feed::Feed::choose(&settings).await?;
    let dir = DataDir::open(settings.data_dir.clone())?;
    // Not cut short by one Ctrl-C: what has been started must be stopped in order.
    let mut pipeline = pipeline::Pipeline::start(&settings, &feed, dir.path()).await?;
    let watched = pipeline.watch(settings.run_for, &feed, &stop).await;
    // Even where a part failed: what the others hold is drained, and the sums are told.
    let drained = pipeline.drain().await;
    let sums = pipeline.sums().await;
    let stopped = pipeline.stop().await;
    let balanced = match &sums {
        Ok(sums) => report(sums, settings.json.as_deref())?,
        Err(_) => false,
    };
    // The first thing that went wrong explains the others.
    watched.and(drained).and(sums.map(drop)).and(stopped)?;
    Ok(balanced)
}

/// Whoever interrupts once wants the data drained; whoever does it twice wants to leave.
async fn leave_on_second_signal(first: CancellationToken) {
    first.cancelled().await;
    if let Ok(second) = tickpanda_program::stop_token(false) {
        second.cancelled().await;
        eprintln!("tickpanda: interrupted again: stopped without draining");
        std::process::exit(130); // everything that we started sees us go, and stops
    }
}

/// Prints the sums and writes them down; true where they balance.
fn report(sums: &Sums, json: Option<&std::path::Path>) -> Result<bool> {
    println!("\n{sums}");
    for fault in sums.faults() {
        println!("FAULT: {fault}");
    }
    println!("{}", if sums.balanced { "the sums balance" } else { "the sums do NOT balance" });
    json.map_or(Ok(()), |file| write_json(file, sums))?;
    Ok(sums.balanced)
}

fn write_json(file: &std::path::Path, sums: &Sums) -> Result<()> {
    let mut json = serde_json::to_string_pretty(sums)?;
    json.push('\n');
    std::fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))
}

/// How long a part may take to end, and how long the drain may make no progress.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const STALL: Duration = Duration::from_secs(30);
