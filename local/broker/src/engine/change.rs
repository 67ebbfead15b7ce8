//! Deploying, changing and removing transforms, one after another.
//!
//! What is on disk comes first: a deploy that was answered is there after a crash, and one that could
//! not be kept leaves the transform that it was to replace as it was.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::beside::{Route, closes_a_circle};
use super::deployment::{Change, Deployment};
use super::handle::Handle;
use super::progress::{self, Progress};
use super::spec::check_env;
use super::worker::{Topics, Worker};
use super::{Code, Engine, MOST, Refusal, Transform, TransformSpec, logs};
use crate::compress::Compression;
use crate::error::BrokerError;
use crate::storage::Topic;

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
    pub(crate) fn resume(&self, with_logs: bool) -> Result<(), BrokerError> {
        let mut changes = self.changes();
        if with_logs {
            logs::topic(&self.store)?;
        }
        let deployments = self.kept.load()?;
        // A crash came between the end of a transform and the end of its progress.
        progress::retire(&self.store.transforms_dir(), |name, kept| {
            kept && !deployments.iter().any(|it| it.name == name)
        })?;
        for deployment in deployments {
            changes.last = changes.last.max(deployment.number);
            let (code, problem) = match self.kept.read(deployment.wasm) {
                Ok(module) => (Some(Arc::new(Code::new(module.into()))), String::new()),
                Err(error) => (None, error.to_string()),
            };
            let transform = Transform { deployment, kept: true, code, running: None, problem };
            self.start(transform);
        }
        Ok(())
    }

    /// Deploys a transform, in place of the one of that name if there is one, whose progress it keeps. Blocks until that one
    /// has ended, and not until the new one runs.
    pub(crate) fn deploy(&self, plan: Plan) -> Result<(), BrokerError> {
        let Plan { spec, code, compression, kept } = plan;
        let mut changes = self.changes();
        self.check(&changes, &spec)?;
        let old = self.named(&spec.name);
        let number = old.as_ref().map_or(changes.last + 1, |(old, _)| old.number);
        let kept = kept || old.as_ref().is_some_and(|(_, kept)| *kept);
        let deployment = Deployment::new(number, &spec, compression);
        if kept {
            self.kept.save(&deployment, Some(code.binary()))?;
        }
        changes.last = changes.last.max(number);
        self.end(number);
        if let Some((old, true)) = old {
            self.kept.forget(old.wasm);
        }
        let code = Some(Arc::new(code));
        tracing::info!(transform = deployment.name, number, "transform deployed");
        self.start(Transform { deployment, kept, code, running: None, problem: String::new() });
        Ok(())
    }

    /// Changes a transform, which is restarted by it, or stopped until it is resumed.
    pub(crate) fn change(&self, name: &str, change: Change) -> Result<(), BrokerError> {
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
        self.end(deployment.number);
        tracing::info!(transform = name, paused = deployment.paused, "transform changed");
        let code = self.transforms().get(&deployment.number).and_then(|it| it.code.clone());
        self.start(Transform { deployment, kept, code, running: None, problem: String::new() });
        Ok(())
    }

    /// Ends a transform: deployed again, it is another one. How far it was is forgotten at once, or, as Redpanda does it, when
    /// somebody has it collected. Blocks until it has ended.
    pub(crate) fn remove(&self, name: &str, forget: bool) -> Result<(), BrokerError> {
        let _changes = self.changes();
        let Some((deployment, kept)) = self.named(name) else {
            return Err(BrokerError::UnknownTransform(name.to_owned()));
        };
        if kept {
            self.kept.remove(&deployment)?;
        }
        self.end(deployment.number);
        self.transforms().remove(&deployment.number);
        tracing::info!(transform = name, "transform removed");
        let dir = self.store.transforms_dir();
        if forget {
            return progress::forget(&dir, name);
        }
        progress::retire(&dir, |other, _| other == name)
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
        if deployed.clone().count() >= MOST {
            return refuse(
                Refusal::Full(MOST),
                format!("the limit of {MOST} transforms is reached"),
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

    /// Ends what runs of a transform, and waits for it. It stays deployed.
    fn end(&self, number: u64) {
        let running = self.transforms().get_mut(&number).and_then(|it| it.running.take());
        if let Some(handle) = running {
            handle.stop();
            handle.join();
        }
    }

    /// Starts a transform, unless it is paused; deployed it is in any case.
    fn start(&self, mut transform: Transform) {
        if let (false, Some(code)) = (transform.deployment.paused, transform.code.clone()) {
            match self.run(&transform.deployment, transform.kept, code) {
                Ok(handle) => transform.running = Some(handle),
                Err(error) => transform.problem = error.to_string(),
            }
        }
        if !transform.problem.is_empty() {
            tracing::error!(
                transform = transform.deployment.name,
                error = transform.problem,
                "the transform is deployed and could not be started: deploy it again"
            );
        }
        self.transforms().insert(transform.deployment.number, transform);
    }

    fn run(
        &self,
        deployment: &Deployment,
        kept: bool,
        code: Arc<Code>,
    ) -> Result<Handle, BrokerError> {
        let topic = |name: &String| -> Result<Arc<Topic>, BrokerError> {
            self.store.topic(name).ok_or_else(|| BrokerError::UnknownTopic(name.clone()))
        };
        let input = topic(&deployment.input_topic)?;
        let outputs = deployment.output_topics.iter().map(topic).collect::<Result<_, _>>()?;
        // There whether it will say anything or not; a transform without it runs all the same.
        if let Err(error) = logs::topic(&self.store) {
            tracing::warn!(%error, "there is no topic for what transforms print");
        }
        let dir = self.store.transforms_dir();
        let progress = Progress::load(&dir, deployment, kept, &input)?;
        let topics = Topics { input, outputs };
        Worker::start(deployment, code, topics, progress, self.guests, Arc::clone(&self.store))
    }
}
