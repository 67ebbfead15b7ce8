//! The folder that keeps unpacked programs and fresh data directories between runs, and the script
//! that fills it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::DatabaseError;
use crate::account::{Account, is_root};

const PROVISION: &str = include_str!("provision.sh");

/// A cache folder that is ours.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The first candidate that can be made, is ours, and, for root, can be entered by the account
    /// that will run the programs; if none can be entered, the first that is ours.
    pub(crate) fn open(candidates: &[PathBuf]) -> Result<Self, DatabaseError> {
        let (mut tried, mut hidden) = (Vec::new(), None);
        for folder in candidates {
            match usable(folder) {
                Err(problem) => tried.push(format!("{}: {problem}", folder.display())),
                Ok(()) if Account::can_enter(folder)? => {
                    return Ok(Cache { folder: folder.clone() });
                }
                Ok(()) => hidden = hidden.or(Some(folder.clone())),
            }
        }
        hidden
            .map(|folder| Cache { folder })
            .ok_or_else(|| DatabaseError::Cache { tried: tried.join("; ") })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs one verb of the script with the cache as its first argument.
    pub(crate) fn provision(
        &self,
        verb: &str,
        args: &[&str],
        doing: &str,
    ) -> Result<(), DatabaseError> {
        let output = Command::new("bash")
            .args(["-c", PROVISION, "provision.sh", verb])
            .arg(&self.folder)
            .args(args)
            .stdin(Stdio::null())
            .output()
            .map_err(DatabaseError::io("run bash for", &self.folder))?;
        if output.status.success() {
            return Ok(());
        }
        let detail = last_lines(&String::from_utf8_lossy(&output.stderr), 4).replace('\n', "; ");
        Err(DatabaseError::Provision { doing: doing.into(), detail })
    }
}

/// Where the cache may be, best first. What the user named is the only one.
pub(crate) fn candidates(var: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let var = |name: &str| var(name).filter(|value| !value.is_empty());
    if let Some(folder) = var("TICKPANDA_CACHE") {
        return vec![std::path::absolute(&folder).unwrap_or_else(|_| folder.into())];
    }
    let everybody =
        PathBuf::from(format!("/var/tmp/tickpanda-{}", rustix::process::geteuid().as_raw()));
    let own = if is_root() {
        // Not root's home: the account that runs the server could not enter it.
        Some("/var/cache/tickpanda".into())
    } else {
        let cache = var("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        cache
            .or_else(|| var("HOME").map(|home| Path::new(&home).join(".cache")))
            .map(|cache| cache.join("tickpanda"))
    };
    own.into_iter().chain([everybody]).collect()
}

/// Makes the folder if needed; an error says why it can't be used.
fn usable(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let meta = fs::symlink_metadata(folder).map_err(|error| error.to_string())?;
    // Programs are run from here, so a folder that somebody else laid there is none.
    if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() {
        return Err("belongs to another user".into());
    }
    if meta.mode() & 0o022 != 0 || meta.mode() & 0o055 != 0o055 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The last lines of a text, for an error.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_names_is_the_only_candidate() {
        let named = candidates(|name| (name == "TICKPANDA_CACHE").then(|| "/some/where".into()));
        assert_eq!(named, [PathBuf::from("/some/where")]);
        assert!(candidates(|_| None).last().unwrap().starts_with("/var/tmp"));
    }

    #[test]
    fn a_cache_that_others_can_write_is_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        Cache::open(&[PathBuf::from("/proc/nowhere"), folder.path().to_owned()]).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn no_usable_cache_is_said_with_the_folders() {
        let error = Cache::open(&[PathBuf::from("/proc/nowhere")]).unwrap_err().to_string();
        assert!(error.contains("/proc/nowhere") && error.contains("TICKPANDA_CACHE"), "{error}");
    }
}
