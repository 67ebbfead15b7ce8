//! `cargo xtask fuzz`: cargo-fuzz on `normalize`, from nothing to one line with the result.
//!
//! cargo-fuzz comes by `cargo install` into `target/tools`: that is where its authors
//! publish it, and it builds in a minute on any machine that builds this workspace. No sanitizer:
//! the workspace forbids unsafe code, so there is no memory error to find, and without one the
//! pinned stable toolchain is enough and the fuzzer twice as fast. What remains is coverage, overflow checks,
//! debug assertions, and the contract that the target asserts.

mod seeds;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};

use crate::build;

const CARGO_FUZZ: &str = "0.13.2";
const TARGET: &str = "normalize";
/// Longest input that the fuzzer makes, in bytes: a dozen frames or rows.
const MAX_LEN: usize = 8192;
/// A frame takes microseconds; an input that takes this many seconds hangs.
const TIMEOUT: u32 = 10;
/// How libFuzzer says how many inputs it ran, under `-print_final_stats=1`.
const EXECUTED: &str = "stat::number_of_executed_units:";

#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// How long: 30s, 10m, 8h.
    #[arg(long = "for", value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    time: Duration,
    /// Run these inputs once each instead, such as one that an earlier run found.
    #[arg(value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// Further options for libFuzzer, such as -seed=1.
    #[arg(last = true, value_name = "OPTION")]
    options: Vec<String>,
}

/// Fuzzes, or runs the inputs again; an error is a finding, or that it could not run.
pub(crate) fn run(fuzz: Fuzz) -> Result<()> {
    let inputs = fuzz.inputs.iter().map(|path| {
        path.canonicalize().with_context(|| format!("there is no input {}", path.display()))
    });
    let inputs: Vec<PathBuf> = inputs.collect::<Result<_>>()?;
    let cargo_fuzz = cargo_fuzz()?;
    let work = build::target_directory()?.join("fuzz");
    let [corpus, artifacts, seeds] = ["corpus", "artifacts", "seeds"].map(|name| work.join(name));
    for folder in [&corpus, &artifacts, &seeds] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    seeds::write(&build::root()?, &seeds)?;

    let crate_folder = build::root()?.join("transform/fuzz");
    let mut command = Command::new(cargo_fuzz);
    command.current_dir(&crate_folder).args(["fuzz", "run", TARGET, "--sanitizer=none"]);
    command.arg("--fuzz-dir").arg(&crate_folder).arg("--target-dir").arg(&work);
    if inputs.is_empty() {
        command.args([&corpus, &seeds]);
    } else {
        command.args(&inputs);
    }
    command.arg("--").arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(format!("-dict={}", crate_folder.join("normalize.dict").display()));
    command.args([format!("-max_len={MAX_LEN}"), format!("-timeout={TIMEOUT}")]);
    command.arg("-print_final_stats=1");
    if inputs.is_empty() {
        // Zero would mean without end.
        command.arg(format!("-max_total_time={}", fuzz.time.as_secs().max(1)));
    }
    command.args(fuzz.options);
    let started = SystemTime::now();
    let (success, executed) = watch(&mut command)?;

    let executed = if inputs.is_empty() { executed } else { Some(inputs.len()) };
    let mut found = listed(&artifacts)?;
    // By time: the same finding found again is written to the same file.
    let written = |path: &PathBuf| fs::metadata(path).and_then(|file| file.modified());
    found.retain(|path| written(path).is_ok_and(|time| time >= started));
    let executions = executed.map_or("an unknown number of".to_owned(), |n| n.to_string());
    if success {
        ensure!(executed.is_some(), "the fuzzer ended without saying how much it did");
        println!("{executions} executions, 0 findings");
        return Ok(());
    }
    if !inputs.is_empty() {
        bail!("an input breaks the contract of normalize; what it breaks is said above");
    }
    if found.is_empty() {
        bail!("the fuzzer did not run to its end; why is said above");
    }
    let findings = if found.len() == 1 { "finding" } else { "findings" };
    println!("{executions} executions, {} {findings}", found.len());
    for path in &found {
        println!(
            "the input lies in {path}\n  again: cargo xtask fuzz {path}",
            path = path.display()
        );
    }
    bail!("an input breaks the contract of normalize; what it breaks is said above")
}

/// The program, fetched if it is not there.
fn cargo_fuzz() -> Result<PathBuf> {
    let tools = build::target_directory()?.join("tools");
    let program = tools.join("bin/cargo-fuzz");
    let version = Command::new(&program).arg("--version").output().ok();
    let wanted = format!("cargo-fuzz {CARGO_FUZZ}");
    if version.is_some_and(|it| String::from_utf8_lossy(&it.stdout).trim() == wanted) {
        return Ok(program);
    }
    eprintln!("xtask: fetching {wanted}");
    build::run(
        build::cargo()?
            .args([
                "install",
                "--locked",
                "--quiet",
                "--force",
                "cargo-fuzz",
                "--version",
                CARGO_FUZZ,
            ])
            // Built in a temporary folder, which cargo removes.
            .env_remove("CARGO_TARGET_DIR")
            .arg("--root")
            .arg(&tools),
    )?;
    Ok(program)
}

/// Runs it to its end, shows what it says, and picks out how many inputs it ran.
fn watch(command: &mut Command) -> Result<(bool, Option<usize>)> {
    let shown = format!("{command:?}");
    let mut child =
        command.stderr(Stdio::piped()).spawn().with_context(|| format!("cannot run {shown}"))?;
    let mut executed = None;
    for line in BufReader::new(child.stderr.take().context("stderr is piped")?).split(b'\n') {
        let line = line.context("cannot read what the fuzzer says")?;
        // Whoever reads it may be gone; the result counts all the same.
        let _ = std::io::stderr().write_all(&[&line[..], b"\n"].concat());
        let line = String::from_utf8_lossy(&line);
        if let Some(count) = line.strip_prefix(EXECUTED) {
            executed = count.trim().parse().ok();
        }
    }
    let status = child.wait().with_context(|| format!("cannot wait for {shown}"))?;
    Ok((status.success(), executed))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    entries.map(|entry| Ok(entry?.path())).collect()
}
