//! Deploying, changing and removing transforms, one after another.
//!
//! What is on disk comes first: a deploy that was answered is there after a crash, and one that could
//! not be kept leaves the transform that it was to replace as it was. What runs follows what is written down (`settle`): a
//! guest that works on its batch for seconds keeps no answer back.

use std::sync::{Arc, MutexGuard, PoisonError};

use uuid::Uuid;

use super::beside::{Route, closes_a_circle};
use super::deployment::{Change, Deployment};
use super::settle::Settled;
use super::spec::check_env;
use super::{Code, Engine, Refusal, Transform, TransformSpec, logs, progress};
use crate::compress::Compression;
use crate::error::BrokerError;

/// What changes share.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The last number that was given to a transform.
    last: u64,
    ended: bool,
}

impl Changes {
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }
}

/// A deploy.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) spec: TransformSpec,
    pub(crate) code: Code,
    pub(crate) compression: Compression,
    /// Whether a restart is to bring it back. What it replaces may have wanted that already.
    pub(crate) kept: bool,
}

impl Engine {
    pub(super) fn changes(&self) -> MutexGuard<'_, Changes> {
        // A panic in a change leaves the map whole, and a number that is not used.
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the topic for messages of guests, and starts the transforms that are kept. One that can't be started is
    /// shown as `unknown`: the broker serves all the same.
    pub(crate) fn resume(self: &Arc<Self>, with_logs: bool) -> Result<(), BrokerError> {
        let mut changes = self.changes();
        if with_logs {
            logs::topic(&self.store)?;
        }
        let deployments = self.kept.load()?;
        // A crash came between the end of a transform and the end of its progress.
        progress::retire(&self.store.transforms_dir(), |id, kept| {
            kept && !deployments.iter().any(|it| it.id == id)
        })?;
        let numbers: Vec<u64> = deployments.iter().map(|it| it.number).collect();
        for deployment in deployments {
            changes.last = changes.last.max(deployment.number);
            let (code, problem) = match self.kept.read(deployment.wasm) {
                Ok(module) => (Some(Arc::new(Code::new(module.into()))), String::new()),
                Err(error) => (None, error.to_string()),
            };
            if !problem.is_empty() {
                tracing::error!(
                    transform = deployment.name,
                    problem,
                    "the transform is deployed and could not be started: deploy it again"
                );
            }
            let transform = Transform { code, problem, ..Transform::new(deployment, true) };
            self.transforms().insert(transform.deployment.number, transform);
        }
        drop(changes);
        let settled: Result<Vec<_>, _> = numbers.into_iter().map(|it| self.settle(it)).collect();
        settled?.into_iter().for_each(Settled::wait);
        Ok(())
    }

    /// Deploys a transform, in place of the one of that name if there is one, whose progress it keeps. It is kept when this
    /// returns, and runs some time after that.
    pub(crate) fn deploy(self: &Arc<Self>, plan: Plan) -> Result<Settled, BrokerError> {
        let Plan { spec, code, compression, kept } = plan;
        let mut changes = self.changes();
        self.check(&changes, &spec)?;
        let old = self.named(&spec.name);
        let known = match &old {
            Some((old, _)) => (old.number, old.id),
            None => (changes.last + 1, self.left_behind(&spec)?.unwrap_or_else(Uuid::new_v4)),
        };
        let kept = kept || old.as_ref().is_some_and(|(_, kept)| *kept);
        let deployment = Deployment::new(known, &spec, compression);
        if kept {
            self.kept.save(&deployment, Some(code.binary()))?;
        }
        let number = deployment.number;
        changes.last = changes.last.max(number);
        if let Some((old, true)) = old {
            self.kept.forget(old.wasm);
        }
        tracing::info!(transform = deployment.name, number, "transform deployed");
        self.want(deployment, kept, Some(Arc::new(code)));
        drop(changes);
        self.settle(number)
    }

    /// Changes a transform, which is restarted by it, or stopped until it is resumed.
    pub(crate) fn change(
        self: &Arc<Self>,
        name: &str,
        change: Change,
    ) -> Result<Settled, BrokerError> {
        let changes = self.changes();
        let Some((old, kept)) = self.named(name) else {
            return Err(BrokerError::UnknownTransform(name.to_owned()));
        };
        let deployment = change.applied(&old);
        let refuse = |refusal, what: &str| BrokerError::InvalidTransform {
            name: name.to_owned(),
            refusal,
            what: what.to_owned(),
        };
        if changes.ended {
            return Err(refuse(Refusal::Ending, "the broker is about to end"));
        }
        check_env(&deployment.env).map_err(|what| refuse(Refusal::Environment, what))?;
        if kept {
            self.kept.save(&deployment, None)?;
        }
        tracing::info!(transform = name, paused = deployment.paused, "transform changed");
        let number = deployment.number;
        self.want(deployment, kept, None);
        drop(changes);
        self.settle(number)
    }

