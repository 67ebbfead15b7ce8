//! What a person can say of the cluster that a transform is to run in, by the names of Redpanda's settings.

use clap::{Args, ValueEnum};
use tickpanda_host::{Limits, Profile};

/// The broker's build and what it gives a guest.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ClusterSettings {
    /// The build of Redpanda's broker: they know different Wasm [default: a check judges for both, a transform is run by
    /// wasmtime20, which knows less]
    #[arg(long, value_name = "BUILD")]
    profile: Option<Build>,

    /// The cluster's `data_transforms_per_function_memory_limit`, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().memory,
        value_parser = memory_limit)]
    memory_limit: usize,
}

/// By the wasmtime in it.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Build {
    /// v24.2 and v24.3, as far as can be seen.
    Wasmtime20,
    /// v25.1 and later, as far as can be seen.
    Wasmtime25,
}

impl ClusterSettings {
    /// The build, where one is named.
    pub(crate) fn profile(&self) -> Option<Profile> {
        self.profile.map(|build| match build {
            Build::Wasmtime20 => Profile::Wasmtime20,
            Build::Wasmtime25 => Profile::Wasmtime25,
        })
    }

    /// What a guest may use.
    pub(crate) fn limits(&self) -> Limits {
        Limits { memory: self.memory_limit, ..Limits::default() }
    }
}

/// As the cluster's setting: 64 KiB to 4 GiB.
fn memory_limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bytes) if (64 << 10..=4 << 30).contains(&bytes) => Ok(bytes),
        _ => Err("bytes, from 65536 to 4294967296".into()),
    }
}
