//! The vendor's REST history as far as it can be told without a socket: the address of a request,
//! and what to do about its answer.
//!
//! Most errors come with HTTP 200, and what tells them apart is `Response` and `Type`, never the
//! text. Since May 2026 there is a second form: HTTP 401 with `Err` and without `Response`.

use reqwest::Url;
use serde_json::Value;
use tickpanda_model::candle::Unit;
use tickpanda_model::control::History;
use tickpanda_model::header;
use tickpanda_model::key::PairKey;
use tickpanda_model::time::Bucket;

use crate::spool::Headers;
use crate::vendor::clean;

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Candles: publish the body.
    Publish,
    /// A final refusal of this request: publish the body, go on with the next job.
    Refused(String),
    /// A final refusal of this request, because what it asks for is older than what this account may
    /// have: publish the body.
    TooOld(String),
    /// A refusal of the key: publish nothing, ask for nothing until somebody has seen to it.
    Unauthorized(String),
    /// Too many calls: publish nothing, call nothing until the wait is over.
    RateLimited(String, Wait),
    /// Try again later; publish nothing.
    Retry(String),
    /// Final, and not the vendor's own words (a proxy's page): publish nothing, go on.
    GiveUp(String),
}

impl Reaction {
    /// The label in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Publish => "candles",
            Self::Refused(_) => "refused",
            Self::TooOld(_) => "too_old",
            Self::Unauthorized(_) => "unauthorized",
            Self::RateLimited(..) => "rate_limited",
            Self::Retry(_) => "retried",
            Self::GiveUp(_) => "given_up",
        }
    }
}

/// How long there is nothing to be had after too many calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// So many seconds: the vendor's `Retry-After`.
    Seconds(u64),
    /// Until this window is over: the longest one whose calls are used up.
    Window(Window),
    /// It was not said.
    Unknown,
}

/// In what the vendor counts calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Window {
    /// `second`
    Second,
    /// `minute`
    Minute,
    /// `hour`
    Hour,
    /// `day`
    Day,
    /// `month`
    Month,
}

