//! REST bodies, trap by trap.

mod common;
use common::{headers, rest, rest_headers, run};
use tickpanda_transform::Outcome;

const REAL: &str = include_str!("data/histominute-2001.json");

fn row(time: i64, more: &str) -> String {
    format!(
        r#"{{"time":{time},"high":3,"low":1,"open":2,"volumefrom":10,"volumeto":20,"close":2.50{more}}}"#
    )
}

fn v1(rows: &[String]) -> String {
    format!(
        r#"{{"Response":"Success","Type":100,"Data":[{}],"RateLimit":{{}},"HasWarning":false}}"#,
        rows.join(",")
    )
}

fn v2(rows: &[String]) -> String {
    format!(
        r#"{{"Response":"Success","Message":"","HasWarning":false,"Type":100,"RateLimit":{{}},"Data":{{"Aggregated":false,"TimeFrom":1,"TimeTo":2,"Data":[{}]}}}}"#,
        rows.join(",")
    )
}

#[test]
fn a_real_body_of_2001_rows_becomes_2001_candles() {
    let seen = run(Some(REAL.as_bytes()), &rest_headers("1m"), 1_510_494_630_000);
    assert_eq!(seen.outcome, Some(Outcome::Rows { ticks: 0, candles: 2001, bad_rows: false }));
    assert_eq!(
        seen.candles[0],
        (
            "CCCAGG~ETH~BTC".to_owned(),
            r#"{"bucket":"2017-11-11T04:30:00.000Z","symbol":"ETHBTC","open":0.00225916,"high":0.00227293,"low":0.00225916,"close":0.00227293,"volume":259.67976447,"interval":"1m","market":"CCCAGG","base":"ETH","quote":"BTC","quote_volume":0.58844603,"closed":true,"received_at":1510494630000}"#.to_owned()
        )
    );
    // 1510494600 is in progress; the vendor may still repeat an older answer of 1510494540.
    let open = seen.candles.iter().position(|(_, json)| json.contains(r#""closed":false"#));
    assert_eq!(open, Some(1999));
    assert!(seen.candles[2000].1.contains(r#""closed":false"#));
    // Every number of every row is there, digit for digit.
    let mut rows = REAL.split(r#"{"time":"#).skip(1);
    for (_, json) in &seen.candles {
        let row = rows.next().unwrap();
        for (theirs, ours) in [
            ("open", "open"),
            ("high", "high"),
            ("low", "low"),
            ("close", "close"),
            ("volumefrom", "volume"),
            ("volumeto", "quote_volume"),
        ] {
            let number = row.split(&format!(r#""{theirs}":"#)).nth(1).unwrap();
            let number = &number[..number.find([',', '}']).unwrap()];
            assert!(
                json.contains(&format!(r#""{ours}":{number},"#)),
                "{theirs} {number} in {json}"
            );
        }
    }
}

#[test]
fn v1_and_v2_bodies_are_the_same_candles() {
    let rows = [row(1_753_190_220, ""), row(1_753_190_280, "")];
    assert_eq!(rest(v1(&rows)).candles.len(), 2);
    assert_eq!(rest(v1(&rows)), rest(v2(&rows)));
}

#[test]
fn a_candle_is_closed_after_its_period_and_the_vendors_cache() {
    for (interval, seconds, cache) in
        [("1m", 60, 40), ("5m", 300, 40), ("1h", 3600, 610), ("1d", 86_400, 610)]
    {
        let body = v1(&[row(1_700_000_000, "")]);
        let end = (1_700_000_000 + seconds + cache) * 1000;
        for (received, closed) in [(end, true), (end - 1, false)] {
            let candle = run(Some(body.as_bytes()), &rest_headers(interval), received).candle();
            assert_eq!(candle["closed"], closed, "{interval} {received}");
            assert_eq!(candle["interval"], interval);
        }
    }
}

#[test]
fn converted_rows_are_marked_and_direct_ones_not() {
    for (own, marked) in [
        (r#","conversionType":"direct","conversionSymbol":"""#, "null"),
        (r#","conversionType":"invert""#, "\"invert\""),
        (r#","conversionType":"multiply","conversionSymbol":"BTC""#, "\"multiply\""),
        (r#","conversionType":"invert_multiply""#, "\"invert_multiply\""),
        (r#","conversionType":"force_direct""#, "\"force_direct\""),
        (r#","conversionType":"""#, "null"),
        ("", "null"),
    ] {
        let candle = rest(v1(&[row(1_753_190_220, own)])).candle();
        assert_eq!(
            candle.get("conversion").unwrap_or(&serde_json::Value::Null).to_string(),
            marked
        );
    }
}

#[test]
fn a_row_that_names_no_conversion_has_the_bodys() {
    for top in [r#"{"type":"multiply","conversionSymbol":"BTC"}"#, r#""multiply""#] {
        let body =
            v1(&[row(1_753_190_220, ""), row(1_753_190_280, r#","conversionType":"direct""#)]);
        let body = body.replacen("{", &format!(r#"{{"ConversionType":{top},"#), 1);
        let seen = rest(body);
        assert!(seen.candles[0].1.contains(r#""conversion":"multiply""#));
        assert!(!seen.candles[1].1.contains("conversion"));
    }
}

#[test]
fn both_error_envelopes_are_dead_letters_with_the_vendors_message() {
    for (body, message) in [
        (
            r#"{"Response":"Error","Message":"There is no data for the symbol BTC999 .","HasWarning":false,"Type":2,"RateLimit":{},"Data":{},"ParamWithError":"fsym"}"#,
            "There is no data for the symbol BTC999 .",
        ),
        (
            r#"{"Data":{},"Err":{"type":2,"message":"API key required, please refer to the documentation at https://developers.coindesk.com/","http_status_code":401,"frontend":{}}}"#,
            "API key required, please refer to the documentation at https://developers.coindesk.com/",
        ),
        (r#"{"Response":"Error","Message":"two\nlines","Data":[]}"#, "two lines"),
        (r#"{"Response":"Error"}"#, "an error without a message"),
        (r#"{"Response":"Error","Message":{"a":1}}"#, "an error without a message"),
        (r#"{"Response":"success","Message":"odd","Data":[]}"#, "odd"),
        (r#"{"Response":1,"Message":"odd","Data":[]}"#, "odd"),
    ] {
        assert_eq!(rest(body).rejected(), ("vendor_error".to_owned(), message.to_owned()));
        let letter = &rest(body).letters[0];
        assert_eq!(letter.value.as_deref(), Some(body.as_bytes()));
        assert_eq!(letter.header("interval").as_deref(), Some("1m"));
    }
}

#[test]
fn every_public_answer_has_the_outcome_that_its_response_says() {
    for line in include_str!("data/bodies.jsonl").lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let raw = line["raw"].as_str().unwrap();
        let body: serde_json::Value = serde_json::from_str(raw).unwrap();
        let headers = rest_headers(line["interval"].as_str().unwrap());
        let seen = run(Some(raw.as_bytes()), &headers, 1_767_411_240_000);
        if body["Response"] == "Success" {
            let rows = body["Data"].as_array().or(body["Data"]["Data"].as_array()).unwrap();
            assert_eq!(seen.candles.len(), rows.len(), "{raw}");
            assert!(seen.letters.is_empty() && !seen.candles[0].1.contains("conversion"));
        } else {
            let message = body["Message"].as_str().or(body["Err"]["message"].as_str()).unwrap();
            assert_eq!(seen.rejected(), ("vendor_error".to_owned(), message.to_owned()));
        }
    }
}

#[test]
fn prices_that_contradict_each_other_are_the_vendors_data() {
    // Real minutes of 2018: the open is the previous close, high and low are of the period.
    for (open, high, low, close) in [
        ("6250.308944432027", "6250.252094881613", "6240.1", "6245"),
        ("6189.526529700908", "6195", "6189.903645170898", "6192.25"),
        ("2", "2", "1", "3"),
        ("0", "3", "0", "2.5"),
    ] {
        let more = format!(r#","open":{open},"high":{high},"low":{low},"close":{close}"#);
        let json = &rest(v1(&[row(1_753_190_220, &more)])).candles[0].1;
        let prices = format!(r#""open":{open},"high":{high},"low":{low},"close":{close},"#);
        assert!(json.contains(&prices), "{json}");
    }
}

#[test]
fn numbers_keep_every_digit_so_that_no_row_changes_on_the_way() {
    let names = ["open", "high", "low", "close", "volumefrom", "volumeto"];
    for digits in
        ["63240", "234.71999999999998", "314.0696364399999", "1.29e-05", "9007199254740993"]
    {
        for written in [digits.to_owned(), format!("\"{digits}\"")] {
            let more = names.map(|name| format!(r#","{name}":{written}"#)).concat();
            let json = &rest(v1(&[row(1_753_190_220, &more)])).candles[0].1;
            for name in ["open", "high", "low", "close", "volume", "quote_volume"] {
                assert!(json.contains(&format!(r#""{name}":{digits},"#)), "{name} in {json}");
            }
        }
    }
}

#[test]
fn zero_rows_between_good_ones_are_gaps_and_not_faults() {
    let zero =
        r#"{"time":1753190280,"high":0,"low":0,"open":0,"volumefrom":0,"volumeto":0,"close":0}"#;
    let rows = [zero.to_owned(), row(1_753_190_220, ""), zero.to_owned(), row(1_753_190_340, "")];
    let seen = rest(v1(&rows));
    assert_eq!(seen.outcome, Some(Outcome::Rows { ticks: 0, candles: 2, bad_rows: false }));
    // Before 2009, or without a time's sense: zero all the same, so no fault either.
    let early = zero.replace("1753190280", "0");
    assert!(rest(v1(&[early])).is_nothing());
}

#[test]
fn a_missing_volume_is_null_never_zero() {
    for absent in ["", r#","volumefrom":null,"volumeto":null"#] {
        let row =
            format!(r#"{{"time":1753190220,"high":3,"low":1,"open":2,"close":2.50{absent}}}"#);
        let candle = rest(v1(&[row])).candle();
        assert!(candle["volume"].is_null());
        assert_eq!(candle.get("quote_volume"), None);
    }
}

#[test]
fn the_last_of_repeated_names_counts_and_unknown_ones_never_matter() {
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let usual = rest(v1(&[row(1_753_190_220, "")]));
    let odd = format!(r#","deep":{deep},"Data":[],"open":9,"open":2,"sign":{{"time":1}}"#);
    let body = v1(&[row(1_753_190_220, &odd)]).replacen(
        '{',
        &format!(r#"{{"Response":"Error","Data":{{}},"Err":{{"message":"x"}},"more":{deep},"#),
        1,
    );
    assert_eq!(rest(body), usual);
}

#[test]
fn a_long_message_does_not_make_a_long_header() {
    for length in [600, 5000] {
        let body = format!(r#"{{"Response":"Error","Message":"{}"}}"#, "é".repeat(length / 2));
        assert!(rest(body).rejected().1.len() < 600);
    }
}

#[test]
fn bodies_of_unknown_form_are_bad_bodies() {
    for body in [
        r#"{"Response":"Success"}"#,
        r#"{"Response":"Success","Data":null}"#,
        r#"{"Response":"Success","Data":"no"}"#,
        r#"{"Response":"Success","Data":{"Rows":[]}}"#,
        r#"{"Response":"Success","Data":{"Data":1}}"#,
        r#"{"Data":[]}"#,
        r#"{"Err":{}}"#,
        r#"{"TYPE":"0"}"#,
    ] {
        assert_eq!(rest(body).rejected().0, "bad_body", "{body}");
    }
}

#[test]
fn a_body_without_rows_is_nothing() {
    for body in [
        "{}",
        r#"{"Response":"Success","Data":[]}"#,
        r#"{"Response":"Success","Data":{}}"#,
        r#"{"Response":"Success","Data":{"TimeFrom":1,"Data":[]}}"#,
        r#"{"Response":"Success","Data":{"TimeFrom":1,"Data":{}}}"#,
        r#"{"Response":"Success","Data":[{"time":1000,"high":0,"low":0,"open":0,"volumefrom":0,"volumeto":0,"close":0.0}]}"#,
    ] {
        assert!(rest(body).is_nothing(), "{body}");
    }
}

#[test]
fn a_body_needs_the_headers_that_say_what_it_is_about() {
    let body = v1(&[row(1_753_190_220, "")]);
    for name in ["market", "base", "quote", "interval"] {
        for bad in [None, Some(Some(&b""[..])), Some(Some(&b"\xff"[..])), Some(None)] {
            let mut headers = rest_headers("1m");
            headers.retain(|(key, _)| key != name.as_bytes());
            if let Some(value) = bad {
                headers.push((name.as_bytes().to_vec(), value.map(<[u8]>::to_vec)));
            }
            let (reason, detail) =
                run(Some(body.as_bytes()), &headers, 1_753_190_418_708).rejected();
            assert_eq!(reason, "bad_body");
            assert!(detail.contains(name), "{detail}");
        }
    }
    let mut headers = rest_headers("1w");
    assert_eq!(run(Some(body.as_bytes()), &headers, 0).rejected().0, "bad_body");
    // Of repeated headers the last counts.
    headers.push((b"interval".to_vec(), Some(b"1h".to_vec())));
    assert_eq!(run(Some(body.as_bytes()), &headers, 1_753_190_418_708).candle()["interval"], "1h");
}

#[test]
fn a_body_on_the_wrong_feed_is_a_bad_body() {
    let body = v1(&[row(1_753_190_220, "")]);
    for feed in ["ws", "REST", ""] {
        let seen = run(Some(body.as_bytes()), &headers(&[("feed", feed)]), 1_753_190_418_708);
        assert_eq!(seen.rejected().0, "bad_body");
    }
}

#[test]
fn good_rows_are_emitted_and_the_bad_ones_named_in_one_dead_letter() {
    let good = || row(1_753_190_220, "");
    let bad = [
        (r#"{"time":1753190220,"high":3,"low":1,"open":2}"#.to_owned(), "close is missing"),
        (row(1, ""), "time is before 2009"),
        (row(1_853_190_220, ""), "time is more than a day after receipt"),
        (row(1_753_190_220, r#","high":"x""#), "high is text, but not a number"),
        (row(1_753_190_220, r#","low":1e999"#), "low is no finite number"),
        (row(1_753_190_220, r#","time":null"#), "time is missing"),
        ("7".to_owned(), "is no object"),
        (
            row(1_753_190_220, r#","conversionType":[]"#),
            "conversionType is neither text nor a number",
        ),
    ];
    for (row, fault) in &bad {
        let body = v1(&[good(), row.clone(), good()]);
        let seen = rest(&body);
        assert_eq!(seen.outcome, Some(Outcome::Rows { ticks: 0, candles: 2, bad_rows: true }));
        let detail = seen.letters[0].header("detail").unwrap();
        assert!(detail.starts_with("1 bad rows; row 1 (") && detail.ends_with(fault), "{detail}");
        assert_eq!(seen.letters[0].header("reason").as_deref(), Some("bad_rows"));
        assert_eq!(seen.letters[0].value.as_deref(), Some(body.as_bytes()));
        // Without a good row, the same body is rejected.
        assert_eq!(rest(v1(std::slice::from_ref(row))).rejected().0, "bad_rows");
    }
}

#[test]
fn however_many_bad_rows_make_one_short_dead_letter() {
    let rows: Vec<String> = (0..2001).map(|i| row(i, "")).collect();
    let (reason, detail) = rest(v1(&rows)).rejected();
    assert_eq!(reason, "bad_rows");
    assert!(detail.starts_with("2001 bad rows; row 0 (out_of_range): time is before 2009; row 1 "));
    assert!(detail.ends_with("; and 1993 more") && detail.len() < 1000, "{detail}");
}

#[test]
fn no_row_leaves_a_body_that_is_rejected() {
    let whole = v1(&[row(1_753_190_220, ""), row(1_753_190_280, "")]);
    for end in 1..whole.len() {
        assert_eq!(rest(&whole[..end]).rejected().0, "not_json", "cut at {end}");
    }
    assert_eq!(rest(format!("{whole}x")).rejected().0, "not_json");
}

#[test]
fn a_body_whose_conversion_can_not_be_read_is_rejected() {
    for conversion in [r#""\ud800""#, "[]", "{\"type\":[]}", &format!("\"{}\"", "x".repeat(65))] {
        let body = format!(
            r#"{{"Response":"Success","ConversionType":{conversion},"Data":[{{"time":1510374600,"open":1,"high":1,"low":1,"close":1}}]}}"#
        );
        assert_eq!(rest(&body).rejected().0, "bad_body", "{conversion}");
    }
}
