//! What there is to tell of a cluster of one broker.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Json, Refused};
use crate::NODE;

/// The logical version of Redpanda v24.3, whose transforms these are.
const CLUSTER_VERSION: i32 = 14;
/// What of Redpanda's features is here.
const FEATURES: [&str; 2] = ["wasm_transforms", "transforms_specify_offset"];

/// `GET /v1/status/ready`: who is asked is ready.
pub(super) async fn ready() -> Json<Value> {
    Json(json!({ "status": "ready" }))
}

/// `GET /v1/brokers`
pub(super) async fn brokers(State(admin): State<Admin>) -> Json<Value> {
    Json(json!([this(&admin)]))
}

/// `GET /v1/brokers/{id}`
pub(super) async fn broker(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Refused> {
    match id.parse::<i32>() {
        Ok(NODE) => Ok(Json(this(&admin))),
        Ok(_) => Err(Refused::absent(format!("broker with id {id} not found"))),
        Err(_) => Err(Refused::bad(format!("Broker id is not an integer: {id}"))),
    }
}

fn this(admin: &Admin) -> Value {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (host, port) = &admin.about.advertised;
    json!({
        "node_id": NODE,
        "num_cores": cores,
        // There is no other broker to talk to: this is where clients do.
        "internal_rpc_address": host,
        "internal_rpc_port": port,
        "membership_status": "active",
        "is_alive": true,
        "version": concat!("tickpanda local broker ", env!("CARGO_PKG_VERSION")),
        "maintenance_status": { "draining": false },
    })
}

/// `GET /v1/cluster/health_overview`
pub(super) async fn health() -> Json<Value> {
    Json(json!({
        "is_healthy": true,
        "unhealthy_reasons": [],
        "controller_id": NODE,
        "all_nodes": [NODE],
        "nodes_down": [],
        "nodes_in_recovery_mode": [],
        "leaderless_partitions": [],
        "leaderless_count": 0,
        "under_replicated_partitions": [],
        "under_replicated_count": 0,
    }))
}

/// `GET /v1/cluster/uuid`
pub(super) async fn uuid(State(admin): State<Admin>) -> Json<Value> {
    let id = admin.about.store.cluster_id();
    let uuid = id.parse::<uuid::Uuid>().map_or(id, |id| id.to_string());
    Json(json!({ "cluster_uuid": uuid }))
}

/// `GET /v1/features`
pub(super) async fn features() -> Json<Value> {
    let active = |name| json!({ "name": name, "state": "active", "was_active": true });
    Json(json!({
        "cluster_version": CLUSTER_VERSION,
        "original_cluster_version": CLUSTER_VERSION,
        "node_earliest_version": CLUSTER_VERSION,
        "node_latest_version": CLUSTER_VERSION,
        "features": FEATURES.map(active),
    }))
}

/// `GET /v1/features/license`: there is none, and nothing that needs one.
pub(super) async fn license() -> Json<Value> {
    Json(json!({ "loaded": false }))
}

/// `GET /v1/features/enterprise`
pub(super) async fn enterprise() -> Json<Value> {
    Json(json!({ "license_status": "not_present", "violation": false, "features": [] }))
}
