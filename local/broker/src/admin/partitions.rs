//! Who leads which partition: this broker, always.

use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::Admin;
use super::answer::{Json, Refused};
use crate::NODE;

/// Where clients' topics are.
const KAFKA: &str = "kafka";
/// What rpk asks for to find the broker that takes deploys.
const CONTROLLER: (&str, &str) = ("redpanda", "controller");

/// `GET /v1/partitions/{namespace}/{topic}/{partition}`
pub(super) async fn one(
    State(admin): State<Admin>,
    Path((namespace, topic, partition)): Path<(String, String, String)>,
) -> Result<Json<Value>, Refused> {
    let Ok(index) = partition.parse::<usize>() else {
        return Err(Refused::bad(format!("Partition id must be an integer: {partition}")));
    };
    if index < count(&admin, &namespace, &topic)? {
        return Ok(Json(detail(&namespace, &topic, index)));
    }
    Err(Refused::absent(format!("{namespace}/{topic}/{index}")))
}

/// `GET /v1/partitions/{namespace}/{topic}`
pub(super) async fn of_topic(
    State(admin): State<Admin>,
    Path((namespace, topic)): Path<(String, String)>,
) -> Result<Json<Vec<Value>>, Refused> {
    let count = count(&admin, &namespace, &topic)?;
    Ok(Json((0..count).map(|index| detail(&namespace, &topic, index)).collect()))
}

/// `GET /v1/cluster/partitions`
pub(super) async fn all(State(admin): State<Admin>) -> Json<Vec<Value>> {
    let topics = admin.about.store.topics();
    let all = topics.iter().flat_map(|topic| summary(&topic.name, topic.partitions.len()));
    Json(all.collect())
}

/// `GET /v1/cluster/partitions/{namespace}/{topic}`
pub(super) async fn all_of_topic(
    State(admin): State<Admin>,
    Path((namespace, topic)): Path<(String, String)>,
) -> Result<Json<Vec<Value>>, Refused> {
    let count = count(&admin, &namespace, &topic)?;
    Ok(Json(summary(&topic, count)))
}

/// How many partitions a topic has.
fn count(admin: &Admin, namespace: &str, topic: &str) -> Result<usize, Refused> {
    if (namespace, topic) == CONTROLLER {
        return Ok(1);
    }
    let found = admin.about.store.topic(topic).filter(|_| namespace == KAFKA);
    let found = found.map(|topic| topic.partitions.len());
    found.ok_or_else(|| Refused::absent(format!("{namespace}/{topic}")))
}

fn detail(namespace: &str, topic: &str, index: usize) -> Value {
    json!({
        "ns": namespace,
        "topic": topic,
        "partition_id": index,
        "status": "done",
        "leader_id": NODE,
        // Nothing is replicated: there are no groups to tell apart.
        "raft_group_id": 0,
        "replicas": [{ "node_id": NODE, "core": 0 }],
        "disabled": false,
    })
}

fn summary(topic: &str, count: usize) -> Vec<Value> {
    let one = |index: usize| {
        json!({
            "ns": KAFKA,
            "topic": topic,
            "partition_id": index,
            "leader_id": NODE,
            "replicas": [{ "node_id": NODE, "core": 0 }],
            "disabled": false,
        })
    };
    (0..count).map(one).collect()
}
