//! The transforms that are run again after a restart, on disk.
//!
//! ```text
//! DATA_DIR/deployed/NUMBER.json    one transform, replaced as a whole
//!                   UUID.wasm      the module that a record names; written before it
//! ```
//!
//! A record is the truth. A module's file without one is what a crash left of a deploy or of an update.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::deployment::Deployment;
use crate::error::BrokerError;
use crate::storage::write_atomically;

/// The folder.
#[derive(Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// All transforms in the order of their deploys. Modules that none of them names are deleted.
    pub(super) fn load(&self) -> Result<Vec<Deployment>, BrokerError> {
        fs::create_dir_all(&self.0).map_err(BrokerError::io("make", &self.0))?;
        let list = || -> io::Result<Vec<PathBuf>> {
            fs::read_dir(&self.0)?.map(|entry| Ok(entry?.path())).collect()
        };
        let files = list().map_err(BrokerError::io("list", &self.0))?;
        let is = |file: &Path, kind: &str| file.extension().is_some_and(|it| it == kind);
        let mut found = Vec::new();
        for file in files.iter().filter(|file| is(file, "json")) {
            let json = fs::read(file).map_err(BrokerError::io("read", file))?;
            let deployment: Deployment = serde_json::from_slice(&json).map_err(|error| {
                BrokerError::Corrupt { path: file.clone(), what: error.to_string() }
            })?;
            found.push(deployment);
        }
        found.sort_by_key(|deployment| deployment.number);
        let named: BTreeSet<PathBuf> = found.iter().map(|it| self.module(it.wasm)).collect();
        for file in files.iter().filter(|file| !is(file, "json") && !named.contains(*file)) {
            fs::remove_file(file).map_err(BrokerError::io("delete", file))?;
        }
        Ok(found)
    }

    /// Keeps a transform and, where it is given, its module; once this returns both survive the process.
    pub(super) fn save(
        &self,
        deployment: &Deployment,
        module: Option<&[u8]>,
    ) -> Result<(), BrokerError> {
        if let Some(module) = module {
            let path = self.module(deployment.wasm);
            write_atomically(&path, module).map_err(BrokerError::io("write", &path))?;
        }
        let path = self.record(deployment.number);
        serde_json::to_vec(deployment)
            .map_err(io::Error::from)
            .and_then(|json| write_atomically(&path, &json))
            .map_err(BrokerError::io("write", &path))
    }

    /// A module.
    pub(super) fn read(&self, wasm: Uuid) -> Result<Vec<u8>, BrokerError> {
        let path = self.module(wasm);
        fs::read(&path).map_err(BrokerError::io("read", &path))
    }

    /// A transform is to be no more. Its module goes too, at the next start if not now.
    pub(super) fn remove(&self, deployment: &Deployment) -> Result<(), BrokerError> {
        let path = self.record(deployment.number);
        fs::remove_file(&path).map_err(BrokerError::io("delete", &path))?;
        self.forget(deployment.wasm);
        Ok(())
    }

    /// A module that no record names any more.
    pub(super) fn forget(&self, wasm: Uuid) {
        let path = self.module(wasm);
        if let Err(error) = fs::remove_file(&path) {
            tracing::debug!(path = %path.display(), %error, "an old module is left until the next start");
        }
    }

    fn record(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number}.json"))
    }

    fn module(&self, wasm: Uuid) -> PathBuf {
        self.0.join(format!("{wasm}.wasm"))
    }
}
