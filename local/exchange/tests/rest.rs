//! REST over HTTP: every answer has status 200, with or without data.

#[allow(dead_code, reason = "each test program uses its part")]
mod common;

use common::{KEY, start, synthetic};
use serde_json::Value;
use tickpanda_exchange::{Exchange, Limits};

async fn get(exchange: &Exchange, path: &str, key: Option<&str>) -> Value {
    // The crate is built without a TLS provider of its own; without one even plain HTTP refuses to start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut request = reqwest::Client::new().get(format!("{}{path}", exchange.rest_url()));
    if let Some(key) = key {
        request = request.header("authorization", format!("Apikey {key}"));
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_str(&response.text().await.expect("a body")).expect("JSON")
}

#[tokio::test]
async fn history_is_served_in_both_versions_with_the_key_in_header_or_query() {
    let exchange = start(synthetic(1)).await;
    for name in ["histominute", "histohour", "histoday"] {
        let v1 =
            get(&exchange, &format!("/data/{name}?fsym=BTC&tsym=USD&limit=10"), Some(KEY)).await;
        assert_eq!(v1["Data"].as_array().unwrap().len(), 11, "{v1}");
        let path = format!("/data/v2/{name}?fsym=ETH&tsym=USD&e=Coinbase&limit=10&api_key={KEY}");
        let v2 = get(&exchange, &path, None).await;
        assert_eq!(v2["Data"]["Data"].as_array().unwrap().len(), 11, "{v2}");
    }
    assert_eq!(exchange.stats().rest_calls, 6);
    exchange.shutdown().await;
}

#[tokio::test]
async fn errors_come_inside_http_200() {
    let mut config = synthetic(1);
    config.rest_limits = Limits { month: 4, ..Limits::NONE };
    let exchange = start(config).await;
    let path = "/data/histohour?fsym=BTC&tsym=USD";
    for (path, key, kind) in [
        (path, None, 1),
        (path, Some("wrong"), 1),
        ("/data/histohour?tsym=USD", Some(KEY), 2),
        ("/data/v2/histoday?fsym=NOPE&tsym=USD", Some(KEY), 2),
        ("/data/nothing?fsym=BTC", Some(KEY), 1),
        (path, Some(KEY), 100),
        (path, Some(KEY), 99),
        ("/elsewhere", Some(KEY), 1),
    ] {
        let body = get(&exchange, path, key).await;
        assert_eq!(body["Type"], kind, "{path}: {body}");
    }
    exchange.shutdown().await;
}
