//! `rpk/deploy.sh` with a stand-in for rpk that speaks through Redpanda's Go clients, against the local
//! broker with its Admin API.
//!
//! | module | what it holds |
//! |---|---|
//! | [`broker`] | a local broker that starts without topics, as a new cluster |
//! | [`doubt`] | what the script refuses, rather than guess |
//! | [`history`] | which modules a roll back goes to |
//! | [`operator`] | somebody with rpk who runs the script, and looks with rpk what came of it |
//! | [`stand_in`] | building the stand-in for rpk |

mod broker;
mod doubt;
mod history;
mod operator;
pub(crate) mod stand_in;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::table::{Peer, Table};
use crate::tools;
use broker::Cluster;
use operator::{Operator, Ran};

/// The script must be told a module that is built already: `cargo xtask interop` says where.
const MODULE: &str = "TICKPANDA_TRANSFORM_WASM";
const OUTPUT: &str = "tick-data";
const RAW: &str = "cryptocompare-raw";

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    let rpk = match stand_in::build().await {
        Ok(rpk) => rpk,
        Err(why) => return table.not_begun("rpk", "rpk/deploy.sh, all of it", &why),
    };
    let peer = Peer::new("rpk (stand-in on rpadmin, franz-go)", stand_in::version());
    let Some(module) = std::env::var_os(MODULE).map(PathBuf::from) else {
        return table.skip("rpk", "rpk/deploy.sh, all of it", format!("{MODULE} is not set"));
    };
    match Stage::new(&rpk, module).await {
        Ok(stage) => life_of_a_transform(table, &peer, &Arc::new(stage)).await,
        Err(why) => {
            let why = format!("{why:#}");
            table.check(&peer, "a cluster to deploy to", async { anyhow::bail!(why) }).await;
        }
    }
    let other = rpk.clone();
    table.check(&peer, "refuses topics of different partition counts", uneven_topics(rpk)).await;
    table.check(&peer, "says where an Admin API is not", no_admin_api(other)).await;
}

/// One cluster, its operator, and modules to deploy.
struct Stage {
    cluster: Cluster,
    operator: Operator,
    /// Ours.
    module: PathBuf,
    /// Ours, as [`another`] file.
    other: PathBuf,
    /// Imports what no broker has: a deploy succeeds, and nothing ever runs.
    unlinkable: PathBuf,
    /// Traps in `main`.
    trapping: PathBuf,
}

impl Stage {
    async fn new(rpk: &Path, module: PathBuf) -> Result<Self> {
        let cluster = Cluster::start().await?;
        let operator = Operator::new(rpk, &cluster)?;
        let modules = operator.home();
        let bytes =
            std::fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        let write = |name: &str, bytes: &[u8]| -> Result<PathBuf> {
            let path = modules.join(name);
            std::fs::write(&path, bytes)?;
            Ok(path)
        };
        let other = write("other.wasm", &another(&bytes))?;
        let unlinkable = write("unlinkable.wasm", &wat::parse_str(guest("missing", "nop"))?)?;
        let trapping =
            write("trapping.wasm", &wat::parse_str(guest("environ_get", "unreachable"))?)?;
        Ok(Self { cluster, operator, module, other, unlinkable, trapping })
    }

    async fn deploy(&self, args: &[&str], module: &Path) -> Result<Ran> {
        let module = module.to_str().context("a path in UTF-8")?;
        self.operator.script(&[args, &[module]].concat()).await
    }

    /// The state of each partition, in order.
    async fn states(&self) -> Result<Vec<String>> {
        let list = self.operator.rpk(&["transform", "list", "--detailed"]).await?;
        Ok(list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() == 4 && words[0].parse::<u32>().is_ok())
            .map(|words| words[2].to_owned())
            .collect())
    }

    async fn all_run(&self) -> Result<()> {
        let states = self.states().await?;
        ensure!(states.len() == 4 && states.iter().all(|s| s == "running"), "{states:?}");
        Ok(())
    }
}

