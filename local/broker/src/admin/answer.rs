//! Answers: JSON, and errors in the form in which Redpanda's server gives them.

use std::time::Duration;

use axum::body::to_bytes;
use axum::http::header::{CONNECTION, CONTENT_TYPE, HeaderName};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::error::BrokerError;

const JSON: &str = "application/json";

/// One answer a connection, so that a connection's life can be bounded whatever its client does.
fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &str); 2] = [(CONTENT_TYPE, kind), (CONNECTION, "close")];
    (status, headers, body).into_response()
}

/// 200 with a body of this content type.
pub(super) fn found(kind: &'static str, body: String) -> Response {
    answer(StatusCode::OK, kind, body)
}

/// 200 with this as JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_string(&self.0) {
            Ok(json) => found(JSON, json),
            Err(error) => Refused::fault(&error.to_string()).into_response(),
        }
    }
}

/// 200 with nothing to say, which is how Redpanda says that it was done.
pub(super) struct Done;

impl IntoResponse for Done {
    fn into_response(self) -> Response {
        found(JSON, String::new())
    }
}

/// The same in JSON, where axum has refused a request (its path, its query, its body) in plain text.
pub(super) async fn in_json(response: Response) -> Response {
    let status = response.status();
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|it| it == JSON);
    if is_json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let said = to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    let message = String::from_utf8_lossy(&said).into_owned();
    Refused { status, message }.into_response()
}

/// What was not done, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    status: StatusCode,
    message: String,
}

impl Refused {
    /// The request is wrong.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, message: message.into() }
    }

    /// The request is too large to be looked at.
    pub(super) fn large(most: usize) -> Self {
        let message = format!("the request has more than {most} bytes");
        Self { status: StatusCode::PAYLOAD_TOO_LARGE, message }
    }

    /// The request took too long to come.
    pub(super) fn late(within: Duration) -> Self {
        let message = format!("the request did not come within {} s", within.as_secs());
        Self { status: StatusCode::REQUEST_TIMEOUT, message }
    }

    /// There is no such thing.
    pub(super) fn absent(what: impl std::fmt::Display) -> Self {
        Self { status: StatusCode::NOT_FOUND, message: format!("Not found: {what}") }
    }

    /// There is no such call.
    pub(super) fn missing(method: &Method, uri: &Uri) -> Self {
        // The query may hold anything.
        let path = uri.path();
        Self::absent(format!("{method} {path} is not served by tickpanda's local broker"))
    }

    /// The broker itself failed.
    pub(super) fn fault(message: &str) -> Self {
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, message: message.to_owned() }
    }
}

#[cfg(test)]
impl Refused {
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl From<BrokerError> for Refused {
    fn from(error: BrokerError) -> Self {
        match &error {
            BrokerError::InvalidTransform { refusal, .. } => {
                // As in Redpanda, who asked gets the class, and the log the particulars.
                tracing::info!(%error, "refused");
                let status = StatusCode::from_u16(refusal.status());
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                Self { status, message: refusal.answer() }
            }
            BrokerError::UnknownTransform(_) => Self::bad("Transform does not exist"),
            _ => {
                tracing::error!(%error, "the Admin API failed");
                Self::fault(&format!("Unexpected error: {error}"))
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let code = self.status.as_u16();
        // Spaces and all: rpk shows it as it is.
        let message = serde_json::Value::from(self.message);
        let body = format!(r#"{{"message": {message}, "code": {code}}}"#);
        answer(self.status, JSON, body)
    }
}
