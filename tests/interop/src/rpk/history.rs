//! Which modules a roll back goes to: those that were seen running, and are as they were kept.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};

use super::{Stage, another, sha256};

/// Neither of the two was ever to be seen running, so neither is one to go back to.
pub(super) async fn two_bad_upgrades(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator.without_tickpanda();
    let worse = operator.home().join("worse.wasm");
    std::fs::write(&worse, another(&std::fs::read(&stage.unlinkable)?))?;
    for bad in [&stage.unlinkable, &worse] {
        let bad = bad.to_str().context("a path in UTF-8")?;
        let ran = operator.script(&["upgrade", bad]).await?.fails()?;
        ran.says("does not run on every partition")?;
    }
    let good = sha256(&stage.module).await?;
    back_to(&stage, &good).await?;
    // All that ran besides was rolled back from, and a roll back does not go forward.
    let ran = stage.operator.script(&["rollback"]).await?.fails()?;
    ran.says("is known to have run before the one that is deployed")?;
    runs(&stage, &good).await
}

/// Earlier scripts wrote no list of what ran. What runs is noted before it is replaced.
pub(super) async fn former(stage: Arc<Stage>) -> Result<()> {
    std::fs::remove_file(kept(&stage)?.join("ran"))?;
    let ran = stage.operator.script(&["rollback"]).await?.fails()?;
    ran.says("no module that is kept")?;
    stage.deploy(&["upgrade"], &stage.other).await?.succeeds()?;
    back_to(&stage, &sha256(&stage.module).await?).await
}

pub(super) async fn changed_module(stage: Arc<Stage>) -> Result<()> {
    stage.deploy(&["upgrade"], &stage.other).await?.succeeds()?;
    let before = sha256(&stage.module).await?;
    let file = kept(&stage)?.join(format!("{before}.wasm"));
    let bytes = std::fs::read(&file)?;
    std::fs::write(&file, another(&bytes))?;
    let ran = stage.operator.script(&["rollback"]).await?.fails()?;
    ran.says("was changed since it was kept")?;
    ran.says("nothing was changed")?;
    runs(&stage, &sha256(&stage.other).await?).await?;
    std::fs::write(&file, bytes)?;
    back_to(&stage, &before).await
}

/// Rolls back, and it must be to this module.
async fn back_to(stage: &Stage, hash: &str) -> Result<()> {
    let ran = stage.operator.script(&["rollback"]).await?.succeeds()?;
    ran.says(&format!(" to {hash}"))?;
    runs(stage, hash).await
}

async fn runs(stage: &Stage, hash: &str) -> Result<()> {
    let ran = stage.operator.script(&["status"]).await?.succeeds()?;
    ran.says(&format!("module {hash}"))?;
    stage.all_run().await
}

/// Where the script keeps modules of the transform: in the home, below the id of the only cluster.
fn kept(stage: &Stage) -> Result<PathBuf> {
    let clusters = stage.operator.home().join(".local/state/tickpanda/deploy");
    let mut clusters = std::fs::read_dir(&clusters)
        .with_context(|| format!("nothing is kept in {}", clusters.display()))?;
    let cluster = clusters.next().context("the script kept nothing of any cluster")??;
    Ok(cluster.path().join("tickpanda-transform"))
}