impl Window {
    const ALL: [Self; 5] = [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// The vendor's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Length in milliseconds.
    pub fn ms(self) -> i64 {
        match self {
            Self::Second => 1000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
            Self::Month => 30 * 86_400_000,
        }
    }
}

/// Key missing or wrong, or a market that does not exist.
const TYPE_KEY_OR_MARKET: u64 = 1;
/// Rate limit exceeded.
const TYPE_RATE_LIMIT: u64 = 99;

/// The reaction to an answer with this HTTP status, `Retry-After` in seconds, and body. Pure.
pub fn react(status: u16, retry_after: Option<u64>, body: &[u8]) -> Reaction {
    let parsed = serde_json::from_slice::<Value>(body);
    let Ok(Value::Object(fields)) = parsed else {
        let what = format!("HTTP {status} with a body that is not the vendor's JSON");
        return match status {
            401 | 403 => Reaction::Unauthorized(what),
            429 => Reaction::RateLimited(what, retry_after.map_or(Wait::Unknown, Wait::Seconds)),
            400..=499 if status != 408 => Reaction::GiveUp(what),
            _ => Reaction::Retry(what),
        };
    };
    let message = fields
        .get("Message")
        .or_else(|| fields.get("Err").and_then(|err| err.get("message")))
        .and_then(Value::as_str)
        .unwrap_or("no message");
    let message = clean(message);
    let kind = fields.get("Type").and_then(Value::as_u64);
    let parameter = fields.get("ParamWithError").and_then(Value::as_str);
    let what = format!("HTTP {status}: {message}");
    match status {
        _ if status == 429 || kind == Some(TYPE_RATE_LIMIT) => {
            let used_up = fields.get("RateLimit").and_then(used_up);
            let wait = retry_after
                .map(Wait::Seconds)
                .or(used_up.map(Wait::Window))
                .unwrap_or(Wait::Unknown);
            Reaction::RateLimited(what, wait)
        }
        408 | 500.. => Reaction::Retry(what),
        401 | 403 => Reaction::Unauthorized(what),
        200 if fields.get("Response").and_then(Value::as_str) == Some("Success") => {
            Reaction::Publish
        }
        // Here only the text tells: a missing key and a market that does not exist have the same Type
        // and name no parameter. Taking the first for the second would end every job for good.
        _ if kind == Some(TYPE_KEY_OR_MARKET) && parameter.is_none() && is_about_key(&message) => {
            Reaction::Unauthorized(what)
        }
        _ if parameter == Some("toTs") => Reaction::TooOld(what),
        _ => Reaction::Refused(what),
    }
}

fn is_about_key(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("api key") || message.contains("auth key") || message.contains("api_key")
}

/// The longest window of a `RateLimit` whose calls are used up.
fn used_up(limit: &Value) -> Option<Window> {
    let calls = |of: &str, window: Window| limit.get(of)?.get(window.as_str())?.as_u64();
    let full = |window: &Window| {
        let (made, max) = (calls("calls_made", *window), calls("max_calls", *window));
        made.zip(max).is_some_and(|(made, max)| made >= max)
    };
    Window::ALL.into_iter().rev().find(full)
}

/// Seconds to wait by a `Retry-After` header: a number, or a date (of which `now` in ms is taken off).
pub fn retry_after(value: &str, now: i64) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds);
    }
    // `Wed, 21 Oct 2015 07:28:00 GMT`, the one form of dates that HTTP still allows to be sent.
    let (_, date) = value.split_once(", ")?;
    let mut parts = date.split(' ');
    let (day, month, year) = (parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = MONTHS.iter().position(|name| *name == month)? + 1;
    let at = Bucket::parse(&format!("{year}-{month:02}-{day}T{time}.000Z"))?.seconds();
    let wait = at.saturating_sub(now.div_euclid(1000)).max(0);
    (zone == "GMT").then_some(wait.unsigned_abs())
}

/// Address of the request for these candles. `None` if `base` can't have a path.
pub fn url(base: &Url, history: &History) -> Option<Url> {
    let endpoint = match history.interval.unit() {
        Unit::Minute => "histominute",
        Unit::Hour => "histohour",
        Unit::Day => "histoday",
    };
    let mut url = base.clone();
    url.path_segments_mut().ok()?.pop_if_empty().extend(["data", "v2", endpoint]);
    let mut query = url.query_pairs_mut();
    query
        .append_pair("fsym", &history.fsym)
        .append_pair("tsym", &history.tsym)
        .append_pair("e", &history.e)
        // Candles that the vendor computes from other pairs are not this market's.
        .append_pair("tryConversion", "false");
    let aggregate = history.interval.count().checked_mul(history.aggregate.unwrap_or(1))?;
    if aggregate != 1 {
        query.append_pair("aggregate", &aggregate.to_string());
    }
    if let Some(limit) = history.limit {
        query.append_pair("limit", &limit.to_string());
    }
    if let Some(to) = history.to {
        query.append_pair("toTs", &to.to_string());
    }
    drop(query);
    Some(url)
}

/// Record key of the answer.
pub fn key(history: &History) -> String {
    PairKey { market: &history.e, base: &history.fsym, quote: &history.tsym }.to_string()
}