/// A transform's bare shape, with one more import of WASI's module and this as its `main`.
fn guest(import: &str, main: &str) -> String {
    format!(
        r#"(module
             (import "redpanda_transform" "check_abi_version_2" (func))
             (import "wasi_snapshot_preview1" "{import}" (func (param i32 i32) (result i32)))
             (memory (export "memory") 2)
             (func (export "_start") {main}))"#
    )
}

/// Another file, and the same module: with a custom section behind it.
fn another(module: &[u8]) -> Vec<u8> {
    // Its number, its length, the length of its name, its name.
    [module, b"\x00\x06\x05other"].concat()
}

/// From the first deploy to the last, each row on what the ones before left.
async fn life_of_a_transform(table: &mut Table, peer: &Peer, stage: &Arc<Stage>) {
    macro_rules! row {
        ($what:literal, $check:path) => {
            table.check(peer, $what, $check(Arc::clone(stage))).await;
        };
    }
    row!("first deploy: topics with their settings, and all that was on raw is emitted", first);
    row!("second run changes nothing", again);
    row!("upgrade keeps the offsets", upgrade);
    row!("roll back says from which module to which, and keeps the offsets", roll_back);
    row!("pause and resume lose nothing", pause);
    row!("a module that the broker would not run is refused before the deploy", refused);
    row!(
        "without tickpanda, one that never runs is reported with its state and reason",
        never_runs
    );
    row!("one that traps at its start is reported, and a roll back heals it", traps);
    row!("after two bad upgrades a roll back goes to the one that ran", history::two_bad_upgrades);
    row!("a history that says of nobody whether it ran is gone on with", history::former);
    row!("a kept module that was changed is not put back", history::changed_module);
    row!("without a home it asks for a state folder; status needs none", doubt::homeless);
    row!("says which tools are missing, before anything else", doubt::missing_tools);
    row!("remove asks first, and leaves the topics", remove);
    row!("deploying again is refused where rpk can't tell what outputs hold", doubt::blind_rpk);
    row!("deploying again is refused until it is said that all is to be emitted again", once_more);
    row!("without a module: rpk transform build leaves it where the deploy takes it", builds);
    row!("an rpk profile made from rpk/profile.yaml is enough", profile);
    row!("a second transform beside the first, by topic prefix", prefixed);
}

async fn first(stage: Arc<Stage>) -> Result<()> {
    let operator = &stage.operator;
    operator
        .rpk(&[
            "topic",
            "create",
            RAW,
            "--partitions",
            "4",
            "--topic-config",
            "max.message.bytes=524288",
        ])
        .await?;
    stage.cluster.trades(RAW, 400).await?;
    let ran = stage.deploy(&["deploy"], &stage.module).await?.succeeds()?;
    ran.says("runs on all 4 partitions")?;
    ran.says("tickpanda transform check")?;
    stage.all_run().await?;
    stage.cluster.holds(OUTPUT, 400).await?;
    // What the script creates, and what it found.
    ran.says("its retention.ms is")?;
    ran.says("rpk topic alter-config cryptocompare-raw --set retention.ms=604800000")?;
    for (topic, setting) in [
        (OUTPUT, "max.message.bytes 16777216"),
        ("dead-letter", "retention.ms 2592000000"),
        ("gap-events", "retention.ms 2592000000"),
        ("control-topic", "retention.ms 2592000000"),
    ] {
        let described = operator.rpk(&["topic", "describe", topic, "--print-configs"]).await?;
        let words: Vec<_> = described.split_whitespace().collect();
        ensure!(words.join(" ").contains(setting), "{topic} without {setting}: {described}");
    }
    Ok(())
}

async fn again(stage: Arc<Stage>) -> Result<()> {
    let ran = stage.deploy(&[], &stage.module).await?.succeeds()?;
    ran.says("is deployed already")?;
    stage.cluster.holds(OUTPUT, 400).await?;
    stage.cluster.trades(RAW, 100).await?;
    stage.cluster.holds(OUTPUT, 500).await
}

async fn upgrade(stage: Arc<Stage>) -> Result<()> {
    let ran = stage.deploy(&["upgrade"], &stage.other).await?.succeeds()?;
    ran.says("upgrading from")?;
    stage.all_run().await?;
    stage.cluster.trades(RAW, 100).await?;
    stage.cluster.holds(OUTPUT, 600).await
}

