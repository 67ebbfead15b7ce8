//! `docker-compose.yml` on a real Docker engine, with images made here under the names they stand for.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | what Compose makes of the file, for every service, without an engine |
//! | [`engine`] | a throw-away engine |
//! | [`images`] | TimescaleDB and Prometheus of Debian's packages, the local broker under Redpanda's name |
//! | [`stack`] | the containers: up, killed, down, audited |
//! | [`dashboard`] | Grafana's dashboard, without Grafana |
//! | [`dockerfile`] | the Dockerfile's own stages that build |

mod config;
mod dashboard;
mod dockerfile;
mod engine;
mod images;
mod stack;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::table::{Peer, Table};
use engine::Engine;
use stack::Stack;

const MODULE: &str = "TICKPANDA_TRANSFORM_WASM";
/// The services that run here, and go on running.
const RUNNING: [&str; 6] = ["redpanda", "timescaledb", "exchange", "source", "sink", "prometheus"];

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    config::run(table).await;
    if let Err(why) = rows(table).await {
        table.not_begun("docker compose", "everything else", &why);
    }
}

async fn rows(table: &mut Table) -> Result<()> {
    let Some(module) = std::env::var_os(MODULE).map(PathBuf::from) else {
        table.skip(
            "docker compose",
            "docker-compose.yml, all of it",
            format!("{MODULE} is not set"),
        );
        return Ok(());
    };
    let engine = match Engine::start().await {
        Ok(engine) => Arc::new(engine),
        Err(why) => {
            table.not_begun("docker compose", "docker-compose.yml, all of it", &why);
            return Ok(());
        }
    };
    let peer = Peer::new("docker compose", engine.version().await?);
    images::make(&engine, &module).await?;
    let stack = Arc::new(Stack::new(Arc::clone(&engine))?);

    let first = up(&stack).await;
    let told = match &first {
        Ok(first) => format!(
            "up --build to the first row in {:.1} s, {:.1} s of it building",
            first.row, first.built
        ),
        Err(_) => "up --build to the first row".to_owned(),
    };
    let failed = first.is_err();
    table.check(&peer, told, async { first.map(drop) }).await;
    if failed {
        return Ok(());
    }
    for service in ["exchange", "source", "sink"] {
        let size = stack.image_size(service).await;
        let told = size.as_ref().map_or(0.0, |size| megabytes(*size));
        let what = format!("image {service}: {told:.1} MB, on nothing but the C library and bash");
        table.check(&peer, what, async { small(size?) }).await;
    }
    table
        .check(
            &peer,
            "as the engine has them, nobody is root, has a capability, writes outside of volumes, is unlimited",
            hardened(Arc::clone(&stack)),
        )
        .await;
    table
        .check(&peer, "run --rm deploy status: every partition runs", status(Arc::clone(&stack)))
        .await;
    for service in RUNNING {
        let stack = Arc::clone(&stack);
        let what = format!("kill -s KILL {service}: rows flow again");
        table.check(&peer, what, async move { stack.survives_a_kill(service).await }).await;
    }
    for service in ["source", "sink", "redpanda"] {
        let what = format!("{service} dies by itself and is started again");
        table.check(&peer, what, dies(Arc::clone(&stack), service)).await;
    }
    audited(table, &peer, &stack, "after all that").await;
    table
        .check(
            &peer,
            "down and up keep the data, and the transform goes on",
            down_and_up(Arc::clone(&stack)),
        )
        .await;
    audited(table, &peer, &stack, "after down and up").await;

    let prometheus = Peer::new(
        "Prometheus (Debian)",
        stack
            .compose(&["exec", "-T", "prometheus", "promtool", "--version"])
            .await
            .map_or("–".to_owned(), |it| version(&it)),
    );
    table
        .check(
            &prometheus,
            "scrapes source, sink and the broker",
            dashboard::scraped(Arc::clone(&stack)),
        )
        .await;
    table
        .check(
            &prometheus,
            "every panel of the dashboard has a query that gives something",
            dashboard::queried(Arc::clone(&stack)),
        )
        .await;
    for (peer, what) in [
        (
            "Redpanda",
            "the cluster itself: the local broker with its Admin API stands in, and takes these arguments only",
        ),
        ("Redpanda Console", "topics and transforms in the browser"),
        ("Grafana", "the dashboard in the browser: its queries are asked of Prometheus instead"),
    ] {
        table.skip(peer, what, "no image registry is asked, and no package registry has it");
    }
    drop(stack);
    dockerfile::run(table, &peer, &engine).await;
    Ok(())
}

