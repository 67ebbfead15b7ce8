//! Listing, removing, pausing and changing transforms.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::Serialize;

use super::answer::{Done, Json, Refused};
use super::body;
use super::{Admin, PATIENCE};
use crate::engine::{Change, Engine, PartitionStatus, TransformState, TransformStatus};
use crate::error::BrokerError;
use crate::{NODE, blocking};

/// A transform as Redpanda lists it.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    name: String,
    input_topic: String,
    output_topics: Vec<String>,
    status: Vec<Status>,
    environment: Vec<Variable>,
    compression: &'static str,
}

/// One of its input partitions.
#[derive(Debug, Serialize)]
struct Status {
    node_id: i32,
    partition: i32,
    status: &'static str,
    lag: i64,
}

#[derive(Debug, Serialize)]
struct Variable {
    key: String,
    value: String,
}

impl From<TransformStatus> for Listed {
    fn from(it: TransformStatus) -> Self {
        let variable = |(key, value)| Variable { key, value };
        Self {
            status: it.partitions.iter().map(Status::from).collect(),
            environment: it.env.into_iter().map(variable).collect(),
            name: it.name,
            input_topic: it.input_topic,
            output_topics: it.output_topics,
            compression: it.compression.name(),
        }
    }
}

impl From<&PartitionStatus> for Status {
    fn from(it: &PartitionStatus) -> Self {
        let status = match it.state {
            TransformState::Inactive => "inactive",
            TransformState::Running => "running",
            TransformState::Errored(_) => "errored",
            TransformState::Unknown(_) => "unknown",
        };
        // Only a processor that runs reports one: Redpanda's sets its lag to 0 when it stops.
        let lag = if it.state == TransformState::Running { it.lag } else { 0 };
        Self { node_id: NODE, partition: it.partition, status, lag }
    }
}

/// `GET /v1/transform`
pub(super) async fn list(State(admin): State<Admin>) -> Json<Vec<Listed>> {
    Json(admin.about.engine.status().into_iter().map(Listed::from).collect())
}

/// `DELETE /v1/transform/{name}`: also where there is none, so that it can be said twice.
pub(super) async fn delete(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Done, Refused> {
    let engine = admin.engine();
    blocking(move || remove(&engine, &name)).await?;
    Ok(Done)
}

/// The same for a transform of the one name that is another call's path.
pub(super) async fn delete_deploy(state: State<Admin>) -> Result<Done, Refused> {
    delete(state, Path("deploy".to_owned())).await
}

fn remove(engine: &Arc<Engine>, name: &str) -> Result<(), BrokerError> {
    match engine.remove(name, false) {
        Err(BrokerError::UnknownTransform(_)) => Ok(()),
        removed => removed.map(|it| it.wait_for(PATIENCE)),
    }
}

/// `PUT /v1/transform/{name}/meta`
pub(super) async fn change(
    State(admin): State<Admin>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Done, Refused> {
    let change = Change::from(body::whole::<body::Patch>(&body)?);
    if !change.is_empty() {
        let engine = admin.engine();
        blocking(move || {
            engine.change(&name, change)?.wait_for(PATIENCE);
            Ok(())
        })
        .await?;
    }
    Ok(Done)
}
