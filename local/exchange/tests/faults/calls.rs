//! REST calls that go wrong.

use std::time::{Duration, Instant};

use reqwest::Response;
use serde_json::Value;
use tickpanda_exchange::{Exchange, Fault, KeyShown, Order, RestError, RestFault};

use crate::common::{DEADLINE, KEY, eventually, start, synthetic};

const PATH: &str = "/data/v2/histohour?fsym=BTC&tsym=USD&limit=10";

fn client() -> reqwest::Client {
    // The crate is built without a TLS provider of its own; without one even plain HTTP refuses to start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(DEADLINE).build().expect("a client")
}

async fn get(exchange: &Exchange, path: &str) -> reqwest::Result<Response> {
    let request = client().get(format!("{}{path}", exchange.rest_url()));
    request.header("authorization", format!("Apikey {KEY}")).send().await
}

/// Status and body.
async fn body(exchange: &Exchange, path: &str) -> (u16, String) {
    let response = get(exchange, path).await.expect("an answer");
    (response.status().as_u16(), response.text().await.expect("a body"))
}

fn once(fault: RestFault) -> Order {
    Order::new(Fault::Rest(fault)).times(1)
}

#[tokio::test]
async fn each_error_comes_once_with_its_status_and_then_the_truth() {
    let exchange = start(synthetic(1)).await;
    for error in RestError::ALL {
        exchange.fault(once(RestFault::Error(error))).unwrap();
        let (status, text) = body(&exchange, PATH).await;
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_ne!(json["Response"], "Success", "{error:?}");
        let expected = match error {
            RestError::Unauthorized2026 => 401,
            RestError::Http550 => 550,
            _ => 200,
        };
        assert_eq!(status, expected, "{error:?}");
        let (status, text) = body(&exchange, PATH).await;
        assert!(status == 200 && text.contains(r#""Response":"Success""#), "{text}");
    }
}

#[tokio::test]
async fn what_a_proxy_or_a_broken_server_sends_is_sent() {
    let exchange = start(synthetic(1)).await;
    for (fault, status, start) in [
        (r#"{"status":{"status":502}}"#, 502, "<html>"),
        (r#"{"status":{"status":503}}"#, 503, "<html>"),
        (r#"{"rate_limit":{"status":429}}"#, 429, r#"{"Response":"Error""#),
        (r#"{"rate_limit":{"period":"day"}}"#, 200, r#"{"Response":"Error""#),
        (r#""not_json""#, 200, "<html>"),
        (r#""truncated_json""#, 200, r#"{"Response":"Success""#),
    ] {
        exchange.fault(once(serde_json::from_str(fault).expect(fault))).unwrap();
        let (got, text) = body(&exchange, PATH).await;
        assert!(got == status && text.starts_with(start), "{fault}: {got} {text}");
        let sound = serde_json::from_str::<Value>(&text).is_ok();
        assert_eq!(sound, fault.contains("rate_limit"), "{fault}: {text}");
    }
    exchange.fault(once(RestFault::EmptyBody)).unwrap();
    assert_eq!(body(&exchange, PATH).await, (200, String::new()));
}

#[tokio::test]
async fn a_call_that_is_never_answered_waits_until_the_client_or_the_fault_gives_up() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Fault::Rest(RestFault::NoAnswer)).unwrap();
    let request = client().get(format!("{}{PATH}", exchange.rest_url()));
    let error = request.timeout(Duration::from_millis(200)).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    exchange.clear_all();
    // For a time: the connection is closed at its end.
    let order = Order::new(Fault::Rest(RestFault::NoAnswer)).lasting(Duration::from_millis(200));
    exchange.fault(order).unwrap();
    let begun = Instant::now();
    let error = get(&exchange, PATH).await.unwrap_err();
    assert!(!error.is_timeout() && begun.elapsed() >= Duration::from_millis(190), "{error:?}");
    assert_eq!(body(&exchange, PATH).await.0, 200);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_calls_without_an_answer() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(Fault::Rest(RestFault::NoAnswer)).unwrap();
    let request = client().get(format!("{}{PATH}", exchange.rest_url())).send();
    let call = tokio::spawn(request);
    eventually(|| exchange.stats().rest_calls == 1).await;
    tokio::time::timeout(DEADLINE, exchange.shutdown()).await.expect("shuts down");
    assert!(call.await.unwrap().is_err());
}

#[tokio::test]
async fn a_connection_is_dropped_before_and_in_the_middle_of_an_answer() {
    let exchange = start(synthetic(1)).await;
    exchange.fault(once(RestFault::DropAtOnce)).unwrap();
    assert!(get(&exchange, PATH).await.is_err());
    exchange.fault(once(RestFault::HalfBody)).unwrap();
    let mut response = get(&exchange, PATH).await.expect("a head");
    let promised: usize = response.content_length().unwrap().try_into().unwrap();
    let mut got = 0;
    let error = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => got += chunk.len(),
            Ok(None) => panic!("it looks whole"),
            Err(error) => break error,
        }
    };
    assert_eq!(got, promised / 2, "{error}");
    let (_, whole) = body(&exchange, PATH).await;
    assert_eq!(whole.len(), promised);
}

#[tokio::test]
async fn a_slow_body_comes_in_drops_and_whole() {
    let exchange = start(synthetic(1)).await;
    let (_, truth) = body(&exchange, PATH).await;
    exchange.fault(once(RestFault::SlowBody { bytes: 300, every: 20 })).unwrap();
    let begun = Instant::now();
    let (_, slow) = body(&exchange, PATH).await;
    // The last row is in progress.
    assert_eq!(slow[..1000], truth[..1000]);
    assert!(slow.ends_with("]}}"));
    let drops = u32::try_from(slow.len() / 300).unwrap();
    assert!(begun.elapsed() >= drops * Duration::from_millis(20), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn rows_can_be_wrong_where_the_path_says_so() {
    let exchange = start(synthetic(1)).await;
    let rows = |text: &str| {
        let body: Value = serde_json::from_str(text).expect("JSON");
        let rows = body["Data"]["Data"].as_array().expect("rows").clone();
        let zero = rows.iter().filter(|row| row["close"].as_f64() == Some(0.0)).count();
        (rows.len(), zero)
    };
    let truth = (11, 0);
    for (fault, expected) in [
        (RestFault::NoRows, (0, 0)),
        (RestFault::ZeroRows, (11, 11)),
        (RestFault::RepeatedRow, (12, 0)),
        (RestFault::MoreRows { rows: 5 }, (16, 0)),
        (RestFault::HistoryBegins { at: u64::MAX }, (11, 11)),
    ] {
        let id = exchange.fault(Order::new(Fault::Rest(fault)).on_paths(["histohour"])).unwrap();
        assert_eq!(rows(&body(&exchange, PATH).await.1), expected);
        let other = PATH.replace("histohour", "histoday");
        assert_eq!(rows(&body(&exchange, &other).await.1), truth);
        exchange.clear(id);
    }
    assert_eq!(rows(&body(&exchange, PATH).await.1), truth);
}

#[tokio::test]
async fn every_call_is_written_down_without_its_key() {
    let exchange = start(synthetic(1)).await;
    body(&exchange, PATH).await;
    exchange.fault(once(RestFault::Status { status: 502 })).unwrap();
    let url = format!("{}{PATH}&api_key={KEY}", exchange.rest_url());
    client().get(url).send().await.expect("an answer");
    let report = exchange.report();
    let calls: Vec<_> = report
        .calls
        .iter()
        .map(|call| (call.path.as_str(), call.key, call.status, call.fault.as_deref()))
        .collect();
    assert_eq!(
        calls,
        [(PATH, KeyShown::Header, 200, None), (PATH, KeyShown::Url, 502, Some("rest.status")),]
    );
    assert!(!serde_json::to_string(&report).unwrap().contains(KEY));
}
