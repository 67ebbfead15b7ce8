//! What became of a raw record, and why one was rejected.

use std::fmt;

use tickpanda_model::dead_letter::Reason;

use crate::json::Fault;

/// What became of one raw record: exactly one of these, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Ticks or candles were emitted, at least one.
    Rows {
        /// How many ticks.
        ticks: u32,
        /// How many candles.
        candles: u32,
        /// Whether there is a dead letter besides, because some rows of a REST body were bad.
        bad_rows: bool,
    },
    /// Neither rows nor a dead letter: the record holds nothing for us.
    Nothing,
    /// One dead letter and no row.
    Rejected(Reason),
}

/// Why something can't be a row; becomes the headers `reason` and `detail` of a dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) reason: Reason,
    pub(crate) detail: String,
}

impl Rejection {
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Rejection { reason, detail: detail.into() }
    }

    #[cold]
    pub(crate) fn missing(name: &str) -> Self {
        Self::new(Reason::MissingField, format!("{name} is missing"))
    }

    #[cold]
    pub(crate) fn bad(name: &str, why: impl fmt::Display) -> Self {
        Self::new(Reason::BadField, format!("{name} {why}"))
    }

    #[cold]
    pub(crate) fn out_of_range(name: &str, why: impl fmt::Display) -> Self {
        Self::new(Reason::OutOfRange, format!("{name} {why}"))
    }
}

/// What is not one JSON object.
impl From<Fault> for Rejection {
    #[cold]
    fn from(fault: Fault) -> Self {
        Rejection::new(Reason::NotJson, format!("byte {}: {}", fault.at, fault.what))
    }
}

/// The beginning of a text from outside, fit for a header that people read: at most `max` bytes,
/// control characters replaced.
pub(crate) fn excerpt(text: &str, max: usize) -> String {
    let head = text.get(..text.floor_char_boundary(max)).unwrap_or_default();
    let mut shown: String = head.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if head.len() < text.len() {
        shown.push('…');
    }
    shown
}
