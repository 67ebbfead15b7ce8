//! What the script refuses, rather than guess: what rpk can't tell, where to keep modules, what an answer is
//! worth that was made without the tool for it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::operator::Operator;
use super::{OUTPUT, RAW, Stage, sha256};

/// rpk's answer, as it is where no broker could list the offsets: it succeeds, and prints `-`.
const DASHES: &str = r#""$rpk" "$@" | sed '2,$s/[^ ]*$/-/'"#;
const FAILURE: &str = "exit 1";

/// The transform is removed, its outputs hold records.
pub(super) async fn blind_rpk(stage: Arc<Stage>) -> Result<()> {
    let module = stage.module.to_str().context("a path in UTF-8")?;
    for (name, answer) in [("dashes", DASHES), ("failure", FAILURE)] {
        let rpk = stage.operator.home().join("rpk-bin/rpk");
        let blind = stage.operator.home().join(name);
        let script = format!(
            "#!/bin/sh\n\
             rpk='{}'\n\
             case \"$*\" in *--print-partitions*) {answer} ;; *) exec \"$rpk\" \"$@\" ;; esac\n",
            rpk.display()
        );
        std::fs::write(&blind, script)?;
        std::fs::set_permissions(&blind, std::fs::Permissions::from_mode(0o755))?;
        let operator = Operator::new(&blind, &stage.cluster)?;
        let ran = operator.script(&["deploy", module]).await?.fails()?;
        ran.says("cannot tell whether tick-data holds records, and nothing was changed")?;
        ensure!(stage.states().await?.is_empty(), "deployed all the same, with {name}");
    }
    stage.cluster.holds(OUTPUT, stage.cluster.published(RAW)).await
}

pub(super) async fn homeless(stage: Arc<Stage>) -> Result<()> {
    let operator = stage.operator.with("HOME", "");
    let module = stage.module.to_str().context("a path in UTF-8")?;
    for args in [&["deploy", module][..], &["rollback"]] {
        operator.script(args).await?.fails()?.says("set TICKPANDA_DEPLOY_STATE to the folder")?;
    }
    let ran = operator.script(&["status"]).await?.succeeds()?;
    ran.says(&format!("module {}", sha256(&stage.module).await?))
}

/// With nothing on the path but what the script is written in.
pub(super) async fn missing_tools(stage: Arc<Stage>) -> Result<()> {
    let path = std::env::var_os("PATH").context("no PATH is set")?;
    let bash = std::env::split_paths(&path)
        .map(|folder| folder.join("bash"))
        .find(|bash| bash.is_file())
        .context("there is no bash")?;
    let only = stage.operator.home().join("only-bash");
    std::fs::create_dir(&only)?;
    symlink(bash, only.join("bash"))?;
    let operator = stage.operator.with("PATH", only.to_str().context("a path in UTF-8")?);
    let ran = operator.script(&["status"]).await?.fails()?;
    ran.says("not on the path: rpk awk")?;
    ran.says("sha256sum")
}
