//! `GET /live`, `/ready` and `/metrics` over HTTP, where a user asked for it.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200, or 503 where the sink's main task hangs: start it again |
//! | `/ready` | 200 where database and broker serve and no partition is behind by more than `--ready-lag`, else 503; as JSON `{"ready":false,"reasons":["…"]}` |
//! | `/metrics` | Prometheus' text format |
//!
//! How it listens and for how long is [`tickpanda_program::http`].
//!
//! **Must never** cost the data path more than a few locks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use tickpanda_program::http::{Listen, Server, found, live, ready};
use tokio_util::sync::CancellationToken;

use crate::error::SinkError;
use crate::health::Health;

/// The address's variable, for errors.
const LISTEN: &str = "SINK_HTTP_LISTEN";

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operations")]
#[allow(missing_docs)]
pub struct HttpSettings {
    /// Serve /live, /ready and /metrics on this address, `127.0.0.1:9190`. Off where it is not set;
    /// each sink of a machine needs a port of its own, and port 0 takes a free one (see the log).
    #[arg(long, env = "SINK_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    pub http_listen: Option<Listen>,
    /// How far behind in seconds a partition may be for /ready to say yes.
    #[arg(long, env = "SINK_READY_LAG", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub ready_lag: u64,
}

impl HttpSettings {
    /// Where to listen, if anywhere.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.http_listen.and_then(Listen::address)
    }

    /// See [`HttpSettings::ready_lag`].
    pub(crate) fn ready_lag(&self) -> Duration {
        Duration::from_secs(self.ready_lag)
    }
}

/// Takes the port.
///
/// # Errors
/// [`SinkError::Setting`] where it can't be had.
pub(crate) async fn bind(address: SocketAddr) -> Result<Server, SinkError> {
    let bound = Server::bind(address, LISTEN).await;
    bound.map_err(|bad| SinkError::Setting { name: bad.name, problem: bad.problem })
}

/// Answers until `stop`.
pub(crate) async fn run(server: Server, health: Arc<Health>, stop: CancellationToken) {
    let routes = Router::new()
        .route("/live", get(async |health: State<Arc<Health>>| live(health.live())))
        .route("/ready", get(async |health: State<Arc<Health>>| ready(&health.ready().await)))
        .route("/metrics", get(metrics))
        .with_state(health);
    server.run(routes, "/live, /ready and /metrics", stop).await;
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    found(prometheus_text::CONTENT_TYPE, health.metrics())
}

#[cfg(test)]
mod tests;
