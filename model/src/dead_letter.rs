//! Why a record became a dead letter. The codes are a contract: alerts and queries name them.

use std::fmt;

/// A stable code for why a record became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A tombstone or an empty value.
    Empty,
    /// The frame was too large for the raw topic; its size and hash are in the headers.
    TooLarge,
    /// Not UTF-8, or not one JSON object.
    NotJson,
    /// JSON without a TYPE that is neither `{}` nor a REST body.
    NoType,
    /// A TYPE that nobody knows.
    UnknownType,
    /// A field that a row needs is absent.
    MissingField,
    /// A field has a type or text that it can't have.
    BadField,
    /// A needed number is no finite `f64`, or a time before 2009 or over a day after receipt.
    OutOfRange,
    /// The vendor answered a REST request with an error.
    VendorError,
    /// A REST body of an unknown form, or without the headers that say what it is about.
    BadBody,
    /// Some rows of a REST body were bad; the good ones were emitted.
    BadRows,
    /// Sink: a record on an output topic does not parse.
    Unreadable,
    /// Sink: the database refused the row.
    Refused,
}

impl Reason {
    /// All codes, for documentation and metrics.
    pub const ALL: [Reason; 13] = [
        Reason::Empty,
        Reason::TooLarge,
        Reason::NotJson,
        Reason::NoType,
        Reason::UnknownType,
        Reason::MissingField,
        Reason::BadField,
        Reason::OutOfRange,
        Reason::VendorError,
        Reason::BadBody,
        Reason::BadRows,
        Reason::Unreadable,
        Reason::Refused,
    ];

    /// The code in the header `reason`, in the table and in metrics.
    pub fn code(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::TooLarge => "too_large",
            Reason::NotJson => "not_json",
            Reason::NoType => "no_type",
            Reason::UnknownType => "unknown_type",
            Reason::MissingField => "missing_field",
            Reason::BadField => "bad_field",
            Reason::OutOfRange => "out_of_range",
            Reason::VendorError => "vendor_error",
            Reason::BadBody => "bad_body",
            Reason::BadRows => "bad_rows",
            Reason::Unreadable => "unreadable",
            Reason::Refused => "refused",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// Which part of the pipeline gave up on a record (`dead_letters.stage`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The Wasm transform inside the broker.
    Transform,
    /// The sink.
    Sink,
}

impl Stage {
    /// The text in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Transform => "transform",
            Stage::Sink => "sink",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_that_alerts_and_queries_name_stay_as_they_are() {
        assert_eq!(
            Reason::ALL.map(Reason::code).join(" "),
            "empty too_large not_json no_type unknown_type missing_field bad_field out_of_range \
             vendor_error bad_body bad_rows unreadable refused"
        );
    }
}
