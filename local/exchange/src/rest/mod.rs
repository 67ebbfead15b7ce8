//! The legacy REST API: `histominute`, `histohour` and `histoday`, v1 and v2 (cryptocompare.md 3). An
//! answer is a plain function of the market, the query and the time; errors come with HTTP 200.

mod body;
mod query;
#[cfg(test)]
mod tests;
mod twist;

use std::collections::HashMap;

use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

pub(crate) use body::Version;
pub(crate) use query::MINUTES_TOO_OLD;

use crate::faults::RestFault;
use crate::market::{Candle, Market, OPENED_S};
use crate::quota::Quota;
use query::{Interval, Request};

/// Why a call gets no data: the vendor's message, its Type and the parameter it blames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    message: String,
    /// 1 key or market, 2 parameter.
    kind: u8,
    parameter: Option<&'static str>,
}

impl Refusal {
    fn parameter(parameter: &'static str, message: impl Into<String>) -> Self {
        Refusal { message: message.into(), kind: 2, parameter: Some(parameter) }
    }
}

/// The body for a call of `name` with `parameters` at `now` (seconds since the epoch), with what is wrong with its
/// rows, usually nothing.
pub(crate) fn answer(
    market: &Market,
    version: Version,
    name: &str,
    parameters: &HashMap<String, String>,
    now: u64,
    twists: &[RestFault],
) -> Vec<u8> {
    let Some(interval) = Interval::of_endpoint(name) else { return unknown_path() };
    let minutes_kept = twist::minutes_kept(twists);
    match query::parse(market, interval, parameters, now, minutes_kept) {
        Ok(request) => {
            let mut rows = rows(&request, now);
            twist::apply(twists, &request, now, &mut rows);
            body::success(version, request.aggregate > 1, &rows)
        }
        Err(refusal) => body::error(&refusal),
    }
}

/// The rows asked for, oldest first; the last one holds the moment asked for, and may be unfinished.
fn rows(request: &Request<'_>, now: u64) -> Vec<Candle> {
    let length = request.interval.length() * request.aggregate;
    let last = if request.aligned {
        request.to / length * length
    } else {
        request.to / request.interval.length() * request.interval.length()
    };
    let count = match request.limit {
        Some(limit) => limit + 1,
        // allData.
        None => last.saturating_sub(OPENED_S) / length + 1,
    };
    (0..count)
        .rev()
        .map(|back| last.saturating_sub(back * length))
        .map(|start| request.instrument.candle(start, length, now as f64))
        .collect()
}

/// Type 1: the key is missing or wrong.
pub(crate) fn no_key() -> Vec<u8> {
    body::error(&Refusal {
        message: "You need a valid auth key or api key to access this endpoint".to_owned(),
        kind: 1,
        parameter: None,
    })
}

/// Type 99: too many calls.
pub(crate) fn over_limit(calls: &Quota) -> Vec<u8> {
    body::over_limit(calls.made(), calls.limits().each(), calls.total())
}

/// Type 99 as if there had been `made` calls in each period.
pub(crate) fn over_limit_of(made: [u32; 5], max: [u32; 5]) -> Vec<u8> {
    body::over_limit(made, max, made[4].into())
}

/// An error body: the vendor's message, its Type and the parameter it blames.
pub(crate) fn refuse(message: String, kind: u8, parameter: Option<&'static str>) -> Vec<u8> {
    body::error(&Refusal { message, kind, parameter })
}

/// There is no such endpoint.
pub(crate) fn unknown_path() -> Vec<u8> {
    body::error(&Refusal { message: "Path does not exist".to_owned(), kind: 1, parameter: None })
}

/// The type of every body of the vendor's.
pub(crate) const JSON: &str = "application/json; charset=UTF-8";

/// A body as a response: HTTP 200, whatever it says.
pub(crate) fn reply(body: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, JSON)], body).into_response()
}
