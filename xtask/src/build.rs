//! Builds: the release programs, and the transform and the tests' guests as `rpk transform build`
//! builds them.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

const WASM_TARGET: &str = "wasm32-wasip1";
/// Where the built transform lies, for the demo and the tests.
pub(crate) const WASM_VARIABLE: &str = "TICKPANDA_TRANSFORM_WASM";
/// Where the built guests of the conformance tests lie.
pub(crate) const GUESTS_VARIABLE: &str = "TICKPANDA_GUESTS";

/// A cargo that runs at the top of the workspace, and builds where [`target_directory`] says,
/// whatever folder it is sent to.
pub(crate) fn cargo() -> Result<Command> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()?).env("CARGO_TARGET_DIR", target_directory()?);
    // What `cargo run` tells this program of itself. Build scripts look at it (ring's does): with it, all that
    // hangs on them would be compiled anew whenever somebody calls cargo by hand in between.
    for (name, _) in env::vars_os() {
        let of_xtask = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_"];
        if name.to_str().is_some_and(|name| of_xtask.iter().any(|it| name.starts_with(it))) {
            cargo.env_remove(name);
        }
    }
    Ok(cargo)
}

/// Builds the programs that the demo starts.
pub(crate) fn programs() -> Result<()> {
    run(cargo()?.args(["build", "--release", "--bins"]).args([
        "-ptickpanda",
        "-ptickpanda-source",
        "-ptickpanda-sink",
    ]))
}

/// Builds the tests, and the programs that they start, with the features that `cargo test` will have:
/// built by themselves the programs' dependencies would have others, and be compiled twice.
pub(crate) fn tests() -> Result<()> {
    run(cargo()?.args(["build", "--release", "--workspace", "--bins", "--tests"]))
}

/// The path of a program that [`programs`] built.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    Ok(target_directory()?.join("release").join(name))
}

/// Builds the transform, and returns the path of the module: rpk takes the file there that is named after
/// the transform in `transform.yaml`.
pub(crate) fn wasm() -> Result<PathBuf> {
    let module = build_wasm("transform")?.join(format!("{}.wasm", transform_name()?));
    if !module.is_file() {
        bail!(
            "cargo left no {}, which rpk transform build would take: transform.yaml and the binary in \
             transform/Cargo.toml must have one name",
            module.display()
        );
    }
    Ok(module)
}

/// `name` of `transform.yaml`.
fn transform_name() -> Result<String> {
    let file = root()?.join("transform/transform.yaml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    let name = text.lines().find_map(|line| line.strip_prefix("name:"));
    Ok(name.context("transform.yaml has no name")?.trim().to_owned())
}

/// Builds the guests of the conformance tests, and returns the folder that they are in.
pub(crate) fn guests() -> Result<PathBuf> {
    build_wasm("tests/guests")
}

/// Builds a package with exactly the command that `rpk transform build` runs (rpk's source,
/// `cli/transform/build.go`), and returns the folder of its modules.
fn build_wasm(package: &str) -> Result<PathBuf> {
    ensure_wasm_target()?;
    let target = format!("--target={WASM_TARGET}");
    run(cargo()?
        .current_dir(root()?.join(package))
        .args(["build", "--release", &target])
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("RUSTFLAGS", "-Ctarget-feature=+simd128"))?;
    Ok(target_directory()?.join(WASM_TARGET).join("release"))
}

/// rust-toolchain.toml names the target, but an installation may be set not to fetch by itself.
fn ensure_wasm_target() -> Result<()> {
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root()?))?;
    if Path::new(&sysroot).join("lib/rustlib").join(WASM_TARGET).is_dir() {
        return Ok(());
    }
    eprintln!("xtask: fetching the Rust target {WASM_TARGET}");
    run(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(root()?)).context(
        "the transform needs the Rust target wasm32-wasip1; \
         install it with `rustup target add wasm32-wasip1` and run this command again",
    )
}

/// The top of the workspace.
pub(crate) fn root() -> Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Ok(here.parent().context("xtask lies in the workspace")?.to_owned())
}

/// Where cargo builds.
pub(crate) fn target_directory() -> Result<PathBuf> {
    if let Some(set) = env::var_os("CARGO_TARGET_DIR") {
        return Ok(root()?.join(set));
    }
    Ok(root()?.join("target"))
}

/// Runs to the end; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| format!("cannot run {shown}"))?;
    if !status.success() {
        bail!("{shown} failed ({status})");
    }
    Ok(())
}

/// What a command printed; anything but success is an error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output =
        command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
