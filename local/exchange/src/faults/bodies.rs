//! What a REST call gets instead of its answer.

use super::rest::{Period, RestError, RestFault};
use crate::quota::Limits;
use crate::rest;

/// How a call is answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// As ever.
    Whole {
        status: u16,
        content_type: &'static str,
        body: Vec<u8>,
    },
    /// The first half of this body is sent, then the connection is closed.
    Half(Vec<u8>),
    /// `bytes` at a time, `every` so many milliseconds.
    Slow {
        body: Vec<u8>,
        bytes: usize,
        every: u64,
    },
    Never,
    Dropped,
}

impl Answer {
    /// The vendor's usual one: HTTP 200.
    pub(crate) fn usual(body: Vec<u8>) -> Self {
        Answer::Whole { status: 200, content_type: rest::JSON, body }
    }
}

const HTML: &str = "text/html";

/// What `fault` makes of a call about `base` and `quote` whose true answer is `truth`.
pub(crate) fn answer(
    fault: &RestFault,
    (base, quote): (&str, &str),
    truth: impl FnOnce() -> Vec<u8>,
) -> Answer {
    let whole = |status, content_type, body| Answer::Whole { status, content_type, body };
    match fault {
        RestFault::NoAnswer => Answer::Never,
        RestFault::DropAtOnce => Answer::Dropped,
        RestFault::HalfBody => Answer::Half(truth()),
        RestFault::SlowBody { bytes, every } => {
            Answer::Slow { body: truth(), bytes: *bytes, every: *every }
        }
        RestFault::EmptyBody => whole(200, rest::JSON, Vec::new()),
        RestFault::NotJson => whole(200, HTML, page(200)),
        RestFault::TruncatedJson => {
            let mut body = truth();
            body.truncate(body.len() / 2);
            whole(200, rest::JSON, body)
        }
        RestFault::Status { status } => whole(*status, HTML, page(*status)),
        RestFault::Error(error) => {
            let (status, body) = vendor(*error, base, quote);
            whole(status, rest::JSON, body)
        }
        RestFault::RateLimit { status, period } => whole(*status, rest::JSON, over_limit(*period)),
        _ => Answer::usual(truth()),
    }
}

/// As a proxy writes it, for an upgrade too.
pub(crate) fn page(status: u16) -> Vec<u8> {
    let title = match status {
        200 => "Welcome to nginx!",
        401 => "401 Authorization Required",
        429 => "429 Too Many Requests",
        500 => "500 Internal Server Error",
        502 => "502 Bad Gateway",
        503 => "503 Service Temporarily Unavailable",
        504 => "504 Gateway Time-out",
        _ => "Error",
    };
    format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
    )
    .into_bytes()
}

/// The vendor's error with its HTTP status.
fn vendor(error: RestError, base: &str, quote: &str) -> (u16, Vec<u8>) {
    let refuse = |kind, parameter, message: String| (200, rest::refuse(message, kind, parameter));
    match error {
        RestError::NoData => {
            refuse(2, Some("fsym"), format!("There is no data for the symbol {base} ."))
        }
        RestError::NoDataTo => {
            refuse(2, Some("tsym"), format!("There is no data for the toSymbol {quote} ."))
        }
        RestError::NoDataToAny => {
            let message = format!("There is no data for any of the toSymbols {quote} .");
            let warning = format!("There is no data for the toSymbol/s {quote} ");
            let [message, warning] = [message, warning].map(serde_json::Value::from);
            let body = format!(
                r#"{{"Response":"Error","Message":{message},"HasWarning":true,"Type":2,"RateLimit":{{}},"Data":{{}},"Warning":{warning},"ParamWithError":"tsyms"}}"#
            );
            (200, body.into_bytes())
        }
        RestError::MissingParameter => {
            refuse(2, Some("fsym"), "fsym param seems to be missing.".to_owned())
        }
        RestError::NoExchange => refuse(
            2,
            Some("e"),
            "e param is not valid the market does not exist for this coin pair".to_owned(),
        ),
        RestError::NoMarket => refuse(
            1,
            None,
            format!("cccagg_or_exchange market does not exist for this coin pair ({base}-{quote})"),
        ),
        RestError::KeyNeeded => (200, rest::no_key()),
        RestError::NoPath => (200, rest::unknown_path()),
        RestError::MinutesTooOld => refuse(2, Some("toTs"), rest::MINUTES_TOO_OLD.to_owned()),
        RestError::Unauthorized2026 => (
            401,
            br#"{"Data":{},"Err":{"type":2,"message":"API key required, please refer to the documentation at https://developers.coindesk.com/","http_status_code":401,"frontend":{}}}"#
                .to_vec(),
        ),
        RestError::Http550 => (550, rest::refuse("Internal error".to_owned(), 1, None)),
    }
}

