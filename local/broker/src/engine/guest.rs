//! A transform's VM: one for all its input partitions, as Redpanda has one for each core.

use std::sync::Arc;

use tickpanda_host::{Batch, HostError, Limits, LogPipeline, Module, Outputs, Vm, VmConfig};

use super::spec::TransformSpec;

/// The module, and its VM while there is one.
pub(super) struct Guest {
    spec: TransformSpec,
    module: Module,
    limits: Limits,
    /// `None` before the first batch and after a trap: then every partition's next batch starts it anew,
    /// and what the guest remembered is gone for all of them.
    vm: Option<Vm>,
    logs: Arc<LogPipeline>,
}

impl Guest {
    pub(super) fn new(
        spec: TransformSpec,
        module: Module,
        limits: Limits,
        logs: Arc<LogPipeline>,
    ) -> Self {
        // Compiled: nobody needs its bytes any more.
        Self { spec: TransformSpec { wasm: Vec::new(), ..spec }, module, limits, vm: None, logs }
    }

    pub(super) fn name(&self) -> &str {
        &self.spec.name
    }

    /// Has the guest transform one batch.
    pub(super) fn transform(&mut self, batch: &Batch, out: &mut Outputs) -> Result<(), HostError> {
        let vm = match &mut self.vm {
            Some(vm) => vm,
            None => self.vm.insert(Vm::start(&self.module, self.config())?),
        };
        let done = vm.transform(batch, out);
        if done.is_err() {
            self.vm = None;
        }
        done
    }

    fn config(&self) -> VmConfig {
        let spec = &self.spec;
        let mut config = VmConfig::new(&spec.name, &spec.input_topic, &spec.output_topics);
        config.env.clone_from(&spec.env);
        config.limits = self.limits;
        let logs = Arc::clone(&self.logs);
        config.log(move |line| logs.take(line))
    }
}
