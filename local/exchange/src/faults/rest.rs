//! What goes wrong with REST calls.

use serde::{Deserialize, Serialize};

/// Rows that can be added to a body: as many again as the largest page has.
const MAX_MORE_ROWS: u64 = 2000;

/// See [`Fault::Rest`](super::Fault::Rest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum RestFault {
    // Instead of the answer.
    /// The call is never answered; the connection closes when the fault ends.
    NoAnswer,
    /// The connection is closed without an answer.
    DropAtOnce,
    /// `content-length` promises the whole body, half of it comes, and the connection is closed.
    HalfBody,
    /// The true body, `bytes` at a time, `every` so many milliseconds.
    SlowBody {
        /// At least 1.
        bytes: usize,
        /// Milliseconds.
        every: u64,
    },
    /// HTTP 200 without a body.
    EmptyBody,
    /// HTTP 200 with a page of HTML.
    NotJson,
    /// HTTP 200 with the first half of the true body, and a `content-length` that fits it.
    TruncatedJson,
    /// This HTTP status with a page of HTML, as of a proxy (500, 502, 503, 504, 429).
    Status {
        /// 200 to 999.
        status: u16,
    },
    /// One of the vendor's own errors.
    Error(RestError),
    /// Type 99, with a `RateLimit` object in which the calls of this period are over their limit.
    RateLimit {
        /// 200, as the vendor is known for, or 429.
        #[serde(default = "ok")]
        status: u16,
        /// `minute`, where nothing else is said.
        #[serde(default)]
        period: Period,
    },

    // In the rows of an answer that has some.
    /// No row at all.
    NoRows,
    /// Every row is all zero, as in an outage.
    ZeroRows,
    /// After the last row asked for comes the next one, which the page before this one began with.
    BoundaryRow,
    /// The first row comes twice.
    RepeatedRow,
    /// So many older rows more than asked for.
    MoreRows {
        /// 1 to 2,000.
        rows: u64,
    },
    /// Rows that begin before this moment are all zero, as before a listing.
    HistoryBegins {
        /// Seconds since the epoch.
        at: u64,
    },
    /// Minutes are refused (`ParamWithError: "toTs"`) where `toTs` is older than this; the vendor keeps 604,800.
    MinutesKept {
        /// Seconds.
        seconds: u64,
    },
}

/// The vendor's errors (cryptocompare.md 3.6), HTTP 200 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RestError {
    /// Type 2, `There is no data for the symbol …`, `fsym`.
    NoData,
    /// Type 2, `There is no data for the toSymbol …`, `tsym`.
    NoDataTo,
    /// Type 2, `There is no data for any of the toSymbols …`, with a warning, `tsyms`.
    NoDataToAny,
    /// Type 2, `fsym param seems to be missing.`
    MissingParameter,
    /// Type 2, `e param is not valid the market does not exist for this coin pair`, `e`.
    NoExchange,
    /// Type 1, `cccagg_or_exchange market does not exist for this coin pair (…)`.
    NoMarket,
    /// Type 1, `You need a valid auth key or api key to access this endpoint`.
    KeyNeeded,
    /// Type 1, `Path does not exist`.
    NoPath,
    /// Type 2, minutes older than seven days, `toTs`.
    MinutesTooOld,
    /// HTTP 401 with the envelope of 2026: `Err`, no `Response`.
    #[serde(rename = "unauthorized_2026")]
    Unauthorized2026,
    /// HTTP 550 with the usual envelope and Type 1. Only the status is known of the vendor's.
    #[serde(rename = "http_550")]
    Http550,
}

/// A period of the rate limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// One second.
    Second,
    /// One minute.
    #[default]
    Minute,
    /// One hour.
    Hour,
    /// One day.
    Day,
    /// 30 days.
    Month,
}

fn ok() -> u16 {
    200
}

impl RestError {
    /// All of them, for tests that go through each.
    pub const ALL: [RestError; 11] = [
        RestError::NoData,
        RestError::NoDataTo,
        RestError::NoDataToAny,
        RestError::MissingParameter,
        RestError::NoExchange,
        RestError::NoMarket,
        RestError::KeyNeeded,
        RestError::NoPath,
        RestError::MinutesTooOld,
        RestError::Unauthorized2026,
        RestError::Http550,
    ];
}

impl RestFault {
    /// Whether it changes rows, rather than takes the answer's place.
    pub(crate) fn is_about_rows(&self) -> bool {
        matches!(
            self,
            RestFault::NoRows
                | RestFault::ZeroRows
                | RestFault::BoundaryRow
                | RestFault::RepeatedRow
                | RestFault::MoreRows { .. }
                | RestFault::HistoryBegins { .. }
                | RestFault::MinutesKept { .. }
        )
    }

    /// What can't be done, if anything.
    pub(crate) fn problem(&self) -> Option<&'static str> {
        match self {
            RestFault::Status { status } | RestFault::RateLimit { status, .. }
                if !(200..=999).contains(status) =>
            {
                Some("a status is 200 to 999")
            }
            RestFault::SlowBody { bytes: 0, .. } => Some("a slow body needs at least 1 byte"),
            RestFault::MoreRows { rows } if !(1..=MAX_MORE_ROWS).contains(rows) => {
                Some("1 to 2000 rows can be added")
            }
            _ => None,
        }
    }
}
