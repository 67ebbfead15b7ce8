//! `/control/…`: orders for faults and a look at what happened, over HTTP, where the exchange was started with it. It is never
//! part of the vendor's API and takes no key: who reaches the port may use it.
//!
//! | call | |
//! |---|---|
//! | `POST /control/faults` | an [`Order`] as JSON; answers `{"id": 1}` |
//! | `GET /control/faults` | the orders that stand |
//! | `DELETE /control/faults`, `/control/faults/{id}` | takes all back, or one; answers `{"cleared": n}` |
//! | `POST /control/kick` | closes every socket, as in the weekly kick; answers `{"kicked": n}` |
//! | `GET /control/stats` | the [`Report`](crate::Report) |
//!
//! What can't be done is answered with 400 or 404 and `{"error": "…"}`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde_json::json;

use crate::faults::Order;
use crate::shared::Shared;

/// The routes.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/control/faults", post(give).get(list).delete(clear_all))
        .route("/control/faults/{id}", delete(clear))
        .route("/control/kick", post(kick))
        .route("/control/stats", get(stats))
}

async fn give(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let order = match serde_json::from_slice::<Order>(&body) {
        Ok(order) => order,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("no order: {error}")),
    };
    match shared.desk.give(order) {
        Ok(id) => Json(json!({"id": id})).into_response(),
        Err(error) => refuse(StatusCode::BAD_REQUEST, error.to_string()),
    }
}

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.desk.standing()).into_response()
}

async fn clear_all(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({"cleared": shared.desk.clear_all()})).into_response()
}

async fn clear(State(shared): State<Arc<Shared>>, Path(id): Path<u64>) -> Response {
    if shared.desk.clear(id) {
        Json(json!({"cleared": 1})).into_response()
    } else {
        refuse(StatusCode::NOT_FOUND, format!("no fault {id} stands"))
    }
}

async fn kick(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({"kicked": shared.kick()})).into_response()
}

async fn stats(State(shared): State<Arc<Shared>>) -> Response {
    Json(shared.report()).into_response()
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}
