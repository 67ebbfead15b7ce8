//! REST answers as tables: rows, times, errors.

use std::collections::HashMap;

use serde_json::Value;

use super::*;
use crate::market::Pair;
use crate::quota::{Limits, Quota};

/// 2025-07-22T13:20:18Z.
const NOW: u64 = 1_753_190_418;

fn call_at(version: Version, name: &str, query: &str, now: u64) -> Value {
    let market = Market::new(1, 1000, Pair::catalogue());
    let parameters: HashMap<String, String> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    serde_json::from_slice(&answer(&market, version, name, &parameters, now, &[])).expect("JSON")
}

fn call(name: &str, query: &str) -> Value {
    call_at(Version::V1, name, query, NOW)
}

/// Rows, first and last time.
fn shape(body: &Value) -> (usize, u64, u64) {
    let rows = body["Data"].as_array().expect("rows");
    let time = |row: &Value| row["time"].as_u64().expect("time");
    assert_eq!(body["TimeFrom"], rows[0]["time"]);
    assert_eq!(body["TimeTo"], rows[rows.len() - 1]["time"]);
    (rows.len(), time(&rows[0]), time(&rows[rows.len() - 1]))
}

#[test]
fn a_limit_of_n_gives_n_plus_one_rows_and_to_ts_is_inclusive() {
    let hour = NOW / 3600 * 3600;
    let minute = NOW / 60 * 60;
    let day = NOW / 86_400 * 86_400;
    let five = NOW / 300 * 300;
    for (name, more, expected) in [
        ("histohour", "&limit=10".to_owned(), (11, hour - 36_000, hour)),
        (
            "histohour",
            format!("&limit=48&toTs={}", hour - 3600),
            (49, hour - 49 * 3600, hour - 3600),
        ),
        ("histohour", format!("&limit=1&toTs={}", hour - 1), (2, hour - 7200, hour - 3600)),
        ("histohour", format!("&limit=1&toTs={}", NOW + 999_999), (2, hour - 3600, hour)),
        ("histohour", "&limit=1&toTs=-1".to_owned(), (2, hour - 3600, hour)),
        ("histominute", String::new(), (1441, minute - 86_400, minute)),
        ("histominute", "&limit=2000".to_owned(), (2001, minute - 120_000, minute)),
        ("histominute", "&limit=3&aggregate=5".to_owned(), (4, five - 900, five)),
        (
            "histominute",
            "&limit=2000&aggregate=4".to_owned(),
            (501, NOW / 240 * 240 - 120_000, NOW / 240 * 240),
        ),
        (
            "histominute",
            "&limit=1&aggregate=7&aggregatePredictableTimePeriods=false".to_owned(),
            (2, minute - 420, minute),
        ),
        ("histohour", String::new(), (169, hour - 168 * 3600, hour)),
        ("histoday", String::new(), (31, day - 30 * 86_400, day)),
        (
            "histoday",
            "&allData=true".to_owned(),
            (usize::try_from((day - OPENED_S) / 86_400 + 1).unwrap(), OPENED_S, day),
        ),
    ] {
        let body = call(name, &format!("fsym=BTC&tsym=USD{more}"));
        assert_eq!(body["Response"], "Success", "{name}{more}: {body}");
        assert_eq!(shape(&body), expected, "{name}{more}");
    }
}

#[test]
fn a_page_before_another_joins_it_and_says_the_same_later() {
    let query = "fsym=ETH&tsym=USDT&e=Binance&limit=20";
    let late = call("histohour", query);
    let (_, from, _) = shape(&late);
    let early = call("histohour", &format!("{query}&toTs={}", from - 1));
    assert_eq!(shape(&early).2, from - 3600);
    assert_eq!(early["Data"][20]["close"], late["Data"][0]["open"]);
    let later =
        call_at(Version::V1, "histohour", &format!("{query}&toTs={}", from - 1), NOW + 86_400);
    assert_eq!(early["Data"], later["Data"]);
}