async fn roll_back(stage: Arc<Stage>) -> Result<()> {
    let ran = stage.operator.script(&["rollback"]).await?.succeeds()?;
    let (from, to) = (sha256(&stage.other).await?, sha256(&stage.module).await?);
    ran.says(&format!("rolling back from {from}"))?;
    ran.says(&format!("to {to}"))?;
    stage.all_run().await?;
    stage.operator.script(&["status"]).await?.succeeds()?.says(&format!("module {to}"))?;
    stage.cluster.trades(RAW, 100).await?;
    stage.cluster.holds(OUTPUT, 700).await
}

async fn pause(stage: Arc<Stage>) -> Result<()> {
    stage.operator.script(&["pause"]).await?.succeeds()?.says("is paused")?;
    let states = stage.states().await?;
    ensure!(states.iter().all(|state| state == "inactive"), "{states:?}");
    stage.cluster.trades(RAW, 100).await?;
    stage.cluster.holds(OUTPUT, 700).await?;
    stage.operator.script(&["resume"]).await?.succeeds()?;
    stage.all_run().await?;
    stage.cluster.holds(OUTPUT, 800).await
}

async fn refused(stage: Arc<Stage>) -> Result<()> {
    let ran = stage.deploy(&["deploy"], &stage.unlinkable).await?.fails()?;
    ran.says("deploys but never runs")?;
    ran.says("missing")?;
    ran.says("nothing was changed")?;
    stage.all_run().await
}

async fn never_runs(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator.without_tickpanda();
    let module = stage.unlinkable.to_str().context("a path")?;
    let ran = operator.script(&["upgrade", module]).await?.fails()?;
    ran.says("deployed without a check")?;
    ran.says("does not run on every partition")?;
    ran.says("unknown")?;
    ran.says("failed to create transform processor")?;
    ran.says("deploy.sh rollback puts")?;
    stage.operator.script(&["rollback"]).await?.succeeds()?;
    stage.all_run().await
}

async fn traps(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator.without_tickpanda();
    let module = stage.trapping.to_str().context("a path")?;
    let ran = operator.script(&["upgrade", module]).await?.fails()?;
    ran.says("does not run on every partition")?;
    ran.says("errored")?;
    let ran = stage.operator.script(&["rollback"]).await?.succeeds()?;
    // Not to the other one that did not run: that was put away by a roll back already.
    ran.says(&format!("to {}", sha256(&stage.module).await?))?;
    stage.all_run().await?;
    stage.cluster.holds(OUTPUT, stage.cluster.published(RAW)).await
}

async fn remove(stage: Arc<Stage>) -> Result<()> {
    stage.operator.script(&["remove"]).await?.fails()?.says("--yes")?;
    stage.all_run().await?;
    stage.operator.script(&["remove", "--yes"]).await?.succeeds()?;
    ensure!(stage.states().await?.is_empty(), "still there");
    stage.operator.script(&["status"]).await?.fails()?.says("there is no transform")?;
    stage.cluster.holds(OUTPUT, stage.cluster.published(RAW)).await
}

async fn once_more(stage: Arc<Stage>) -> Result<()> {
    let ran = stage.deploy(&["deploy"], &stage.module).await?.fails()?;
    ran.says("would emit all that cryptocompare-raw still has once more")?;
    ensure!(stage.states().await?.is_empty(), "deployed all the same");
    stage.deploy(&["deploy", "--emit-again"], &stage.module).await?.succeeds()?;
    stage.all_run().await?;
    stage.cluster.holds(OUTPUT, 2 * stage.cluster.published(RAW)).await
}

