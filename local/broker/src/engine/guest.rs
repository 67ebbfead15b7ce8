//! The guest of one transform: nothing until its module is compiled, then a VM, and the next one after a trap.

use std::sync::Arc;

use tickpanda_host::{
    Batch, HostError, Limits, LogPipeline, Outputs, Profile, RestartingVm, VmConfig,
};

use super::code::Code;
use super::deployment::Deployment;

/// One for all input partitions, as Redpanda has one for each core; the transform's thread is its core.
pub(super) struct Guest {
    deployment: Deployment,
    code: Arc<Code>,
    limits: Limits,
    profile: Profile,
    logs: Arc<LogPipeline>,
    /// `None` until the module is compiled.
    vm: Option<RestartingVm>,
}

impl Guest {
    /// Compiles nothing yet.
    pub(super) fn new(
        deployment: Deployment,
        code: Arc<Code>,
        (limits, profile): (Limits, Profile),
        logs: Arc<LogPipeline>,
    ) -> Self {
        Self { deployment, code, limits, profile, logs, vm: None }
    }

    pub(super) fn name(&self) -> &str {
        &self.deployment.name
    }

    /// Compiles and links the module, if nobody has before.
    pub(super) fn create(&mut self) -> Result<(), HostError> {
        let module = self.code.module(self.profile)?;
        let Deployment { name, input_topic, output_topics, env, .. } = &self.deployment;
        let mut config = VmConfig::new(name, input_topic, output_topics);
        (config.env, config.limits) = (env.clone(), self.limits);
        self.vm = Some(RestartingVm::new(module, config, Arc::clone(&self.logs)));
        Ok(())
    }

    /// Starts a VM where there is none: a guest that can't start is found out before there is input.
    pub(super) fn start(&mut self) -> Result<(), HostError> {
        self.running()?.start().map(drop)
    }

    /// Has one batch transformed, in a new VM where there is none.
    pub(super) fn transform(&mut self, batch: &Batch, out: &mut Outputs) -> Result<(), HostError> {
        self.running()?.transform(batch, out)
    }

    fn running(&mut self) -> Result<&mut RestartingVm, HostError> {
        // Nothing is started before the module is compiled.
        let ended = || HostError::Ended { transform: self.deployment.name.clone() };
        self.vm.as_mut().ok_or_else(ended)
    }
}
