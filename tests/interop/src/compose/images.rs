//! Images that no registry is asked for, made here under the names that they stand for.

use std::path::Path;

use anyhow::{Context, Result};
use tickpanda_tests::demo::program;
use tokio::process::Command;

use super::engine::{Engine, folder, repository};
use crate::{rpk::stand_in, tools};

/// An image with our programs and the module in `/out`, as the Dockerfile's `build` stage has them.
pub(super) const BUILT: &str = "tickpanda-test/built";
const TRIXIE: &str = "tickpanda-test/trixie-timescaledb";

/// Makes all that docker-compose.yml pulls and can be made of Debian's packages or of our own programs.
pub(super) async fn make(engine: &Engine, module: &Path) -> Result<()> {
    engine.debian("bookworm", "debian:bookworm-slim", &[]).await?;
    engine.debian("trixie", TRIXIE, &["postgresql-17", "postgresql-17-timescaledb"]).await?;
    for image in ["timescale/timescaledb", "prom/prometheus"] {
        let name = image.rsplit('/').next().unwrap_or(image);
        build(engine, &pinned(image)?, &folder().join(name)).await?;
    }
    built(engine, module).await?;
    redpanda(engine).await
}

/// The image as docker-compose.yml names it, with its version.
pub(super) fn pinned(image: &str) -> Result<String> {
    let file = std::fs::read_to_string(repository().join("docker-compose.yml"))?;
    let line = file
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "))
        .find(|named| named.starts_with(image))
        .with_context(|| format!("docker-compose.yml names no {image}"))?;
    // `${VARIABLE:-version}`: nobody sets the variable here.
    Ok(match line.split_once("${") {
        Some((name, variable)) => {
            let version = variable.split_once(":-").context("a version")?.1;
            format!("{name}{}", version.trim_end_matches('}'))
        }
        None => line.to_owned(),
    })
}

/// Our programs as they were built for the other tests, without their symbols, as the Dockerfile has them.
async fn built(engine: &Engine, module: &Path) -> Result<()> {
    let context = tempfile::tempdir()?;
    let out = context.path().join("out");
    std::fs::create_dir_all(out.join("bin"))?;
    for name in ["tickpanda", "tickpanda-source", "tickpanda-sink"] {
        strip(&program(name), &out.join("bin").join(name)).await?;
    }
    std::fs::copy("/etc/ssl/certs/ca-certificates.crt", out.join("ca-certificates.crt"))
        .context("this machine has no certificate authorities (ca-certificates)")?;
    std::fs::copy(module, out.join("tickpanda-transform.wasm")).context("the module")?;
    std::fs::write(context.path().join("Dockerfile"), "FROM scratch\nCOPY out /out\n")?;
    build(engine, BUILT, context.path()).await
}

/// The local broker, under Redpanda's name and with its entry, and the stand-in for rpk.
async fn redpanda(engine: &Engine) -> Result<()> {
    let context = tempfile::tempdir()?;
    for file in std::fs::read_dir(folder().join("redpanda"))? {
        let file = file?;
        std::fs::copy(file.path(), context.path().join(file.file_name()))?;
    }
    strip(&program("tickpanda"), &context.path().join("tickpanda")).await?;
    std::fs::copy(stand_in::build().await?, context.path().join("rpk"))?;
    build(engine, &pinned("docker.redpanda.com/redpandadata/redpanda")?, context.path()).await
}

async fn strip(program: &Path, to: &Path) -> Result<()> {
    tools::output(Command::new("strip").arg("-o").arg(to).arg(program)).await?;
    Ok(())
}

async fn build(engine: &Engine, image: &str, context: &Path) -> Result<()> {
    let mut command = engine.docker(&["build", "--quiet", "--tag", image]);
    tools::output(command.arg(context)).await.with_context(|| format!("image {image}"))?;
    Ok(())
}
