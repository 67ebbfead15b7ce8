//! What runs beside the pumps, as tasks of their own: HTTP and the Redis cache.
//!
//! HTTP ends when the sink is told to stop. The cache ends after the pumps, whose last ticks it still
//! gets. Neither ends by itself: if one does, that is a bug, and the sink ends with it instead of
//! going on without.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::error::SinkError;
use crate::health::Health;
use crate::http;
use crate::latest::LatestTask;

/// The tasks, which end with this value.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    tasks: JoinSet<()>,
    pumps_ended: CancellationToken,
}

impl Beside {
    /// Starts what is set.
    ///
    /// # Errors
    /// [`SinkError::Setting`] where the port can't be had.
    pub(crate) async fn start(
        listen: Option<SocketAddr>,
        health: &Arc<Health>,
        cache: Option<LatestTask>,
        stop: &CancellationToken,
    ) -> Result<Self, SinkError> {
        let mut beside = Beside::default();
        if let Some(address) = listen {
            let server = http::bind(address).await?;
            beside.tasks.spawn(http::run(server, Arc::clone(health), stop.clone()));
        }
        if let Some(cache) = cache {
            beside.tasks.spawn(cache.run(beside.pumps_ended.clone()));
        }
        Ok(beside)
    }

    /// Waits, normally for ever, for a task that ends before its time.
    ///
    /// # Errors
    /// [`SinkError::Panic`], when one did.
    pub(crate) async fn failed(&mut self) -> Result<(), SinkError> {
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| SinkError::Panic(error.to_string()))?;
        }
        std::future::pending().await
    }

    /// The pumps have ended: lets the cache write what still waits, and waits for that.
    pub(crate) async fn end(&mut self) {
        self.pumps_ended.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
