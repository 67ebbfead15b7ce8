//! The Dockerfile's own stages that compile: the rows above take our programs from the build of this
//! machine, which is the same cargo command, because compiling all of it anew takes minutes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::engine::{Engine, repository};
use crate::table::{Peer, Table};
use crate::tools;

/// Asks for it.
const WANTED: &str = "TICKPANDA_COMPOSE_COMPILE";
/// What the Dockerfile begins with.
const RUST: &str = "rust:1.95.0-bookworm";

/// Adds its rows.
pub(super) async fn run(table: &mut Table, peer: &Peer, engine: &Arc<Engine>) {
    let what = "the Dockerfile compiles programs and transform from the sources";
    if std::env::var_os(WANTED).is_none_or(|it| it.is_empty()) {
        let why = format!(
            "it takes many minutes: {WANTED}=1 asks for it. Its other stages are in the rows above"
        );
        return table.skip("docker build", what, why);
    }
    let compiled = Instant::now();
    let first = compile(engine).await;
    let what = format!("{what}, in {:.0} s", compiled.elapsed().as_secs_f64());
    let failed = first.is_err();
    table.check(peer, what, async { first }).await;
    if !failed {
        let engine = Arc::clone(engine);
        let what = "a change of a source leaves the layer with the dependencies in the cache";
        table.check(peer, what, cached(engine)).await;
    }
}

/// The Rust image: Debian with gcc, and this machine's toolchain where the image has it.
async fn rust_image(engine: &Engine) -> Result<()> {
    const BASE: &str = "tickpanda-test/bookworm-gcc";
    engine.debian("bookworm", BASE, &["gcc", "libc6-dev", "binutils"]).await?;
    let context = tempfile::tempdir()?;
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(repository());
    let sysroot = tools::output(&mut rustc).await?;
    let sysroot = Path::new(sysroot.trim());
    let name = sysroot.file_name().context("a toolchain")?.to_string_lossy().into_owned();
    let to = context.path().join("toolchain");
    tools::output(Command::new("cp").arg("-a").arg(sysroot).arg(&to)).await?;
    let which =
        tools::output(Command::new("sh").args(["-c", "readlink -f \"$(command -v rustup)\""]))
            .await?;
    std::fs::copy(which.trim(), context.path().join("rustup")).context("rustup")?;
    let dockerfile = format!(
        "FROM {BASE}
ENV RUSTUP_HOME=/usr/local/rustup CARGO_HOME=/usr/local/cargo PATH=/usr/local/cargo/bin:/usr/local/bin:/usr/bin:/bin
COPY rustup /usr/local/cargo/bin/rustup
COPY toolchain /usr/local/rustup/toolchains/{name}
RUN for name in cargo rustc rustdoc; do ln -s rustup /usr/local/cargo/bin/$name; done && rustup default {name}
"
    );
    std::fs::write(context.path().join("Dockerfile"), dockerfile)?;
    let mut command = engine.docker(&["build", "--quiet", "--tag", RUST]);
    tools::output(command.arg(context.path())).await.context("a Rust image")?;
    Ok(())
}

async fn compile(engine: &Engine) -> Result<()> {
    rust_image(engine).await?;
    let mut command =
        engine.docker(&["build", "--target", "sink", "--tag", "tickpanda-test/compiled"]);
    tools::output(command.arg(repository())).await?;
    let run = ["run", "--rm", "--read-only", "tickpanda-test/compiled", "--version"];
    let told = tools::output(&mut engine.docker(&run)).await?;
    ensure!(told.starts_with("tickpanda-sink "), "{told}");
    Ok(())
}

/// Only the stage of the dependencies is asked for: with another source it must come from the cache.
async fn cached(engine: Arc<Engine>) -> Result<()> {
    let copy = tempfile::tempdir()?;
    let mut command = Command::new("git");
    command
        .args(["checkout-index", "--all", "--prefix"])
        .arg(format!("{}/", copy.path().display()));
    tools::output(command.current_dir(repository())).await?;
    let changed = copy.path().join("sink/src/run.rs");
    let changed = if changed.is_file() { changed } else { copy.path().join("sink/src/sink.rs") };
    let mut text = std::fs::read_to_string(&changed)?;
    text.push_str("// changed\n");
    std::fs::write(&changed, text)?;
    let started = Instant::now();
    let mut command = engine.docker(&["build", "--target", "dependencies"]);
    tools::output(command.arg(copy.path())).await?;
    ensure!(started.elapsed().as_secs() < 60, "the dependencies were compiled again");
    Ok(())
}
