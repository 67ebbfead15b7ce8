//! `/control/…`, as a test in another process or a person with curl uses it.

use reqwest::Method;
use serde_json::{Value, json};
use tickpanda_exchange::{Exchange, Order};

use crate::common::{Client, KEY, start, synthetic, type_of};

async fn call(exchange: &Exchange, method: Method, path: &str, body: &str) -> (u16, Value) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let url = format!("{}{path}", exchange.rest_url());
    let request = reqwest::Client::new().request(method, url).body(body.to_owned());
    let response = request.send().await.expect("an answer");
    let status = response.status().as_u16();
    (status, serde_json::from_str(&response.text().await.unwrap()).expect("JSON"))
}

#[tokio::test]
async fn faults_are_ordered_listed_and_taken_back() {
    let mut config = synthetic(1);
    config.control = true;
    let exchange = start(config).await;
    let order = r#"{"fault":"unauthorized","count":2}"#;
    let given = call(&exchange, Method::POST, "/control/faults", order).await;
    assert_eq!(given, (200, json!({"id": 1})));
    let order = r#"{"fault":{"rest":{"status":{"status":502}}},"paths":["x"],"for":60000}"#;
    let given = call(&exchange, Method::POST, "/control/faults", order).await;
    assert_eq!(given, (200, json!({"id": 2})));

    let mut client = Client::connect(&exchange).await;
    assert_eq!(type_of(&client.next().await.unwrap()), "401");
    let (_, mut list) = call(&exchange, Method::GET, "/control/faults", "").await;
    assert!(list[1]["left_ms"].as_u64().is_some_and(|ms| (1..=60_000).contains(&ms)), "{list}");
    list[1]["left_ms"] = Value::Null;
    assert_eq!(
        list,
        json!([
            {"id": 1, "fault": "unauthorized", "count": 2, "struck": 1},
            {"id": 2, "fault": {"rest": {"status": {"status": 502}}}, "paths": ["x"], "for": 60000, "struck": 0, "left_ms": null}
        ])
    );
    let one = call(&exchange, Method::DELETE, "/control/faults/1", "").await;
    assert_eq!(one, (200, json!({"cleared": 1})));
    let again = call(&exchange, Method::DELETE, "/control/faults/1", "").await;
    assert_eq!(again, (404, json!({"error": "no fault 1 stands"})));
    let all = call(&exchange, Method::DELETE, "/control/faults", "").await;
    assert_eq!(all, (200, json!({"cleared": 1})));
}

#[tokio::test]
async fn what_can_not_be_ordered_is_refused_with_its_reason() {
    let mut config = synthetic(1);
    config.control = true;
    let exchange = start(config).await;
    for (order, reason) in [
        ("", "no order"),
        (r#"{"fault":"slient"}"#, "unknown variant `slient`"),
        (r#"{"fault":"silent","fro":5}"#, "unknown field `fro`"),
        (r#"{"fault":"silent","for":"soon"}"#, "no length of time"),
        (r#"{"fault":"silent","subs":["0~A~B~C"]}"#, "can't be limited to subs"),
        (r#"{"fault":{"fragments":{"parts":1}}}"#, "2 to 64"),
    ] {
        let (status, body) = call(&exchange, Method::POST, "/control/faults", order).await;
        let error = body["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.contains(reason), "{order}: {status} {body}");
    }
}

#[tokio::test]
async fn a_kick_closes_every_socket_and_the_stats_tell_what_clients_did() {
    let mut config = synthetic(1);
    config.control = true;
    let exchange = start(config).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["0~Coinbase~BTC~USD"]).await;
    client.until("3").await;
    assert_eq!(
        call(&exchange, Method::POST, "/control/kick", "").await,
        (200, json!({"kicked": 1}))
    );
    while client.next().await.is_some() {}
    let (status, report) = call(&exchange, Method::GET, "/control/stats", "").await;
    assert_eq!(status, 200);
    assert!(report["sent"]["0~Coinbase~BTC~USD"].as_u64().is_some_and(|n| n >= 20), "{report}");
    assert_eq!(report["openings"][0]["outcome"], "welcomed");
    assert_eq!(report["openings"][0]["key"], "header");
    assert_eq!(report["messages"][0]["action"], "SubAdd");
    assert_eq!(report["messages"][0]["subs"], json!(["0~Coinbase~BTC~USD"]));
    assert_eq!(report["stats"]["connections"], 1);
    assert!(!report.to_string().contains(KEY));
}

#[tokio::test]
async fn without_being_asked_for_there_is_no_control() {
    let exchange = start(synthetic(1)).await;
    let order = r#"{"fault":"silent"}"#;
    let (_, body) = call(&exchange, Method::POST, "/control/faults", order).await;
    assert_eq!(body["Message"], "Path does not exist");
    assert!(exchange.faults().is_empty());
}

#[test]
fn the_orders_in_the_readme_can_be_carried_out() {
    let readme = include_str!("../../../../README.md");
    let orders: Vec<&str> = readme
        .lines()
        .filter(|line| line.contains("/control/faults"))
        .filter_map(|line| line.strip_prefix("`curl -d '")?.split('\'').next())
        .collect();
    assert_eq!(orders.len(), 2, "{orders:?}");
    for order in orders {
        serde_json::from_str::<Order>(order).expect(order).check().expect(order);
    }
}