    /// Removes a transform: deployed again, it is another one. How far it was is forgotten when it has ended, or, as Redpanda
    /// does it, when somebody has it collected.
    pub(crate) fn remove(
        self: &Arc<Self>,
        name: &str,
        forget: bool,
    ) -> Result<Settled, BrokerError> {
        let changes = self.changes();
        let Some((deployment, kept)) = self.named(name) else {
            return Err(BrokerError::UnknownTransform(name.to_owned()));
        };
        if kept {
            self.kept.remove(&deployment)?;
        }
        let gone = self.transforms().remove(&deployment.number);
        let gone = gone.ok_or_else(|| BrokerError::UnknownTransform(name.to_owned()))?;
        tracing::info!(transform = name, "transform removed");
        let settled = self.leave(gone, forget);
        drop(changes);
        settled
    }

    /// What a program left behind that deployed a transform of this name and has ended since.
    fn left_behind(&self, spec: &TransformSpec) -> Result<Option<Uuid>, BrokerError> {
        let Some(input) = self.store.topic(&spec.input_topic) else { return Ok(None) };
        let leaving = self.leaving().clone();
        let dir = self.store.transforms_dir();
        progress::find(&dir, &spec.name, input.id, |id| leaving.contains(&id))
    }

    /// This is what is wanted of a transform from now on; without code, of its present module.
    fn want(&self, deployment: Deployment, kept: bool, code: Option<Arc<Code>>) {
        let mut transforms = self.transforms();
        match transforms.get_mut(&deployment.number) {
            Some(it) => {
                (it.deployment, it.kept) = (deployment, kept);
                if code.is_some() {
                    (it.code, it.problem) = (code, String::new());
                }
            }
            None => {
                let transform = Transform { code, ..Transform::new(deployment, kept) };
                transforms.insert(transform.deployment.number, transform);
            }
        }
    }

    /// The broker's rules, in its order.
    fn check(&self, changes: &Changes, spec: &TransformSpec) -> Result<(), BrokerError> {
        let refuse = |refusal, what: String| {
            Err(BrokerError::InvalidTransform { name: spec.name.clone(), refusal, what })
        };
        if changes.ended {
            return refuse(Refusal::Ending, "the broker is about to end".to_owned());
        }
        spec.check_env()?;
        let transforms = self.transforms();
        let mut deployed = transforms.values().map(|it| &it.deployment);
        if let Some(old) = deployed.clone().find(|it| it.name == spec.name) {
            let (input, outputs) = (&old.input_topic, &old.output_topics);
            if *input != spec.input_topic || *outputs != spec.output_topics {
                return refuse(
                    Refusal::Update,
                    format!(
                        "its topics can't change, they are {input:?} to {outputs:?} in this order: remove it first"
                    ),
                );
            }
            return Ok(());
        }
        let most = self.most();
        if deployed.clone().count() >= most {
            return refuse(
                Refusal::Full(most),
                format!("the limit of {most} transforms is reached"),
            );
        }
        spec.check_new()?;
        let mut topics = std::iter::once(&spec.input_topic).chain(&spec.output_topics);
        if let Some(missing) = topics.find(|topic| self.store.topic(topic).is_none()) {
            return refuse(Refusal::MissingTopic, format!("topic {missing:?} does not exist"));
        }
        let routes = deployed.by_ref();
        let routes = routes.map(|it| Route { input: &it.input_topic, outputs: &it.output_topics });
        let routes: Vec<Route<'_>> = routes.collect();
        let new = Route { input: &spec.input_topic, outputs: &spec.output_topics };
        if closes_a_circle(new, &routes) {
            return refuse(
                Refusal::Configuration,
                format!(
                    "what it writes would come back to its input topic {:?} through other transforms",
                    spec.input_topic
                ),
            );
        }
        Ok(())
    }

    /// The transform of that name, and whether it is kept.
    fn named(&self, name: &str) -> Option<(Deployment, bool)> {
        let transforms = self.transforms();
        let found = transforms.values().find(|it| it.deployment.name == name);
        found.map(|it| (it.deployment.clone(), it.kept))
    }
}