async fn builds(stage: Arc<Stage>) -> Result<()> {
    // A target folder of its own: rpk moves the module out of it, and others need theirs.
    let target = tools::cache("rpk-target")?;
    let module = operator::repository().join("transform/tickpanda-transform.wasm");
    let ran = stage.operator.script_in(&["deploy"], &[("CARGO_TARGET_DIR", &target)]).await?;
    ran.succeeds()?.says("building the transform")?;
    ensure!(module.is_file(), "rpk left no module at {}", module.display());
    let left = target.join("wasm32-wasip1/release/tickpanda-transform.wasm");
    ensure!(!left.exists(), "{} was copied, not moved", left.display());
    let hash = sha256(&module).await?;
    std::fs::remove_file(&module)?;
    stage.operator.script(&["status"]).await?.succeeds()?.says(&format!("module {hash}"))?;
    stage.all_run().await
}

async fn profile(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator.without_variables()?;
    let shipped = std::fs::read_to_string(operator::repository().join("rpk/profile.yaml"))?;
    ensure!(
        shipped.contains("127.0.0.1:19092") && shipped.contains("127.0.0.1:19644"),
        "the profile no longer names the ports of docker-compose.yml"
    );
    // Its ports are those of docker-compose.yml; here they are others.
    let mine = shipped
        .replace("127.0.0.1:19092", stage.cluster.kafka())
        .replace("127.0.0.1:19644", stage.cluster.admin());
    let file = operator.home().join("profile.yaml");
    std::fs::write(&file, mine)?;
    let file = file.to_str().context("a path")?;
    let made = operator.rpk(&["profile", "create", "test", "--from-profile", file]).await?;
    ensure!(made.contains("Created and switched to new profile"), "{made}");
    operator.script(&["status"]).await?.succeeds()?.says("partition 3")?;
    Ok(())
}

async fn prefixed(stage: Arc<Stage>) -> Result<()> {
    let operator =
        stage.operator.with("TICKPANDA_TOPIC_PREFIX", "eu.").with("TICKPANDA_PARTITIONS", "2");
    let module = stage.module.to_str().context("a path")?;
    operator.script(&["deploy", module]).await?.succeeds()?;
    stage.cluster.trades("eu.cryptocompare-raw", 50).await?;
    stage.cluster.holds("eu.tick-data", 50).await?;
    stage.cluster.holds(OUTPUT, 2 * stage.cluster.published(RAW)).await?;
    let list = operator.rpk(&["transform", "list"]).await?;
    ensure!(list.contains("eu.tickpanda-transform") && list.contains("2 / 2"), "{list}");
    let unlike = operator.with("TICKPANDA_PARTITIONS", "3");
    unlike.script(&["deploy", module]).await?.fails()?.says("have 2 partitions")?;
    Ok(())
}

async fn uneven_topics(rpk: PathBuf) -> Result<()> {
    let cluster = Cluster::start().await?;
    let operator = Operator::new(&rpk, &cluster)?;
    operator.rpk(&["topic", "create", RAW, "-p", "4"]).await?;
    operator.rpk(&["topic", "create", OUTPUT, "-p", "2"]).await?;
    let module = std::env::var(MODULE)?;
    let ran = operator.script(&["deploy", &module]).await?.fails()?;
    ran.says(
        "must have the same number of partitions, and have: cryptocompare-raw 4, tick-data 2",
    )?;
    let topics = operator.rpk(&["topic", "list"]).await?;
    ensure!(!topics.contains("ohlcv-data"), "it created topics all the same: {topics}");
    Ok(())
}

async fn no_admin_api(rpk: PathBuf) -> Result<()> {
    let cluster = Cluster::start().await?;
    let [port] = tools::free_ports()?;
    let nobody = format!("127.0.0.1:{port}");
    let operator = Operator::new(&rpk, &cluster)?.with("RPK_ADMIN_HOSTS", &nobody);
    let ran = operator.script(&["deploy", &std::env::var(MODULE)?]).await?.fails()?;
    ran.says("do RPK_ADMIN_HOSTS or rpk's profile name the Admin API")?;
    let topics = operator.rpk(&["topic", "list"]).await?;
    ensure!(!topics.contains(RAW), "it created topics all the same: {topics}");
    Ok(())
}

async fn sha256(file: &Path) -> Result<String> {
    let printed = tools::output(Command::new("sha256sum").arg(file)).await?;
    Ok(printed.split_whitespace().next().context("a hash")?.to_owned())
}