/// Type 99, with a free key's limits and four calls too many in `period`.
fn over_limit(period: Period) -> Vec<u8> {
    let max = Limits::REST.each();
    let over = period as usize;
    let mut made = [1; 5];
    made[over] = max[over] + 4;
    // Longer periods hold these calls as well, and are within their limits.
    for at in over + 1..made.len() {
        made[at] = made[over].min(max[at]);
    }
    rest::over_limit_of(made, max)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn body_of(fault: &RestFault) -> (u16, Vec<u8>) {
        match answer(fault, ("BTC", "USD"), || b"0123456789".to_vec()) {
            Answer::Whole { status, body, .. } => (status, body),
            other => panic!("{fault:?} gives {other:?}"),
        }
    }

    #[test]
    fn each_of_the_vendors_errors_has_its_status_and_type() {
        for error in RestError::ALL {
            let (status, body) = body_of(&RestFault::Error(error));
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            let expected = match error {
                RestError::Unauthorized2026 => (401, Value::Null, Value::Null),
                RestError::Http550 => (550, 1.into(), Value::Null),
                RestError::NoMarket | RestError::KeyNeeded | RestError::NoPath => {
                    (200, 1.into(), Value::Null)
                }
                RestError::NoData | RestError::MissingParameter => (200, 2.into(), "fsym".into()),
                RestError::NoDataTo => (200, 2.into(), "tsym".into()),
                RestError::NoDataToAny => (200, 2.into(), "tsyms".into()),
                RestError::NoExchange => (200, 2.into(), "e".into()),
                RestError::MinutesTooOld => (200, 2.into(), "toTs".into()),
            };
            assert_eq!(
                (status, body["Type"].clone(), body["ParamWithError"].clone()),
                expected,
                "{body}"
            );
            let response = &body["Response"];
            assert_eq!(response.is_null(), error == RestError::Unauthorized2026, "{body}");
        }
    }

    #[test]
    fn the_rate_limit_names_the_period_that_is_over() {
        for (period, name) in [
            (Period::Second, "second"),
            (Period::Minute, "minute"),
            (Period::Hour, "hour"),
            (Period::Day, "day"),
            (Period::Month, "month"),
        ] {
            let (status, body) = body_of(&RestFault::RateLimit { status: 429, period });
            let body: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!((status, body["Type"].as_u64()), (429, Some(99)));
            let (made, max) = (&body["RateLimit"]["calls_made"], &body["RateLimit"]["max_calls"]);
            let over: Vec<&str> = ["second", "minute", "hour", "day", "month"]
                .into_iter()
                .filter(|name| made[name].as_u64() > max[name].as_u64())
                .collect();
            assert_eq!(over, [name], "{body}");
        }
    }

    #[test]
    fn the_rest_is_what_a_broken_proxy_does() {
        assert_eq!(body_of(&RestFault::EmptyBody), (200, Vec::new()));
        assert_eq!(body_of(&RestFault::TruncatedJson), (200, b"01234".to_vec()));
        let (status, body) = body_of(&RestFault::Status { status: 502 });
        assert!(status == 502 && body.starts_with(b"<html>"));
        assert!(body_of(&RestFault::NotJson).1.starts_with(b"<html>"));
        let answer = |fault: &RestFault| answer(fault, ("BTC", "USD"), || b"0123".to_vec());
        assert_eq!(answer(&RestFault::NoAnswer), Answer::Never);
        assert_eq!(answer(&RestFault::DropAtOnce), Answer::Dropped);
        assert_eq!(answer(&RestFault::HalfBody), Answer::Half(b"0123".to_vec()));
    }
}
