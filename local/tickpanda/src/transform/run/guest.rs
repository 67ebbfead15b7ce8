//! The VM, which all lanes share as the partitions on a core of Redpanda do: a trap takes what it
//! remembers from all of them.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tickpanda_host::{Batch, HostError, LogPipeline, Module, Outputs, RestartingVm, VmConfig};

use super::settings::RunSettings;

/// One transform's guest. Batches go through it one at a time.
#[derive(Clone)]
pub(super) struct Guest {
    vm: Arc<Mutex<RestartingVm>>,
    logs: Arc<LogPipeline>,
}

impl Guest {
    pub(super) fn new(module: Module, name: &str, settings: &RunSettings) -> Self {
        let logs = Arc::new(LogPipeline::traced(name));
        let mut config = VmConfig::new(name, &settings.input_topic, &settings.output_topics);
        config.env.clone_from(&settings.env);
        config.limits = settings.cluster.limits();
        let vm = RestartingVm::new(module, config, Arc::clone(&logs));
        Self { vm: Arc::new(Mutex::new(vm)), logs }
    }

    /// Starts the VM, to refuse at once what can never run. A guest that fails at its start is left to the lanes, which
    /// try again as the broker does.
    pub(super) async fn check(&self) -> Result<()> {
        match self.start().await {
            Err(error) if !error.is_transient() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Starts the VM where there is none.
    pub(super) async fn start(&self) -> Result<(), HostError> {
        self.on_its_thread(|vm| vm.start().map(drop)).await
    }

    /// Has the guest transform one batch.
    pub(super) async fn transform(
        &self,
        batch: Batch,
        mut out: Outputs,
    ) -> Result<Outputs, HostError> {
        self.on_its_thread(move |vm| {
            vm.transform(&batch, &mut out)?;
            Ok(out)
        })
        .await
    }

    /// Guests block: they run where that is allowed.
    async fn on_its_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut RestartingVm) -> T + Send + 'static,
    ) -> T {
        let vm = Arc::clone(&self.vm);
        let work = move || work(&mut vm.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// What it prints.
    pub(super) fn logs(&self) -> &LogPipeline {
        &self.logs
    }
}
