//! The running pumps: one for each partition that this sink holds, started and stopped as claims come
//! and go.

use std::collections::{BTreeMap, BTreeSet};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::SinkError;
use crate::offsets::Place;

/// The pumps, each with what stops it.
pub(crate) struct Pumps {
    tasks: JoinSet<(Place, Result<(), SinkError>)>,
    running: BTreeMap<Place, CancellationToken>,
    stop: CancellationToken,
}

impl Pumps {
    /// None yet; `stop` will stop all of them.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Pumps { tasks: JoinSet::new(), running: BTreeMap::new(), stop }
    }

    /// Starts a pump for each of `wanted` that has none, and stops the others. A partition whose pump is
    /// still stopping gets its new one at a later call.
    pub(crate) fn settle<F>(
        &mut self,
        wanted: &BTreeSet<Place>,
        start: impl Fn(&Place, CancellationToken) -> Option<F>,
    ) where
        F: Future<Output = Result<(), SinkError>> + Send + 'static,
    {
        for (place, stop) in &self.running {
            if !wanted.contains(place) {
                stop.cancel();
            }
        }
        for place in wanted {
            if self.running.contains_key(place) {
                continue;
            }
            let stop = self.stop.child_token();
            if let Some(pump) = start(place, stop.clone()) {
                self.running.insert(place.clone(), stop);
                let place = place.clone();
                self.tasks.spawn(async move { (place, pump.await) });
            }
        }
    }

    /// Whether a partition has a pump, though it may be stopping.
    pub(crate) fn has(&self, place: &Place) -> bool {
        self.running.contains_key(place)
    }

    /// The next pump that ends; never, while there is none.
    ///
    /// # Errors
    /// The pump's own, or [`SinkError::Panic`].
    pub(crate) async fn ended(&mut self) -> Result<Place, SinkError> {
        loop {
            match self.tasks.join_next().await {
                None => std::future::pending::<()>().await,
                Some(Ok((place, ended))) => {
                    self.running.remove(&place);
                    return ended.map(|()| place);
                }
                Some(Err(error)) if error.is_cancelled() => {}
                Some(Err(error)) => return Err(SinkError::Panic(error.to_string())),
            }
        }
    }

    /// Waits until all have ended, having been told to.
    ///
    /// # Errors
    /// The first that any of them ends with.
    pub(crate) async fn drain(&mut self) -> Result<(), SinkError> {
        while !self.running.is_empty() {
            self.ended().await?;
        }
        Ok(())
    }

    /// Ends what has not ended: an open transaction is rolled back.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
    }
}
