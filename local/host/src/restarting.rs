//! A transform that outlives its VMs: what a host keeps to start the next one after a trap.

use std::sync::Arc;

use crate::{Batch, HostError, LogPipeline, Module, Outputs, Vm, VmConfig};

/// A module with its settings, and its VM while there is one. Redpanda has one for all partitions on a
/// core: a trap takes what the guest remembered from all of them.
pub struct RestartingVm {
    module: Module,
    /// Its `log` is not used: the messages of every VM go to `logs`.
    config: VmConfig,
    logs: Arc<LogPipeline>,
    /// `None` before the first start and after a trap.
    vm: Option<Vm>,
}

impl RestartingVm {
    /// Starts nothing yet. Messages go to `logs`, and not to the configuration's own sink.
    pub fn new(module: Module, config: VmConfig, logs: Arc<LogPipeline>) -> Self {
        Self { module, config, logs, vm: None }
    }

    /// The transform's name.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Starts the VM where there is none.
    ///
    /// # Errors
    /// As [`Vm::start`]; the next call tries again.
    pub fn start(&mut self) -> Result<&mut Vm, HostError> {
        match &mut self.vm {
            Some(vm) => Ok(vm),
            empty => {
                let logs = Arc::clone(&self.logs);
                let config = self.config.again(move |line| logs.take(line));
                Ok(empty.insert(Vm::start(&self.module, config)?))
            }
        }
    }

    /// Has the guest transform one batch, in a new VM where there is none; one that ended is given up.
    ///
    /// # Errors
    /// As [`RestartingVm::start`] and [`Vm::transform`].
    pub fn transform(&mut self, batch: &Batch, out: &mut Outputs) -> Result<(), HostError> {
        let done = self.start()?.transform(batch, out);
        if done.is_err() {
            self.vm = None;
        }
        done
    }
}