#[test]
fn the_last_row_is_the_period_in_progress() {
    // 20 minutes and 18 seconds into the hour.
    let body = call("histohour", "fsym=BTC&tsym=USD&limit=5");
    let volume = |at: usize| body["Data"][at]["volumefrom"].as_f64().unwrap();
    assert!(volume(5) < volume(4) * 0.6, "{} {}", volume(5), volume(4));
    let later = call_at(Version::V1, "histohour", "fsym=BTC&tsym=USD&limit=5", NOW + 600);
    assert!(later["Data"][5]["volumefrom"].as_f64().unwrap() > volume(5));
}

#[test]
fn both_versions_have_the_vendors_keys_in_its_order() {
    let market = Market::new(1, 1000, Pair::catalogue());
    let parameters = HashMap::from(
        [("fsym", "BTC"), ("tsym", "USD"), ("limit", "1")].map(|(k, v)| (k.into(), v.into())),
    );
    let body = |version| {
        String::from_utf8(answer(&market, version, "histoday", &parameters, NOW, &[])).unwrap()
    };
    let row = |body: &str| {
        let keys: Vec<_> = body.split('"').skip(1).step_by(2).collect();
        keys.join(" ")
    };
    assert_eq!(
        row(&body(Version::V1)),
        "Response Success Type Aggregated TimeTo TimeFrom FirstValueInArray ConversionType type direct conversionSymbol  Data \
         time high low open volumefrom volumeto close conversionType direct conversionSymbol  \
         time high low open volumefrom volumeto close conversionType direct conversionSymbol  RateLimit HasWarning"
    );
    assert_eq!(
        row(&body(Version::V2)),
        "Response Success Message  HasWarning Type RateLimit Data Aggregated TimeFrom TimeTo Data \
         time high low open volumefrom volumeto close conversionType direct conversionSymbol  \
         time high low open volumefrom volumeto close conversionType direct conversionSymbol "
    );
    let (v1, v2) = (body(Version::V1), body(Version::V2));
    let (v1, v2): (Value, Value) =
        (serde_json::from_str(&v1).unwrap(), serde_json::from_str(&v2).unwrap());
    assert_eq!(v1["Data"], v2["Data"]["Data"]);
}

#[test]
fn each_error_has_the_vendors_words() {
    for (name, query, message, kind, parameter) in [
        ("histohour", "tsym=USD", "fsym param seems to be missing.", 2, "fsym"),
        ("histohour", "fsym=&tsym=USD", "fsym param seems to be missing.", 2, "fsym"),
        ("histohour", "fsym=BTC", "tsym is a required param.", 2, "tsym"),
        (
            "histohour",
            "fsym=BTC999&tsym=USD",
            "There is no data for the symbol BTC999 .",
            2,
            "fsym",
        ),
        ("histohour", "fsym=btc&tsym=USD", "There is no data for the symbol btc .", 2, "fsym"),
        (
            "histohour",
            "fsym=BTC&tsym=BLABLA",
            "There is no data for the toSymbol BLABLA .",
            2,
            "tsym",
        ),
        (
            "histohour",
            "fsym=BTC&tsym=USD&e=Nowhere",
            "e param is not valid the market does not exist for this coin pair",
            2,
            "e",
        ),
        (
            "histohour",
            "fsym=DOGE&tsym=EUR",
            "cccagg_or_exchange market does not exist for this coin pair (DOGE-EUR)",
            1,
            "",
        ),
        (
            "histohour",
            "fsym=BTC&tsym=USD&limit=2001",
            "limit is larger than max value.",
            2,
            "limit",
        ),
        (
            "histohour",
            "fsym=BTC&tsym=USD&limit=x",
            "limit param is not a positive integer.",
            2,
            "limit",
        ),
        (
            "histominute",
            "fsym=BTC&tsym=USD&toTs=1752000000",
            "toTs param is out of range: minute data is only available for the last 7 days.",
            2,
            "toTs",
        ),
        ("histoyear", "fsym=BTC&tsym=USD", "Path does not exist", 1, ""),
    ] {
        let body = call(name, query);
        assert_eq!(body["Response"], "Error", "{query}");
        assert_eq!(body["Message"], message, "{query}");
        assert_eq!(body["Type"], kind, "{query}");
        assert_eq!(body["ParamWithError"].as_str().unwrap_or_default(), parameter, "{query}");
        assert!(body["Data"].as_object().is_some_and(serde_json::Map::is_empty), "{query}");
    }
    let mut calls = Quota::new(Limits { second: 0, ..Limits::REST });
    assert!(!calls.call(NOW));
    let body: Value = serde_json::from_slice(&over_limit(&calls)).unwrap();
    assert_eq!(body["Type"], 99);
    assert_eq!(body["RateLimit"]["calls_made"]["total_calls"], 1);
    assert_eq!(body["RateLimit"]["max_calls"]["day"], 50_000);
}

