//! What an HTTP answer comes to, as the history region needs it: without its body, which stays with the
//! driver until it is published. Pure.

use tickpanda_model::control::History;

use crate::pages::{self, Rows};
use crate::rest::{self, Reaction};
use crate::spool::is_too_large;

/// An answer, or that there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What to do about it.
    pub reaction: Reaction,
    /// The rows of candles.
    pub rows: Option<Rows>,
    /// Bytes of the body.
    pub size: usize,
    /// Whether it is larger than the raw topic takes.
    pub too_large: bool,
    /// Whether the body is JSON: what is none is no answer of the vendor's, and never published.
    pub json: bool,
    /// When it was received, ms since the epoch.
    pub received_at: i64,
}

impl Answer {
    /// What came back for `request`.
    pub fn new(
        request: &History,
        status: u16,
        retry_after: Option<u64>,
        body: &[u8],
        received_at: i64,
    ) -> Self {
        let reaction = rest::react(status, retry_after, body);
        let (key, headers) = (rest::key(request), rest::headers(request));
        Answer {
            rows: if reaction == Reaction::Publish { pages::rows(body) } else { None },
            reaction,
            size: body.len(),
            too_large: is_too_large(key.as_bytes(), body, Some(&headers)),
            json: serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok(),
            received_at,
        }
    }

    /// No answer, and why, in words.
    pub fn none(problem: String, received_at: i64) -> Self {
        Answer {
            reaction: Reaction::Retry(problem),
            rows: None,
            size: 0,
            too_large: false,
            json: false,
            received_at,
        }
    }
}
