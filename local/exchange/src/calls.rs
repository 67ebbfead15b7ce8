//! A REST call over HTTP: who may make it, what is wrong with it, and how its answer gets out.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;

use crate::auth::has_key;
use crate::faults::{self, Answer, Fault, Moment, RestFault};
use crate::rest;
use crate::shared::Shared;
use crate::stats::{Call, KeyShown, add, public_path};
use crate::wire::Line;

pub(crate) async fn v1(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    call(shared, line, headers, uri, rest::Version::V1).await
}

pub(crate) async fn v2(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    uri: Uri,
) -> Response {
    call(shared, line, headers, uri, rest::Version::V2).await
}

async fn call(
    shared: Arc<Shared>,
    line: Line,
    headers: HeaderMap,
    uri: Uri,
    version: rest::Version,
) -> Response {
    add(&shared.counters.rest_calls, 1);
    let path = public_path(&uri);
    let struck = shared.desk.strike_by(Moment::Call { path: &path });
    let parameters = parameters(&uri);
    let now = shared.config.clock.seconds();
    let refused = refusal(&shared, &headers, &parameters, now);
    let mut twists = Vec::new();
    let truth = || {
        if let Some(refused) = refused {
            return refused;
        }
        twists = shared.desk.strike_all(Moment::Rows { path: &path });
        let rows: Vec<RestFault> = twists.iter().filter_map(rest_fault).collect();
        let name = uri.path().rsplit('/').next().unwrap_or_default();
        rest::answer(&shared.market, version, name, &parameters, now, &rows)
    };
    let (waits_for, answer) = match struck.as_ref().map(|(id, fault)| (*id, rest_fault(fault))) {
        Some((id, Some(fault))) => {
            let name = |name: &str| parameters.get(name).map_or("", String::as_str);
            (Some(id), faults::answer(&fault, (name("fsym"), name("tsym")), truth))
        }
        _ => (None, Answer::usual(truth())),
    };
    let fault = struck.map(|(_, fault)| fault).or(twists.into_iter().next());
    shared.ledger.call(Call {
        at_ms: shared.now_ms(),
        path,
        key: KeyShown::by(&headers, &uri),
        status: status(&answer),
        fault: fault.as_ref().map(Fault::name),
    });
    respond(&shared, line, answer, waits_for).await
}

/// The body for who has no key or makes too many calls.
fn refusal(
    shared: &Shared,
    headers: &HeaderMap,
    parameters: &HashMap<String, String>,
    now: u64,
) -> Option<Vec<u8>> {
    if !has_key(headers, parameters, &shared.config.api_key) {
        return Some(rest::no_key());
    }
    let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
    (!calls.call(now)).then(|| rest::over_limit(&calls))
}

/// The query's parameters; of a repeated one the last, of an unreadable query none.
pub(crate) fn parameters(uri: &Uri) -> HashMap<String, String> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).unwrap_or_default()
}

fn rest_fault(fault: &Fault) -> Option<RestFault> {
    match fault {
        Fault::Rest(fault) => Some(fault.clone()),
        _ => None,
    }
}

/// The status that a client sees; 0 where it sees none.
fn status(answer: &Answer) -> u16 {
    match answer {
        Answer::Whole { status, .. } => *status,
        Answer::Half(_) | Answer::Slow { .. } => 200,
        Answer::Never | Answer::Dropped => 0,
    }
}

/// Sends an answer; one that never comes waits for the end of order `waits_for`.
async fn respond(
    shared: &Arc<Shared>,
    line: Line,
    answer: Answer,
    waits_for: Option<u64>,
) -> Response {
    match answer {
        Answer::Whole { status, content_type, body } => page(status, content_type, body),
        Answer::Half(mut body) => {
            let length = body.len();
            body.truncate(length / 2);
            promised(length, half(body))
        }
        Answer::Slow { body, bytes, every } => {
            let length = body.len();
            promised(length, slow(Arc::clone(shared), body, bytes, Duration::from_millis(every)))
        }
        Answer::Never => {
            if let Some(id) = waits_for {
                shared.stop.run_until_cancelled(shared.desk.over(id)).await;
            }
            dropped(&line)
        }
        Answer::Dropped => dropped(&line),
    }
}

/// A response of any status.
pub(crate) fn page(status: u16, content_type: &'static str, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(CONTENT_TYPE, content_type)], body).into_response()
}

/// No response: the server finds the connection gone.
pub(crate) fn dropped(line: &Line) -> Response {
    line.drop_it();
    StatusCode::SERVICE_UNAVAILABLE.into_response()
}

/// A body that says how long it is going to be.
fn promised(length: usize, body: Body) -> Response {
    ([(CONTENT_TYPE, rest::JSON.to_owned()), (CONTENT_LENGTH, length.to_string())], body)
        .into_response()
}

/// `body`, and then an error, at which the server closes the connection.
fn half(body: Vec<u8>) -> Body {
    Body::from_stream(stream::unfold(Some(body), async |body| match body {
        Some(body) => Some((Ok(Bytes::from(body)), None)),
        None => {
            // The server sends what it has when nothing more is there.
            tokio::task::yield_now().await;
            Some((Err(io::Error::from(io::ErrorKind::BrokenPipe)), None))
        }
    }))
}

/// `body`, piece by piece, at most until the exchange stops.
fn slow(shared: Arc<Shared>, body: Vec<u8>, bytes: usize, every: Duration) -> Body {
    let rest = Bytes::from(body);
    Body::from_stream(stream::unfold((shared, rest, Duration::ZERO), move |state| async move {
        let (shared, mut rest, wait) = state;
        if rest.is_empty() {
            return None;
        }
        shared.stop.run_until_cancelled(tokio::time::sleep(wait)).await?;
        let piece = rest.split_to(bytes.min(rest.len()));
        Some((Ok::<_, Infallible>(piece), (shared, rest, every)))
    }))
}
