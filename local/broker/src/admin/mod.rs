//! Redpanda's Admin API, as far as `rpk transform` and `rpk cluster` ask for it.
//!
//! ```text
//! socket ─▶ listener (bounded) ─▶ route ─▶ JSON checked ─▶ engine, storage ─▶ JSON ─▶ socket
//! ```
//!
//! Deploying, listing, changing and removing transforms is answered as Redpanda v24.3 answers it: rules, order of
//! the rules, sentences. What it tells of the cluster is true of this one broker. What it does not have is a 404 with a JSON
//! body that says so; nothing is answered with a success that means nothing.
//!
//! | module | paths |
//! |---|---|
//! | `deploy` | `POST /v1/transform/deploy` |
//! | `transforms` | `GET /v1/transform`, `DELETE /v1/transform/{name}`, `PUT /v1/transform/{name}/meta` |
//! | `offsets` | `/v1/transform/debug/committed_offsets` |
//! | `cluster` | `/v1/brokers`, `/v1/cluster/health_overview`, `/v1/cluster/uuid`, `/v1/status/ready`, `/v1/features` |
//! | `partitions` | `/v1/partitions/{namespace}/{topic}`, `/v1/cluster/partitions` |
//! | `config` | `/v1/cluster_config`, `/v1/node_config` |
//! | `metrics` | `/public_metrics` |
//! | `answer`, `body`, `listener` | what all share: answers, request bodies, connections |
//!
//! **Must never** be reached over a network that is not trusted: it has no authentication.

mod answer;
mod body;
mod cluster;
mod config;
mod deploy;
mod listener;
mod metrics;
mod offsets;
mod partitions;
mod transforms;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::map_response;
use axum::routing::{delete, get, post, put};
use tickpanda_host::Limits;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, TransformTiming};
use crate::storage::Store;
use answer::Refused;

/// Deploys that are read at once: each may hold a module of some megabytes.
const DEPLOYS: usize = 2;

/// So long an answer waits for a guest that works on its batch; rpk's client gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(3);

/// What answers are made from.
#[derive(Debug)]
pub(crate) struct About {
    pub(crate) store: Arc<Store>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) data_dir: PathBuf,
    pub(crate) kafka: SocketAddr,
    pub(crate) advertised: (String, u16),
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) limits: Limits,
    pub(crate) timing: TransformTiming,
}

/// What all handlers share.
#[derive(Debug, Clone)]
struct Admin {
    about: Arc<About>,
    deploys: Arc<Semaphore>,
}

impl Admin {
    fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.about.engine)
    }
}

/// Answers until `stop`, and ends with its last connection.
pub(crate) async fn serve(listener: TcpListener, about: About, stop: CancellationToken) {
    let admin = Admin { about: Arc::new(about), deploys: Arc::new(Semaphore::new(DEPLOYS)) };
    let bounded = listener::Bounded::new(listener, stop.clone());
    let serving =
        axum::serve(bounded, routes(admin)).with_graceful_shutdown(stop.cancelled_owned());
    if let Err(error) = serving.await {
        tracing::error!(%error, "the Admin API is no longer served");
    }
}

fn routes(admin: Admin) -> Router {
    let missing = async |request: Request| Refused::missing(request.method(), request.uri());
    Router::new()
        // The client of rpk asks with the slash.
        .route("/v1/transform", get(transforms::list))
        .route("/v1/transform/", get(transforms::list))
        .route("/v1/transform/deploy", post(deploy::deploy).delete(transforms::delete_deploy))
        .route("/v1/transform/{name}", delete(transforms::delete))
        .route("/v1/transform/{name}/meta", put(transforms::change))
        .route("/v1/transform/debug/committed_offsets", get(offsets::list))
        .route("/v1/transform/debug/committed_offsets/garbage_collect", post(offsets::collect))
        .route("/v1/status/ready", get(cluster::ready))
        .route("/v1/brokers", get(cluster::brokers))
        .route("/v1/brokers/{id}", get(cluster::broker))
        .route("/v1/cluster/health_overview", get(cluster::health))
        .route("/v1/cluster/uuid", get(cluster::uuid))
        .route("/v1/features", get(cluster::features))
        .route("/v1/features/license", get(cluster::license))
        .route("/v1/features/enterprise", get(cluster::enterprise))
        .route("/v1/partitions/{namespace}/{topic}", get(partitions::of_topic))
        .route("/v1/partitions/{namespace}/{topic}/{partition}", get(partitions::one))
        .route("/v1/cluster/partitions", get(partitions::all))
        .route("/v1/cluster/partitions/{namespace}/{topic}", get(partitions::all_of_topic))
        .route("/v1/cluster_config", get(config::cluster).put(config::set))
        .route("/v1/cluster_config/schema", get(config::schema))
        .route("/v1/cluster_config/status", get(config::status))
        .route("/v1/node_config", get(config::node))
        .route("/public_metrics", get(metrics::page))
        .fallback(missing)
        .method_not_allowed_fallback(missing)
        .layer(map_response(answer::in_json))
        .with_state(admin)
}