/// Headers of the answer, which does not say itself what it is about.
pub fn headers(history: &History) -> Headers {
    let interval = history.interval.count().saturating_mul(history.aggregate.unwrap_or(1));
    let interval = tickpanda_model::candle::Interval::new(interval, history.interval.unit())
        .unwrap_or(history.interval);
    let mut headers = Headers::new();
    let mut put = |name: &str, value: &str| headers.insert(name.to_owned(), value.into());
    put(header::FEED, header::FEED_REST);
    put(header::MARKET, &history.e);
    put(header::BASE, &history.fsym);
    put(header::QUOTE, &history.tsym);
    put(header::INTERVAL, &interval.to_string());
    if let Some(to) = history.to {
        put(header::TO, &to.to_string());
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        History {
            fsym: "BTC".into(),
            tsym: "USD".into(),
            e: "Coinbase".into(),
            interval: "1m".parse().unwrap(),
            aggregate: None,
            from: None,
            to: None,
            limit: Some(10),
        }
    }

    const OVER_LIMIT: &str = r#"{"Response":"Error","Message":"You are over your rate limit please upgrade your account!","HasWarning":false,"Type":99,"RateLimit":{"calls_made":{"second":5,"minute":5,"hour":955,"day":10004,"month":15146,"total_calls":15152},"max_calls":{"second":20,"minute":300,"hour":3000,"day":10000,"month":75000}},"Data":{}}"#;

    #[test]
    fn every_answer_gets_its_reaction() {
        use Reaction::{GiveUp, Publish, RateLimited, Refused, Retry, TooOld, Unauthorized};
        let not_json = |status| format!("HTTP {status} with a body that is not the vendor's JSON");
        // Bodies after reference section 3; shortened.
        for (status, body, expected) in [
            (200, r#"{"Response":"Success","Message":"","Type":100,"Data":{"Data":[]}}"#, Publish),
            (200, r#"{"Response":"Success","Type":100,"Data":[]}"#, Publish),
            (
                200,
                r#"{"Response":"Error","Message":"There is no data for the symbol BTC999 .","Type":2,"Data":{},"ParamWithError":"fsym"}"#,
                Refused("HTTP 200: There is no data for the symbol BTC999 .".into()),
            ),
            (
                200,
                r#"{"Response":"Error","Message":"cccagg_or_exchange market does not exist for this coin pair (ETH-XXX)","Type":1,"Data":{}}"#,
                Refused(
                    "HTTP 200: cccagg_or_exchange market does not exist for this coin pair (ETH-XXX)".into(),
                ),
            ),
            (
                200,
                r#"{"Response":"Error","Message":"e param is not valid the market does not exist for this coin pair","Type":2,"Data":{},"ParamWithError":"e"}"#,
                Refused(
                    "HTTP 200: e param is not valid the market does not exist for this coin pair".into(),
                ),
            ),
            (
                200,
                r#"{"Response":"Error","Message":"only available for the last 7 days","Type":2,"Data":{},"ParamWithError":"toTs"}"#,
                TooOld("HTTP 200: only available for the last 7 days".into()),
            ),
            (
                200,
                r#"{"Response":"Error","Message":"You need a valid auth key or api key to access this endpoint","Type":1,"Data":{}}"#,
                Unauthorized(
                    "HTTP 200: You need a valid auth key or api key to access this endpoint".into(),
                ),
            ),
            (
                200,
                OVER_LIMIT,
                RateLimited(
                    "HTTP 200: You are over your rate limit please upgrade your account!".into(),
                    Wait::Window(Window::Day),
                ),
            ),
            (
                429,
                r#"{"Response":"Error","Message":"slow","Type":99}"#,
                RateLimited("HTTP 429: slow".into(), Wait::Unknown),
            ),
            (
                401,
                r#"{"Data":{},"Err":{"type":2,"message":"API key required","http_status_code":401,"frontend":{}}}"#,
                Unauthorized("HTTP 401: API key required".into()),
            ),
            (403, "<html>", Unauthorized(not_json(403))),
            (200, "{}", Refused("HTTP 200: no message".into())),
            (400, r#"{"Response":"Error","Message":"m","Type":2}"#, Refused("HTTP 400: m".into())),
            (550, r#"{"Message":"m"}"#, Retry("HTTP 550: m".into())),
            (503, r#"{"Response":"Success"}"#, Retry("HTTP 503: no message".into())),
            (502, "<html>", Retry(not_json(502))),
            (200, "", Retry(not_json(200))),
            (200, r#"{"Response":"Succ"#, Retry(not_json(200))),
            (404, "<html>", GiveUp(not_json(404))),
            (429, "slow down", RateLimited(not_json(429), Wait::Unknown)),
        ] {
            assert_eq!(react(status, None, body.as_bytes()), expected, "{status} {body}");
        }
    }

    #[test]
    fn too_many_calls_wait_for_the_longest_window_that_is_used_up_or_as_the_vendor_says() {
        let wait = |retry_after, made: &str, max: &str| {
            let body = format!(
                r#"{{"Response":"Error","Message":"m","Type":99,"RateLimit":{{"calls_made":{made},"max_calls":{max}}},"Data":{{}}}}"#
            );
            match react(200, retry_after, body.as_bytes()) {
                Reaction::RateLimited(_, wait) => wait,
                other => panic!("{other:?}"),
            }
        };
        let max = r#"{"second":20,"minute":300,"hour":3000,"day":10000,"month":75000}"#;
        for (made, window) in [
            (r#"{"second":21,"minute":21,"hour":21,"day":21,"month":21}"#, Window::Second),
            (r#"{"second":20,"minute":300,"hour":300,"day":300,"month":300}"#, Window::Minute),
            (r#"{"second":1,"minute":300,"hour":3001,"day":3001,"month":3001}"#, Window::Hour),
            (r#"{"second":1,"minute":1,"hour":1,"day":1,"month":75000}"#, Window::Month),
        ] {
            assert_eq!(wait(None, made, max), Wait::Window(window), "{made}");
            assert_eq!(wait(Some(7), made, max), Wait::Seconds(7));
        }
        assert_eq!(wait(None, r#"{"second":1}"#, max), Wait::Unknown);
        assert_eq!(wait(None, "[]", "7"), Wait::Unknown);
    }

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let now = 1_445_412_420_500; // 2015-10-21T07:27:00.5Z
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("Wed, 21 Oct 2015 07:28:00 CET", None),
            ("Wed, 41 Oct 2015 07:28:00 GMT", None),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds, "{value}");
        }
    }

    #[test]
    fn the_address_asks_for_the_pair_itself_and_holds_no_key() {
        let base = Url::parse("https://min-api.cryptocompare.com").unwrap();
        assert_eq!(
            url(&base, &history()).unwrap().as_str(),
            "https://min-api.cryptocompare.com/data/v2/histominute?fsym=BTC&tsym=USD&e=Coinbase&tryConversion=false&limit=10"
        );
        let later = History {
            interval: "1d".parse().unwrap(),
            aggregate: Some(5),
            to: Some(1_510_494_600),
            limit: None,
            fsym: "A&B".into(),
            ..history()
        };
        let base = Url::parse("http://127.0.0.1:1/x/").unwrap();
        assert_eq!(
            url(&base, &later).unwrap().as_str(),
            "http://127.0.0.1:1/x/data/v2/histoday?fsym=A%26B&tsym=USD&e=Coinbase&tryConversion=false&aggregate=5&toTs=1510494600"
        );
    }

    #[test]
    fn the_headers_say_what_the_body_does_not() {
        let text = |headers: Headers| {
            let text = |value| String::from_utf8(value).unwrap();
            headers
                .into_iter()
                .map(|(k, v)| format!("{k}={}", text(v)))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(key(&history()), "Coinbase~BTC~USD");
        assert_eq!(
            text(headers(&history())),
            "base=BTC feed=rest interval=1m market=Coinbase quote=USD"
        );
        let later = History { aggregate: Some(5), to: Some(7), ..history() };
        assert_eq!(
            text(headers(&later)),
            "base=BTC feed=rest interval=5m market=Coinbase quote=USD to=7"
        );
    }
}
