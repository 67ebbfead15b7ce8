//! `tickpanda transform check`: what a broker would make of a package.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;
use tickpanda_host::BINARY_MOST_SIZE;
use tickpanda_host::check::{self, CheckOptions, Report, Verdict};

use super::{json, package::Package, samples, text};
use crate::cluster::ClusterSettings;

/// The arguments are in order, what they name is not: as clap says it for the arguments.
const WRONG_USAGE: u8 = 2;

/// Tell whether a Redpanda broker would take a transform and run it, and why not.
///
/// Works for any transform. The exit code tells the verdict: 0 runs, 10 rejected at deploy, 11 deploys but
/// never runs, 12 fails at start; 2 is wrong usage.
#[derive(Args, Debug)]
pub(super) struct CheckSettings {
    /// The transform, as `rpk transform build` makes it.
    #[arg(value_name = "FILE.wasm")]
    wasm: PathBuf,

    /// Its `transform.yaml` [default: made-up topics, as many outputs as a transform may have]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Records to try it with, one JSON object a line: `key` and `value` (text, or `key_base64` and
    /// `value_base64`; absent is null), `headers` (a list of such objects), `timestamp` (ms; absent is now).
    #[arg(long, value_name = "FILE.jsonl")]
    input: Option<PathBuf>,

    /// Write one JSON object instead of text.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterSettings,
}

pub(super) fn run(settings: &CheckSettings) -> Result<ExitCode> {
    match judge(settings) {
        Ok((report, shown)) => {
            print(&shown)?;
            Ok(ExitCode::from(code(report.verdict)))
        }
        Err(error) => {
            eprintln!("tickpanda: {error:#}");
            Ok(ExitCode::from(WRONG_USAGE))
        }
    }
}

fn code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Runs => 0,
        Verdict::RejectedAtDeploy => 10,
        Verdict::NeverRuns => 11,
        Verdict::FailsAtStart => 12,
    }
}

/// The report, and what is to be shown of it.
fn judge(settings: &CheckSettings) -> Result<(Report, String)> {
    let wasm =
        read(&settings.wasm).with_context(|| format!("can't read {}", settings.wasm.display()))?;
    let package = match &settings.config {
        Some(file) => Package::read(file, &settings.wasm)?,
        None => Package::made_up(&settings.wasm),
    };
    let samples = settings.input.as_deref().map(samples::read).transpose()?.unwrap_or_default();
    let defaults = CheckOptions::default();
    let options = CheckOptions {
        profiles: settings.cluster.profile().map_or(defaults.profiles, |profile| vec![profile]),
        limits: settings.cluster.limits(),
        ..defaults
    };
    let mut report = check::check(&wasm, &package.described, &samples.records, &options);
    if let Some(fault) = &package.fault {
        // rpk or the admin API refuses that before the broker looks at the module.
        report.verdict = Verdict::RejectedAtDeploy;
        report.reason.clone_from(fault);
    }
    let name = settings.wasm.display().to_string();
    let shown = if settings.json {
        format!("{}\n", json::report(&name, &report, &package, &samples, &options))
    } else {
        text::report(&name, &report, &package, &samples, &options)
    };
    Ok((report, shown))
}

/// The file, unless no cluster would take it, which is known before its end is read.
fn read(file: &Path) -> Result<Vec<u8>> {
    let mut wasm = Vec::new();
    File::open(file)?.take(BINARY_MOST_SIZE as u64 + 1).read_to_end(&mut wasm)?;
    ensure!(
        wasm.len() <= BINARY_MOST_SIZE,
        "it has more than the {BINARY_MOST_SIZE} bytes to which data_transforms_binary_max_size can be set"
    );
    Ok(wasm)
}

fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the report"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_no_cluster_takes_is_not_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.wasm");
        // Sparse: it takes no room.
        let file = File::create(&path).unwrap();
        file.set_len(BINARY_MOST_SIZE as u64).unwrap();
        assert_eq!(read(&path).unwrap().len(), BINARY_MOST_SIZE);
        file.set_len(1 << 40).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("134217728 bytes"));
    }
}
