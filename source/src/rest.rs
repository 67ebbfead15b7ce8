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

use crate::spool::Headers;

/// What to do with an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Candles: publish the body.
    Publish,
    /// A final refusal of this request: publish the body, go on with the next request.
    Refused(String),
    /// A refusal of the key: publish the body, ask for nothing more.
    Unauthorized(String),
    /// Try again later; publish nothing.
    Retry(String),
    /// Final, and not the vendor's own words (a proxy's page): publish nothing, go on.
    GiveUp(String),
}

/// Rate limit exceeded.
const TYPE_RATE_LIMIT: u64 = 99;

/// The reaction to an answer with this HTTP status and body. Pure.
pub fn react(status: u16, body: &[u8]) -> Reaction {
    let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else {
        let what = format!("HTTP {status} with a body that is not the vendor's JSON");
        return match status {
            400..=499 if status != 408 && status != 429 => Reaction::GiveUp(what),
            _ => Reaction::Retry(what),
        };
    };
    let message = fields
        .get("Message")
        .or_else(|| fields.get("Err").and_then(|err| err.get("message")))
        .and_then(Value::as_str)
        .unwrap_or("no message");
    let message: String = message.chars().filter(|c| !c.is_control()).take(200).collect();
    let kind = fields.get("Type").and_then(Value::as_u64);
    let what = format!("HTTP {status}: {message}");
    match status {
        _ if kind == Some(TYPE_RATE_LIMIT) => Reaction::Retry(what),
        408 | 429 | 500.. => Reaction::Retry(what),
        401 | 403 => Reaction::Unauthorized(what),
        200 if fields.get("Response").and_then(Value::as_str) == Some("Success") => {
            Reaction::Publish
        }
        _ => Reaction::Refused(what),
    }
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

    #[test]
    fn every_answer_gets_its_reaction() {
        use Reaction::{GiveUp, Publish, Refused, Retry, Unauthorized};
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
                r#"{"Response":"Error","Message":"You need a valid auth key or api key to access this endpoint","Type":1,"Data":{}}"#,
                Refused(
                    "HTTP 200: You need a valid auth key or api key to access this endpoint".into(),
                ),
            ),
            (
                200,
                r#"{"Response":"Error","Message":"You are over your rate limit please upgrade your account!","Type":99,"Data":{}}"#,
                Retry("HTTP 200: You are over your rate limit please upgrade your account!".into()),
            ),
            (
                429,
                r#"{"Response":"Error","Message":"slow","Type":99}"#,
                Retry("HTTP 429: slow".into()),
            ),
            (
                401,
                r#"{"Data":{},"Err":{"type":2,"message":"API key required","http_status_code":401,"frontend":{}}}"#,
                Unauthorized("HTTP 401: API key required".into()),
            ),
            (200, "{}", Refused("HTTP 200: no message".into())),
            (400, r#"{"Response":"Error","Message":"m","Type":2}"#, Refused("HTTP 400: m".into())),
            (550, r#"{"Message":"m"}"#, Retry("HTTP 550: m".into())),
            (503, r#"{"Response":"Success"}"#, Retry("HTTP 503: no message".into())),
            (502, "<html>", Retry("HTTP 502 with a body that is not the vendor's JSON".into())),
            (200, "", Retry("HTTP 200 with a body that is not the vendor's JSON".into())),
            (
                200,
                r#"{"Response":"Succ"#,
                Retry("HTTP 200 with a body that is not the vendor's JSON".into()),
            ),
            (404, "<html>", GiveUp("HTTP 404 with a body that is not the vendor's JSON".into())),
            (429, "slow down", Retry("HTTP 429 with a body that is not the vendor's JSON".into())),
        ] {
            assert_eq!(react(status, body.as_bytes()), expected, "{status} {body}");
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
