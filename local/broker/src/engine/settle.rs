//! Carrying a change out: what runs of a transform ends, and what was last wanted of it starts.
//!
//! That takes as long as the guest works on its batch, which may be seconds, so it has a thread of its own. Changes of one
//! transform take turns, and each one starts what is wanted then, whoever wanted it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::code::Code;
use super::deployment::Deployment;
use super::handle::Handle;
use super::progress::{self, Progress};
use super::worker::{Topics, Worker};
use super::{Engine, Transform, logs};
use crate::error::BrokerError;
use crate::storage::Topic;

/// A change that is decided, and on its way.
#[derive(Debug)]
#[must_use]
pub(crate) struct Settled(Receiver<()>);

impl Settled {
    /// Waits until it is carried out.
    pub(crate) fn wait(self) {
        // The sender goes with the thread, however that ends.
        let _ = self.0.recv();
    }

    /// The same, no longer than `patience`.
    pub(crate) fn wait_for(self, patience: Duration) {
        if self.0.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            tracing::info!(
                "a guest still works on its batch: the change follows when that is done"
            );
        }
    }
}

impl Engine {
    /// Ends what runs of a deployed transform, and starts it as it is wanted.
    pub(super) fn settle(self: &Arc<Self>, number: u64) -> Result<Settled, BrokerError> {
        let mut name = String::new();
        if let Some(transform) = self.transforms().get(&number) {
            name.clone_from(&transform.deployment.name);
            transform.running.iter().for_each(Handle::stop);
        }
        self.apart(name, move |engine| engine.renew(number))
    }

    /// Ends what runs of a transform that is deployed no more; then what is kept of it is forgotten, or marked.
    pub(super) fn leave(
        self: &Arc<Self>,
        gone: Transform,
        forget: bool,
    ) -> Result<Settled, BrokerError> {
        self.leaving().insert(gone.deployment.id);
        gone.running.iter().for_each(Handle::stop);
        self.apart(gone.deployment.name.clone(), move |engine| {
            let name = gone.deployment.name.clone();
            if let Err(error) = engine.see_off(gone, forget) {
                tracing::error!(transform = name, %error, "what is kept of a removed transform stays");
            }
        })
    }

    fn apart(
        self: &Arc<Self>,
        name: String,
        work: impl FnOnce(&Engine) + Send + 'static,
    ) -> Result<Settled, BrokerError> {
        let (done, settled) = channel();
        let engine = Arc::clone(self);
        let thread =
            std::thread::Builder::new().name("broker-change".to_owned()).spawn(move || {
                work(&engine);
                drop(engine);
                drop(done);
            });
        let thread = thread.map_err(|source| BrokerError::Thread { name, source })?;
        let mut settling = self.settling();
        settling.retain(|thread| !thread.is_finished());
        settling.push(thread);
        Ok(Settled(settled))
    }

    /// One turn of a transform.
    fn renew(&self, number: u64) {
        let turn = self.transforms().get(&number).map(|it| Arc::clone(&it.turn));
        let Some(turn) = turn else { return };
        // Nothing is left half done by a panic: the next turn starts with an end.
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.transforms().get_mut(&number).and_then(|it| it.running.take());
        if let Some(handle) = running {
            handle.stop();
            handle.join();
        }
        let wanted = {
            let transforms = self.transforms();
            let wanted = transforms.get(&number).filter(|it| !it.deployment.paused);
            wanted.and_then(|it| {
                Some((it.deployment.clone(), it.kept, Arc::clone(it.code.as_ref()?)))
            })
        };
        let Some((deployment, kept, code)) = wanted else { return };
        let started = self.run(&deployment, kept, code);
        let changes = self.changes();
        let mut transforms = self.transforms();
        match (started, transforms.get_mut(&number).filter(|_| !changes.has_ended())) {
            (Ok(handle), Some(transform)) => transform.running = Some(handle),
            (Err(error), Some(transform)) => {
                tracing::error!(
                    transform = deployment.name, %error,
                    "the transform is deployed and could not be started: deploy it again"
                );
                transform.problem = error.to_string();
            }
            // Removed, or everything ends, while it was being started.
            (Ok(handle), None) => {
                drop((transforms, changes));
                handle.stop();
                handle.join();
            }
            (Err(_), None) => {}
        }
    }

    fn see_off(&self, gone: Transform, forget: bool) -> Result<(), BrokerError> {
        let id = gone.deployment.id;
        // Whoever was about to start it finds it gone, and ends what was started before it gives the turn away.
        let _turn = gone.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = gone.running {
            handle.stop();
            handle.join();
        }
        let dir = self.store.transforms_dir();
        let seen_off = match forget {
            true => progress::forget(&dir, id),
            false => progress::retire(&dir, |other, _| other == id),
        };
        self.leaving().remove(&id);
        seen_off
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
