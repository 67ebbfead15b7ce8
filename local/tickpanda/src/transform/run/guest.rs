//! The VM, which all lanes share as the partitions on a core of Redpanda do: a trap takes what it
//! remembers from all of them.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use tickpanda_host::{
    Batch, HostError, Limits, LogLevel, LogPipeline, Module, Outputs, Vm, VmConfig,
};

use super::settings::RunSettings;

/// One transform's guest. Batches go through it one at a time.
#[derive(Clone)]
pub(super) struct Guest(Arc<Inner>);

struct Inner {
    module: Module,
    name: String,
    input_topic: String,
    output_topics: Vec<String>,
    env: Vec<(String, String)>,
    limits: Limits,
    logs: Arc<LogPipeline>,
    /// `None` before the first batch and after a trap.
    vm: Mutex<Option<Vm>>,
}

impl Guest {
    pub(super) fn new(module: Module, name: &str, settings: &RunSettings) -> Self {
        Self(Arc::new(Inner {
            module,
            name: name.to_owned(),
            input_topic: settings.input_topic.clone(),
            output_topics: settings.output_topics.clone(),
            env: settings.env.clone(),
            limits: settings.cluster.limits(),
            logs: Arc::new(pipeline(name)),
            vm: Mutex::new(None),
        }))
    }

    /// Starts the VM, to refuse at once what can never run. A guest that fails at its start is left to the lanes, which
    /// try again as the broker does.
    pub(super) async fn check(&self) -> Result<()> {
        match self.clone().on_its_thread(|inner| inner.start().map(drop)).await? {
            Err(error) if !error.is_transient() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Has the guest transform one batch.
    pub(super) async fn transform(
        &self,
        batch: Batch,
        mut out: Outputs,
    ) -> Result<Outputs, HostError> {
        let done = self.clone().on_its_thread(move |inner| {
            inner.transform(&batch, &mut out)?;
            Ok(out)
        });
        match done.await {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    /// Guests block: they run where that is allowed.
    async fn on_its_thread<T: Send + 'static>(
        self,
        work: impl FnOnce(&Inner) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        tokio::task::spawn_blocking(move || work(&self.0)).await
    }

    /// What it prints.
    pub(super) fn logs(&self) -> &LogPipeline {
        &self.0.logs
    }
}

impl Inner {
    fn start(&self) -> Result<(), HostError> {
        let mut vm = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        if vm.is_none() {
            *vm = Some(Vm::start(&self.module, self.config())?);
        }
        Ok(())
    }

    fn transform(&self, batch: &Batch, out: &mut Outputs) -> Result<(), HostError> {
        let mut slot = self.vm.lock().unwrap_or_else(PoisonError::into_inner);
        let vm = match &mut *slot {
            Some(vm) => vm,
            None => slot.insert(Vm::start(&self.module, self.config())?),
        };
        let done = vm.transform(batch, out);
        if done.is_err() {
            *slot = None;
        }
        done
    }

    fn config(&self) -> VmConfig {
        let mut config = VmConfig::new(&self.name, &self.input_topic, &self.output_topics);
        config.env.clone_from(&self.env);
        config.limits = self.limits;
        let logs = Arc::clone(&self.logs);
        config.log(move |line| logs.take(line))
    }
}

/// The guest's messages, in this program's log.
fn pipeline(transform: &str) -> LogPipeline {
    let name = transform.to_owned();
    LogPipeline::new(transform, move |event| match event {
        Ok(event) => {
            let (transform, text) = (&name, event.text.trim_end());
            match event.level {
                LogLevel::Info => tracing::info!(target: "transform", transform, "{text}"),
                LogLevel::Warn => tracing::warn!(target: "transform", transform, "{text}"),
            }
        }
        Err(dropped) => {
            let transform = &name;
            tracing::debug!(target: "transform", transform, "a message that Redpanda would drop: {dropped}");
        }
    })
}