/// Seconds.
struct First {
    built: f64,
    row: f64,
}

async fn up(stack: &Stack) -> Result<First> {
    let started = Instant::now();
    stack.compose(&["build"]).await?;
    let built = started.elapsed().as_secs_f64();
    stack.compose(&["up", "--build", "--detach"]).await?;
    stack.more_ticks_than(0).await?;
    Ok(First { built, row: started.elapsed().as_secs_f64() })
}

// Megabytes for people.
#[expect(clippy::cast_precision_loss, reason = "an image is far below 2^52 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn small(bytes: u64) -> Result<()> {
    // The slim image of Debian alone has 75 MB.
    ensure!(bytes < 50_000_000, "{bytes} bytes");
    Ok(())
}

async fn hardened(stack: Arc<Stack>) -> Result<()> {
    for service in RUNNING.into_iter().chain(["deploy"]) {
        let host = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}} {{.HostConfig.Privileged}}";
        let told = stack.inspect(service, host).await?;
        ensure!(told == "true [ALL] [no-new-privileges:true] false", "{service}: {told}");
        let limits =
            stack.inspect(service, "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}").await?;
        ensure!(
            limits.split(' ').all(|it| it.parse::<i64>().is_ok_and(|it| it > 0)),
            "{service}: {limits}"
        );
        let user = stack.inspect(service, "{{.Config.User}}").await?;
        ensure!(
            !user.is_empty() && !user.starts_with("root") && !user.starts_with('0'),
            "{service}: {user}"
        );
    }
    Ok(())
}

async fn status(stack: Arc<Stack>) -> Result<()> {
    let told = stack.compose(&["run", "--rm", "-T", "deploy", "status"]).await?;
    let running = told.lines().filter(|line| line.contains(": running, lag")).count();
    ensure!(running == 4, "{told}");
    Ok(())
}

/// As a program that crashes: nobody told Docker that it should end.
async fn dies(stack: Arc<Stack>, service: &str) -> Result<()> {
    let pid = stack.inspect(service, "{{.State.Pid}}").await?;
    let before = stack.inspect(service, "{{.RestartCount}}").await?;
    crate::tools::output(tokio::process::Command::new("kill").args(["-9", &pid])).await?;
    let count = stack.ticks().await?;
    stack.more_ticks_than(count + 1_000).await?;
    let after = stack.inspect(service, "{{.RestartCount}}").await?;
    ensure!(after.parse::<u32>()? > before.parse::<u32>()?, "it was not started again by Docker");
    stack.healthy(service).await
}

async fn audited(table: &mut Table, peer: &Peer, stack: &Arc<Stack>, when: &str) {
    let verdict = stack.audit().await;
    let raw = verdict
        .as_deref()
        .ok()
        .and_then(|told| told.lines().find(|line| line.contains("raw records =")));
    let what = format!("tickpanda audit {when}: {}", raw.map_or("balanced", |line| line.trim()));
    table.check(peer, what, async { verdict.and_then(|told| balanced(&told)) }).await;
}

fn balanced(told: &str) -> Result<()> {
    ensure!(told.trim_end().lines().last() == Some("balanced"), "{told}");
    Ok(())
}

async fn down_and_up(stack: Arc<Stack>) -> Result<()> {
    let before = stack.ticks().await?;
    stack.compose(&["down"]).await?;
    stack.compose(&["up", "--detach"]).await?;
    stack.more_ticks_than(before + 1_000).await?;
    let told = stack.compose(&["logs", "--no-log-prefix", "deploy"]).await?;
    ensure!(told.contains("is deployed already"), "the transform was deployed anew: {told}");
    Ok(())
}

/// `promtool, version 2.42.0+ds (branch: …)`.
fn version(told: &str) -> String {
    told.split_whitespace().nth(2).map_or("–".to_owned(), str::to_owned)
}

/// `docker compose exec prometheus promtool query instant` of an expression: the lines that it gives.
async fn ask(stack: &Stack, expression: &str) -> Result<String> {
    let promtool = [
        "exec",
        "-T",
        "prometheus",
        "promtool",
        "query",
        "instant",
        "http://127.0.0.1:9090",
        expression,
    ];
    stack.compose(&promtool).await.with_context(|| format!("the query {expression}"))
}
