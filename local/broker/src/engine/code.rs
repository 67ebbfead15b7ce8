//! A transform's module: its bytes, and what they were compiled to once somebody needed it.

use std::sync::OnceLock;

use bytes::Bytes;
use tickpanda_host::{CompileOptions, HostError, Module, Profile};

/// A module that is compiled at most once, however often its transform is restarted.
#[derive(Debug)]
pub(crate) struct Code {
    binary: Bytes,
    compiled: OnceLock<Module>,
}

impl Code {
    /// Compiled by whoever runs it.
    pub(crate) fn new(binary: Bytes) -> Self {
        Self { binary, compiled: OnceLock::new() }
    }

    pub(super) fn binary(&self) -> &Bytes {
        &self.binary
    }

    pub(super) fn is_compiled(&self) -> bool {
        self.compiled.get().is_some()
    }

    /// The compiled module. Blocks while it is compiled; a failure is tried again by the next call.
    pub(crate) fn module(&self, profile: Profile) -> Result<Module, HostError> {
        if let Some(module) = self.compiled.get() {
            return Ok(module.clone());
        }
        let options = CompileOptions { profile, ..CompileOptions::default() };
        let module = Module::compile_for(&self.binary, &options)?;
        Ok(self.compiled.get_or_init(|| module).clone())
    }
}
