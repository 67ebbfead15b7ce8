//! A call's parameters, checked in the vendor's order and refused in its words (cryptocompare.md 3.1, 3.6).

use std::collections::HashMap;

use super::Refusal;
use crate::market::{INDEX, Instrument, Market};

/// Points at most, as limit × aggregate.
const MAX_POINTS: u64 = 2000;
const MAX_AGGREGATE: u64 = 30;
/// Minutes are kept this long.
pub(super) const MINUTES_KEPT_S: u64 = 7 * 86_400;

/// The length of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interval {
    Minute,
    Hour,
    Day,
}

impl Interval {
    /// `histominute`, `histohour`, `histoday`.
    pub(super) fn of_endpoint(name: &str) -> Option<Self> {
        match name {
            "histominute" => Some(Interval::Minute),
            "histohour" => Some(Interval::Hour),
            "histoday" => Some(Interval::Day),
            _ => None,
        }
    }

    /// Seconds.
    pub(super) fn length(self) -> u64 {
        match self {
            Interval::Minute => 60,
            Interval::Hour => 3600,
            Interval::Day => 86_400,
        }
    }

    fn default_limit(self) -> u64 {
        match self {
            Interval::Minute => 1440,
            Interval::Hour => 168,
            Interval::Day => 30,
        }
    }
}

/// A call that can be answered.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) instrument: &'a Instrument,
    pub(super) interval: Interval,
    /// One row less than asked for will come; `None` means all rows since the market opened.
    pub(super) limit: Option<u64>,
    /// Intervals per row.
    pub(super) aggregate: u64,
    /// Rows start at multiples of their length.
    pub(super) aligned: bool,
    /// The last row holds this moment (seconds), which is not in the future.
    pub(super) to: u64,
}

/// The refusal of minutes that are no longer kept.
pub(crate) const MINUTES_TOO_OLD: &str =
    "toTs param is out of range: minute data is only available for the last 7 days.";

/// Reads the parameters; minutes are kept for `minutes_kept` seconds.
pub(super) fn parse<'a>(
    market: &'a Market,
    interval: Interval,
    parameters: &HashMap<String, String>,
    now: u64,
    minutes_kept: u64,
) -> Result<Request<'a>, Refusal> {
    let text =
        |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let base = text("fsym")
        .ok_or_else(|| Refusal::parameter("fsym", "fsym param seems to be missing."))?;
    let quote =
        text("tsym").ok_or_else(|| Refusal::parameter("tsym", "tsym is a required param."))?;
    let exchange = text("e").unwrap_or(INDEX);
    let instrument = find(market, exchange, base, quote)?;

    let aggregate = integer(text("aggregate"), "aggregate", 1)?;
    if !(1..=MAX_AGGREGATE).contains(&aggregate) {
        return Err(Refusal::parameter(
            "aggregate",
            "aggregate param is not in the range 1 to 30.",
        ));
    }
    let limit = integer(text("limit"), "limit", interval.default_limit())?;
    if limit > MAX_POINTS {
        return Err(Refusal::parameter("limit", "limit is larger than max value."));
    }
    if limit == 0 {
        return Err(Refusal::parameter("limit", "limit is smaller than min value."));
    }
    // The vendor reduces the limit without saying so.
    let limit = limit.min(MAX_POINTS / aggregate);
    let all = interval == Interval::Day && text("allData") == Some("true");

    // -1 is documented as "now".
    let to = match text("toTs") {
        None | Some("-1") => now,
        given => integer(given, "toTs", now)?.min(now),
    };
    if interval == Interval::Minute && to.saturating_add(minutes_kept) < now {
        return Err(Refusal::parameter("toTs", MINUTES_TOO_OLD));
    }
    Ok(Request {
        instrument,
        interval,
        limit: (!all).then_some(limit),
        aggregate,
        aligned: text("aggregatePredictableTimePeriods") != Some("false"),
        to,
    })
}

/// Symbols are case-sensitive, and nothing is converted by way of a third one.
fn find<'a>(
    market: &'a Market,
    exchange: &str,
    base: &str,
    quote: &str,
) -> Result<&'a Instrument, Refusal> {
    let any = |is: &dyn Fn(&Instrument) -> bool| market.instruments().iter().any(is);
    if let Some(instrument) = market.find(exchange, base, quote) {
        Ok(instrument)
    } else if !any(&|it| it.pair.base == base) {
        Err(Refusal::parameter("fsym", format!("There is no data for the symbol {base} .")))
    } else if !any(&|it| it.pair.quote == quote) {
        Err(Refusal::parameter("tsym", format!("There is no data for the toSymbol {quote} .")))
    } else if !any(&|it| it.pair.market == exchange) {
        let message = "e param is not valid the market does not exist for this coin pair";
        Err(Refusal::parameter("e", message))
    } else {
        let message =
            format!("cccagg_or_exchange market does not exist for this coin pair ({base}-{quote})");
        Err(Refusal { message, kind: 1, parameter: None })
    }
}

fn integer(value: Option<&str>, name: &'static str, default: u64) -> Result<u64, Refusal> {
    match value {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| {
            Refusal::parameter(name, format!("{name} param is not a positive integer."))
        }),
    }
}