#[test]
fn rows_before_the_market_opened_are_all_zero() {
    let body = call("histoday", &format!("fsym=BTC&tsym=USD&limit=3&toTs={OPENED_S}"));
    let close = |at: usize| body["Data"][at]["close"].as_f64().unwrap();
    assert_eq!(body["FirstValueInArray"], false);
    assert!(close(0) == 0.0 && close(2) == 0.0 && close(3) > 0.0, "{body}");
}

/// Rows of BTC-USD, four of them asked for, up to an hour ago, with something wrong.
fn twisted(twists: &[RestFault]) -> Vec<(u64, f64)> {
    let market = Market::new(1, 1000, Pair::catalogue());
    let hour_ago = (NOW - 3600).to_string();
    let parameters = HashMap::from(
        [("fsym", "BTC"), ("tsym", "USD"), ("limit", "3"), ("toTs", &hour_ago)]
            .map(|(k, v)| (k.into(), v.into())),
    );
    let body = answer(&market, Version::V1, "histohour", &parameters, NOW, twists);
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(body["Response"], "Success", "{body}");
    let rows = body["Data"].as_array().expect("rows").iter();
    rows.map(|row| (row["time"].as_u64().unwrap(), row["close"].as_f64().unwrap())).collect()
}

#[test]
fn rows_are_twisted_as_ordered() {
    let hour = NOW / 3600 * 3600;
    let rows = twisted(&[]);
    assert_eq!((rows.len(), rows[3].0), (4, hour - 3600));
    assert!(twisted(&[RestFault::NoRows]).is_empty());
    let zero = twisted(&[RestFault::ZeroRows]);
    assert!(zero.iter().zip(&rows).all(|(zero, row)| zero.0 == row.0 && zero.1 == 0.0));
    let boundary = twisted(&[RestFault::BoundaryRow]);
    assert_eq!((boundary.len(), &boundary[..4], boundary[4].0), (5, &rows[..], hour));
    assert!(boundary[4].1 > 0.0);
    let repeated = twisted(&[RestFault::RepeatedRow]);
    assert_eq!((repeated[0], &repeated[1..]), (rows[0], &rows[..]));
    let more = twisted(&[RestFault::MoreRows { rows: 2 }]);
    assert_eq!((&more[2..], more[0].0), (&rows[..], rows[0].0 - 7200));
    let begins = twisted(&[RestFault::HistoryBegins { at: rows[1].0 + 1 }]);
    assert!(begins[1].1 == 0.0 && begins[2] == rows[2], "{begins:?}");
    let both = twisted(&[RestFault::ZeroRows, RestFault::RepeatedRow]);
    assert_eq!((both.len(), both[0].1.to_bits()), (5, 0));
}

#[test]
fn minutes_can_be_kept_for_less_than_a_week() {
    let market = Market::new(1, 1000, Pair::catalogue());
    let old = (NOW - 601).to_string();
    let parameters = HashMap::from(
        [("fsym", "BTC"), ("tsym", "USD"), ("toTs", &old)].map(|(k, v)| (k.into(), v.into())),
    );
    for (seconds, name, refused) in
        [(600, "histominute", true), (601, "histominute", false), (600, "histohour", false)]
    {
        let twists = [RestFault::MinutesKept { seconds }];
        let body = answer(&market, Version::V2, name, &parameters, NOW, &twists);
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(body["ParamWithError"] == "toTs", refused, "{body}");
    }
}
