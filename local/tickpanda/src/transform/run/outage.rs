//! One log line when the cluster goes away and one when it is back, however many lanes notice how often.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::{debug, info, warn};

/// Whether the cluster is away.
#[derive(Debug)]
pub(super) struct Outage {
    brokers: String,
    since: Mutex<Option<Instant>>,
}

impl Outage {
    pub(super) fn new(brokers: String) -> Self {
        Self { brokers, since: Mutex::new(None) }
    }

    /// A call failed that may succeed later.
    pub(super) fn failed(&self, error: &dyn Display) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.is_some() {
            debug!("{}: {error}", self.brokers);
        } else {
            *since = Some(Instant::now());
            warn!("{} does not serve, trying again until it does: {error}", self.brokers);
        }
    }

    /// A call succeeded.
    pub(super) fn served(&self) {
        let ended = self.since.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(since) = ended {
            info!("{} serves again after {:.1} s", self.brokers, since.elapsed().as_secs_f64());
        }
    }
}
