//! How far transforms are, as it is kept: what is left of removed ones too, until it is collected.

use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::Admin;
use super::answer::{Done, Json, Refused};
use crate::blocking;

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    show_unknown: Option<String>,
}

/// One output of one partition of one transform.
#[derive(Debug, Serialize)]
pub(super) struct Committed {
    /// Empty where the transform is no more.
    transform_name: String,
    partition: i32,
    offset: i64,
}

/// `GET /v1/transform/debug/committed_offsets`
pub(super) async fn list(
    State(admin): State<Admin>,
    Query(asked): Query<Asked>,
) -> Result<Json<Vec<Committed>>, Refused> {
    // Redpanda takes anything but these for a yes.
    let no = |text: &String| ["", "0", "false", "False"].contains(&text.as_str());
    let unknown_too = asked.show_unknown.is_some_and(|text| !no(&text));
    let engine = admin.engine();
    let all = blocking(move || engine.committed()).await?;
    let wanted = all.into_iter().filter(|it| unknown_too || it.transform.is_some());
    let committed = wanted.map(|it| Committed {
        transform_name: it.transform.unwrap_or_default(),
        partition: it.partition,
        offset: it.offset,
    });
    Ok(Json(committed.collect()))
}

/// `POST /v1/transform/debug/committed_offsets/garbage_collect`
pub(super) async fn collect(State(admin): State<Admin>) -> Result<Done, Refused> {
    let engine = admin.engine();
    blocking(move || engine.collect_garbage()).await?;
    Ok(Done)
}
