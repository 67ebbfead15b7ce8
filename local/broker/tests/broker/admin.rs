//! The Admin API: what rpk's client sends is answered, and done, as Redpanda would.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::DeleteTopicsRequest;
use rskafka::client::partition::Compression;
use serde_json::{Value, json};
use tickpanda_broker::{
    Broker, BrokerConfig, BrokerError, StartFrom, TransformSpec, TransformTiming,
};

use crate::transform::{IDENTITY, tee};
use crate::util::{
    Raw, batch, batch_at, copy_dir, name, partition, read_from, record, until, value,
};

/// A client of the Admin API.
struct Client {
    http: reqwest::Client,
    base: String,
}

/// Status and body.
type Answer = (u16, Value);

impl Client {
    fn new(broker: &Broker) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { http, base: format!("http://{}", broker.admin_addr().expect("an Admin API")) }
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let method = method.parse().expect("a method");
        let url = format!("{}{path}", self.base);
        let answer = self.http.request(method, url).body(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let text = answer.text().await.expect("a body");
        let body = match text.as_str() {
            "" => Value::Null,
            text => serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
        };
        (status, body)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.call("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {body}");
        body
    }

    /// The head with the module at once behind it.
    async fn deploy(&self, head: &Value, module: &[u8]) -> Answer {
        let mut body = head.to_string().into_bytes();
        body.extend_from_slice(module);
        self.call("POST", "/v1/transform/deploy", body).await
    }

    async fn patch(&self, name: &str, patch: &Value) -> Answer {
        self.call("PUT", &format!("/v1/transform/{name}/meta"), patch.to_string()).await
    }

    async fn delete(&self, name: &str) -> Answer {
        self.call("DELETE", &format!("/v1/transform/{name}"), "").await
    }

    async fn list(&self) -> Vec<Value> {
        self.get("/v1/transform/").await.as_array().expect("a list").clone()
    }

    /// Waits until every partition of a transform is in a state, and has nothing left to do.
    async fn is(&self, name: &str, state: &str) {
        until(&format!("{name} is {state}"), || async {
            let list = self.list().await;
            let it = list.iter().find(|it| it["name"] == name).expect("it is deployed");
            let partitions = it["status"].as_array().unwrap();
            partitions.iter().all(|it| it["status"] == state && it["lag"] == 0)
        })
        .await;
    }
}

const DONE: Answer = (200, Value::Null);

fn refused(message: &str) -> Answer {
    (400, json!({ "message": message, "code": 400 }))
}

fn module(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("the guest is valid text")
}

fn identity() -> Vec<u8> {
    module(IDENTITY)
}

/// From `in` to `out`, from the beginning.
fn head(name: &str) -> Value {
    json!({
        "name": name, "input_topic": "in", "output_topics": ["out"],
        "offset": { "format": "from_start", "value": 0 },
    })
}

fn with(mut head: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    head.as_object_mut().unwrap().extend(more);
    head
}

fn config(dir: &Path) -> BrokerConfig {
    let listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    BrokerConfig { admin_listen: listen, ..BrokerConfig::new(dir) }
}

async fn start(dir: &Path) -> Broker {
    Broker::start(config(dir)).await.expect("the broker starts")
}

/// A broker with topics of two partitions.
async fn topics(dir: &Path) -> Broker {
    let broker = start(dir).await;
    for topic in ["in", "out", "other"] {
        broker.create_topic(topic, 2, &[]).unwrap();
    }
    broker
}

async fn produce(broker: &Broker, partition: i32, values: &[&[u8]]) {
    let mut raw = Raw::connect(broker.addr()).await;
    assert_eq!(raw.produce("in", partition, batch(values)).await.error_code, 0);
}

async fn values(broker: &Broker, topic: &str, index: i32) -> Vec<String> {
    let client = partition(broker.addr(), topic, index).await;
    let records = read_from(&client, 0, 1 << 20).await;
    records.iter().map(|it| String::from_utf8_lossy(value(it)).into_owned()).collect()
}

#[tokio::test]
async fn what_is_deployed_over_http_runs_and_is_listed_as_redpanda_lists_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    assert_eq!(client.get("/v1/transform").await, json!([]));
    produce(&broker, 0, &[b"a", b"b"]).await;
    produce(&broker, 1, &[b"c"]).await;
    let env = json!([{ "key": "K", "value": "V" }, { "key": "K", "value": "W" }]);
    let more =
        json!({ "environment": env, "compression": "lz4", "output_topics": ["out", "other"] });
    assert_eq!(client.deploy(&with(head("second"), more), &identity()).await, DONE);
    assert_eq!(client.deploy(&head("a first"), &identity()).await, DONE);
    client.is("second", "running").await;
    client.is("a first", "running").await;
    let status = json!([
        { "node_id": 0, "partition": 0, "status": "running", "lag": 0 },
        { "node_id": 0, "partition": 1, "status": "running", "lag": 0 },
    ]);
    let expected = json!([
        {
            "name": "second", "input_topic": "in", "output_topics": ["out", "other"],
            "status": status, "environment": [{ "key": "K", "value": "W" }], "compression": "lz4",
        },
        {
            "name": "a first", "input_topic": "in", "output_topics": ["out"],
            "status": status, "environment": [], "compression": "none",
        },
    ]);
    for path in ["/v1/transform", "/v1/transform/"] {
        assert_eq!(client.get(path).await, expected, "{path}");
    }
    assert_eq!(broker.watermarks("out"), [(0, 4), (0, 2)], "both have run");
    // A name is percent-encoded in a path, and a transform that is not there is removed all the same.
    for _ in 0..2 {
        assert_eq!(client.delete("a%20first").await, DONE);
    }
    assert_eq!(client.list().await.len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_rule_is_answered_with_redpandas_sentence() {
    const CONFIGURATION: &str = "Invalid create transform configuration";
    const ENVIRONMENT: &str = "Invalid transform environment";
    const UPDATE: &str = "Invalid update to transform, topic configuration cannot change";
    const MISSING: &str = "Topic does not exists";
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    for topic in ["__consumer_offsets", "_schemas", "deep"] {
        broker.create_topic(topic, 1, &[]).unwrap();
    }
    let eight: Vec<String> = (0..9).map(|n| format!("out-{n}")).collect();
    for topic in &eight {
        broker.create_topic(topic, 1, &[]).unwrap();
    }
    let client = Client::new(&broker);
    assert_eq!(client.deploy(&head("there"), &identity()).await, DONE);
    let chain = json!({ "input_topic": "out", "output_topics": ["deep"] });
    assert_eq!(client.deploy(&with(head("chained"), chain), &identity()).await, DONE);

    let variable =
        |key: &str, value: &str| json!({ "environment": [{ "key": key, "value": value }] });
    let many: Vec<Value> =
        (0..129).map(|n| json!({ "key": format!("K{n}"), "value": "V" })).collect();
    let (long, longer) = ("x".repeat(129), "x".repeat(2049));
    for (more, answer) in [
        (json!({ "input_topic": "missing" }), MISSING),
        (json!({ "output_topics": ["out", "missing"] }), MISSING),
        (json!({ "output_topics": [] }), CONFIGURATION),
        (json!({ "output_topics": ["out", "out"] }), CONFIGURATION),
        (json!({ "output_topics": eight }), CONFIGURATION),
        (json!({ "output_topics": ["in"] }), CONFIGURATION),
        (json!({ "input_topic": "deep", "output_topics": ["in"] }), CONFIGURATION),
        (json!({ "input_topic": "__consumer_offsets" }), CONFIGURATION),
        (json!({ "output_topics": ["__consumer_offsets"] }), CONFIGURATION),
        (json!({ "output_topics": ["_schemas"] }), CONFIGURATION),
        (json!({ "name": "" }), CONFIGURATION),
        (json!({ "name": long }), CONFIGURATION),
        (json!({ "name": "a\nb" }), CONFIGURATION),
        (json!({ "environment": many }), ENVIRONMENT),
        (variable("", "v"), ENVIRONMENT),
        (variable(&long, "v"), ENVIRONMENT),
        (variable("a=b", "v"), ENVIRONMENT),
        (variable("a\tb", "v"), ENVIRONMENT),
        (variable("REDPANDA_X", "v"), ENVIRONMENT),
        (variable("k", ""), ENVIRONMENT),
        (variable("k", &longer), ENVIRONMENT),
        (variable("k", "two\nlines"), ENVIRONMENT),
        (json!({ "name": "there", "input_topic": "other" }), UPDATE),
        (json!({ "name": "there", "output_topics": ["other"] }), UPDATE),
        (json!({ "name": "there", "output_topics": ["out", "other"] }), UPDATE),
        (
            json!({ "offset": { "format": "from_end", "value": -1 } }),
            "Bad offset: expected value >= 0, got -1",
        ),
        (
            json!({ "offset": { "format": "timestamp", "value": i64::MAX } }),
            "Bad offset: Timestamp value out of range (9223372036854775807)",
        ),
    ] {
        let answered = client.deploy(&with(head("new"), more.clone()), &identity()).await;
        assert_eq!(answered, refused(answer), "{more}");
    }
    let eight = json!({ "output_topics": eight[..8] });
    assert_eq!(client.deploy(&with(head("eight"), eight), &identity()).await, DONE);

    // The three modules with which Redpanda tests this, from their base64, and a registry of a version that nobody knows.
    let registry = IDENTITY.replacen(
        "(memory (export",
        "(import \"redpanda_schema_registry\" \"check_abi_version_7\" (func)) (memory (export",
        1,
    );
    for (module, answer) in [
        (&b"no wasm"[..], "invalid WebAssembly module"),
        (b" \0asm\x01\0\0\0", "invalid WebAssembly module"),
        (
            b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\xeb\x79\xe8\x1e\x8d",
            "invalid WebAssembly module",
        ),
        (
            b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x0a\x01\x06addTwo\0\0\x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b",
            "invalid WebAssembly - missing required WASI functions",
        ),
        (
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b",
            "Invalid WebAssembly - the binary is missing required transform functions. Check the broker support for the version of the Data Transforms SDK being used.",
        ),
        (
            &module(&registry),
            "Invalid WebAssembly - the binary is using an unsupported Schema Registry client. Does the broker support this version of the Data Transforms Schema Registry SDK?",
        ),
    ] {
        assert_eq!(client.deploy(&head("new"), module).await, refused(answer));
    }

    for n in client.list().await.len()..10 {
        assert_eq!(client.deploy(&head(&format!("t{n}")), &identity()).await, DONE);
    }
    let full = "The limit of transforms has been reached (10), more memory must be configured via data_transforms_per_core_memory_reservation";
    assert_eq!(client.deploy(&head("new"), &identity()).await, refused(full));
    assert_eq!(client.deploy(&head("there"), &identity()).await, DONE, "an update is no more");

    for (patch, answer) in [
        (variable("k", "v"), None),
        (json!({ "env": [{ "key": "REDPANDA_X", "value": "v" }] }), Some(ENVIRONMENT)),
        (json!([]), Some("Request body is not a JSON object")),
    ] {
        let (status, body) = client.patch("there", &patch).await;
        let words = answer.unwrap_or("invalid JSON request body");
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().starts_with(words), "{patch}: {body}");
    }
    let pause = json!({ "is_paused": true });
    assert_eq!(client.patch("missing", &pause).await, refused("Transform does not exist"));
    assert_eq!(client.patch("missing", &json!({})).await, DONE, "nothing is nothing to do");
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_module_that_is_too_large_is_refused_and_a_body_without_end_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    let mut large = identity();
    // A custom section, which says nothing.
    let padding = 10 << 20;
    large.extend_from_slice(&[0, 0x80, 0x80, 0x80, 0x05]);
    large.resize(large.len() + padding, 0);
    let answer = client.deploy(&head("large"), &large).await;
    let message = "Unexpected cluster error: Invalid request";
    assert_eq!(answer, (500, json!({ "message": message, "code": 500 })));
    large.resize(40 << 20, 0);
    // Who goes on sending may not get to read the answer.
    let mut body = head("large").to_string().into_bytes();
    body.extend_from_slice(&large);
    let request = client.http.post(format!("{}/v1/transform/deploy", client.base)).body(body);
    if let Ok(answer) = request.send().await {
        assert_eq!(answer.status().as_u16(), 413);
    }
    assert_eq!(client.get("/v1/transform").await, json!([]));
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn transforms_run_again_after_kill_9_without_anybody_deploying_them() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    produce(&broker, 0, &[b"a"]).await;
    assert_eq!(client.deploy(&head("first"), &identity()).await, DONE);
    let chain = json!({ "input_topic": "out", "output_topics": ["other"] });
    assert_eq!(client.deploy(&with(head("second"), chain), &identity()).await, DONE);
    assert_eq!(client.deploy(&head("gone"), &identity()).await, DONE);
    let paused = json!({ "environment": [{ "key": "K", "value": "V" }], "compression": "zstd" });
    assert_eq!(client.deploy(&with(head("paused"), paused), &identity()).await, DONE);
    // One that the program deploys which holds the broker is that program's.
    let ours = TransformSpec {
        name: "in process".to_owned(),
        wasm: identity(),
        input_topic: "in".to_owned(),
        output_topics: vec!["out".to_owned()],
        env: vec![],
        start: StartFrom::Latest,
    };
    broker.deploy(ours).await.unwrap();
    client.is("gone", "running").await;
    client.is("paused", "running").await;
    assert_eq!(client.patch("paused", &json!({ "is_paused": true })).await, DONE);
    assert_eq!(client.delete("gone").await, DONE);
    // An update, of which the old module is left.
    assert_eq!(client.deploy(&head("first"), &identity()).await, DONE);
    client.is("first", "running").await;
    until("it is through", || async { broker.watermarks("other")[0].1 == 3 }).await;
    let before: Vec<Value> = client.list().await;
    let crashed = tempfile::tempdir().unwrap();
    copy_dir(dir.path(), crashed.path());
    std::fs::write(crashed.path().join("deployed/left-over.new"), b"half").unwrap();
    broker.shutdown().await.unwrap();

    for dir in [crashed.path(), dir.path()] {
        let broker = start(dir).await;
        let client = Client::new(&broker);
        client.is("first", "running").await;
        client.is("second", "running").await;
        client.is("paused", "inactive").await;
        let list = client.list().await;
        let names: Vec<&Value> = list.iter().map(|it| &it["name"]).collect();
        assert_eq!(names, ["first", "second", "paused"]);
        assert_eq!(list, before[..3], "as they were");
        let end = broker.watermarks("other")[0].1;
        produce(&broker, 0, &[b"b"]).await;
        until("the chain runs", || async { broker.watermarks("other")[0].1 > end }).await;
        assert_eq!(values(&broker, "other", 0).await.last().unwrap(), "b");
        let modules = std::fs::read_dir(dir.join("deployed")).unwrap();
        assert_eq!(modules.count(), 6, "a record and a module for each, nothing else");
        broker.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn a_kept_transform_whose_module_is_lost_is_unknown_and_the_broker_serves_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    assert_eq!(Client::new(&broker).deploy(&head("lost"), &identity()).await, DONE);
    broker.shutdown().await.unwrap();
    for entry in std::fs::read_dir(dir.path().join("deployed")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "wasm") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let broker = start(dir.path()).await;
    let client = Client::new(&broker);
    client.is("lost", "unknown").await;
    produce(&broker, 0, &[b"a"]).await;
    assert_eq!(client.deploy(&head("lost"), &identity()).await, DONE);
    client.is("lost", "running").await;
    assert_eq!(values(&broker, "out", 0).await, ["a"]);
    broker.shutdown().await.unwrap();

    let record = dir.path().join("deployed/1.json");
    std::fs::write(&record, b"{").unwrap();
    let error = Broker::start(config(dir.path())).await.unwrap_err();
    assert!(matches!(&error, BrokerError::Corrupt { path, .. } if *path == record), "{error}");
}

#[tokio::test]
async fn an_update_keeps_offsets_and_delete_and_deploy_emits_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    produce(&broker, 0, &[b"a", b"b"]).await;
    let offsets = async |query: &str| {
        client.get(&format!("/v1/transform/debug/committed_offsets{query}")).await
    };
    for _ in 0..3 {
        assert_eq!(client.deploy(&head("t"), &identity()).await, DONE);
        client.is("t", "running").await;
        assert_eq!(broker.watermarks("out")[0].1, 2, "whatever offset an update asks for");
    }
    let of = |name: &str, offset: i64| {
        json!([
            { "transform_name": name, "partition": 0, "offset": offset },
            { "transform_name": name, "partition": 1, "offset": -1 },
        ])
    };
    until("it is committed", || async { offsets("").await == of("t", 1) }).await;
    assert_eq!(client.delete("t").await, DONE);
    assert_eq!(offsets("").await, json!([]));
    assert_eq!(offsets("?show_unknown=false").await, json!([]));
    assert_eq!(offsets("?show_unknown=true").await, of("", 1));

    assert_eq!(client.deploy(&head("t"), &identity()).await, DONE);
    client.is("t", "running").await;
    assert_eq!(values(&broker, "out", 0).await, ["a", "b", "a", "b"]);
    assert_eq!(offsets("?show_unknown=true").await.as_array().unwrap().len(), 4);
    let collect = "/v1/transform/debug/committed_offsets/garbage_collect";
    assert_eq!(client.call("POST", collect, "").await, DONE);
    assert_eq!(offsets("?show_unknown=true").await.as_array().unwrap().len(), 2);
    assert_eq!(client.list().await.len(), 1);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_pause_holds_and_a_resume_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    let env = json!({ "environment": [{ "key": "A", "value": "1" }] });
    assert_eq!(client.deploy(&with(head("t"), env), &identity()).await, DONE);
    produce(&broker, 0, &[b"a"]).await;
    client.is("t", "running").await;
    until("it is through", || async { broker.watermarks("out")[0].1 == 1 }).await;
    assert_eq!(client.patch("t", &json!({ "is_paused": true })).await, DONE);
    produce(&broker, 0, &[b"b"]).await;
    let env = json!([{ "key": "B", "value": "2" }, { "key": "C", "value": "3" }]);
    let patch = json!({ "env": env, "compression": "gzip" });
    assert_eq!(client.patch("t", &patch).await, DONE);
    let list = client.list().await;
    assert_eq!((&list[0]["environment"], &list[0]["compression"]), (&env, &json!("gzip")));
    let inactive = json!({ "node_id": 0, "partition": 0, "status": "inactive", "lag": 0 });
    assert_eq!(list[0]["status"][0], inactive, "a pause outlives another change");
    let status = broker.transform_status().remove(0);
    assert!(status.paused);
    assert_eq!(
        status.partitions[0].lag, 1,
        "what it reports there is Redpanda's, what is to do is this"
    );
    assert_eq!(broker.watermarks("out")[0].1, 1);

    assert_eq!(client.patch("t", &json!({ "is_paused": false })).await, DONE);
    client.is("t", "running").await;
    assert_eq!(values(&broker, "out", 0).await, ["a", "b"]);
    assert_eq!(client.patch("t", &json!({ "is_paused": true })).await, DONE);
    assert_eq!(client.deploy(&head("t"), &identity()).await, DONE);
    client.is("t", "running").await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn every_form_of_offset_begins_where_it_says() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    let mut raw = Raw::connect(broker.addr()).await;
    for ms in [1000, 2000, 3000] {
        raw.produce("in", 0, batch_at(&[format!("at {ms}").as_bytes()], ms)).await;
    }
    let offset =
        |format: &str, value: i64| json!({ "offset": { "format": format, "value": value } });
    for (n, (more, expected)) in [
        (offset("from_start", 0), 3),
        (offset("from_start", 1), 2),
        (offset("from_start", i64::MAX), 1),
        (offset("from_end", 0), 0),
        (offset("from_end", 1), 1),
        (offset("from_end", i64::MAX), 3),
        (offset("timestamp", 0), 3),
        (offset("timestamp", 1500), 2),
        (offset("timestamp", 4000), 0),
        (json!({}), 0),
    ]
    .into_iter()
    .enumerate()
    {
        let mut head =
            json!({ "name": format!("t{n}"), "input_topic": "in", "output_topics": ["out"] });
        head.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let before = broker.watermarks("out")[0].1;
        assert_eq!(client.deploy(&head, &identity()).await, DONE);
        client.is(&format!("t{n}"), "running").await;
        assert_eq!(broker.watermarks("out")[0].1 - before, expected, "{more}");
        assert_eq!(client.delete(&format!("t{n}")).await, DONE);
    }
    // By default with what comes after the deploy, whenever the transform is running.
    let head = json!({ "name": "now", "input_topic": "in", "output_topics": ["out"] });
    let before = broker.watermarks("out")[0].1;
    assert_eq!(client.deploy(&head, &identity()).await, DONE);
    raw.produce("in", 0, batch(&[b"new"])).await;
    until("it is through", || async { broker.watermarks("out")[0].1 == before + 1 }).await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn output_is_compressed_as_asked_for_and_read_by_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path()).await;
    broker.create_topic("in", 1, &[]).unwrap();
    for (codec, name) in (0_u8..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        broker.create_topic(name, 1, &[("max.message.bytes", "2000")]).unwrap();
        let input = partition(broker.addr(), "in", 0).await;
        let end = broker.watermarks("in")[0].1;
        input.delete_records(end, 1000).await.unwrap();
        let client = Client::new(&broker);
        let more = json!({ "output_topics": [name], "compression": name });
        assert_eq!(client.deploy(&with(head(name), more), &identity()).await, DONE);
        client.is(name, "running").await;
        // Within the limit only when it is compressed, which the first transform's output is not.
        let text = "words ".repeat(if codec == 0 { 10 } else { 900 });
        for n in 0..3 {
            let sent = vec![record(format!("{n} {text}"))];
            input.produce(sent, Compression::NoCompression).await.unwrap();
        }
        client.is(name, "running").await;
        let got = values(&broker, name, 0).await;
        assert_eq!(got, [0, 1, 2].map(|n| format!("{n} {text}")), "{name}");
        let file = dir.path().join(format!("topics/{name}/0/00000000000000000000.log"));
        let bytes = std::fs::read(file).unwrap();
        assert_eq!(bytes[21..23], [0, 0b1000 | codec], "{name}: log-append time, and the codec");
        assert_eq!(client.delete(name).await, DONE);
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_module_that_cannot_run_is_deployed_and_unknown_until_it_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    let memory = "(memory (export";
    let unknown = IDENTITY.replace(memory, &format!("(import \"env\" \"getpid\" (func)) {memory}"));
    produce(&broker, 0, &[b"a"]).await;
    assert_eq!(client.deploy(&head("t"), &module(&unknown)).await, DONE);
    until("it was tried", || async {
        let partitions = broker.transform_status().remove(0).partitions;
        partitions.iter().all(|partition| partition.failures == 1)
    })
    .await;
    let unknown = json!({ "node_id": 0, "partition": 0, "status": "unknown", "lag": 0 });
    assert_eq!(client.list().await[0]["status"][0], unknown);
    // It has its topics all the same.
    let controller = crate::util::client(broker.addr()).await.controller_client().unwrap();
    assert!(controller.delete_topic("in", 1000).await.is_err());
    assert_eq!(client.deploy(&head("t"), &identity()).await, DONE);
    client.is("t", "running").await;
    assert_eq!(values(&broker, "out", 0).await, ["a"]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_guest_that_computes_for_seconds_keeps_no_answer_back_and_what_follows_is_not_mixed_with_it()
 {
    let dir = tempfile::tempdir().unwrap();
    // Enough for longer than an answer waits, and not for the test's patience.
    let mut config = config(dir.path());
    config.transform_limits.fuel /= 2;
    let broker = Broker::start(config).await.unwrap();
    for topic in ["in", "out"] {
        broker.create_topic(topic, 2, &[]).unwrap();
    }
    let client = Client::new(&broker);
    let write = "(if (i32.ne (call $write_record";
    let spin = "(if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then (loop $spin (br $spin))))";
    let guest = module(&IDENTITY.replace(write, &format!("{spin} {write}")));
    produce(&broker, 0, &[b"a"]).await;
    produce(&broker, 0, &[b"!"]).await;
    let spins = async || {
        assert_eq!(client.deploy(&head("t"), &guest).await, DONE);
        until("it spins", || async {
            let first = client.list().await[0]["status"][0].clone();
            (first["status"].as_str(), first["lag"].as_u64()) == (Some("running"), Some(1))
        })
        .await;
    };
    // What rpk's client waits.
    let patience = Duration::from_secs(10);
    let in_time = async |what: &str, call: Answer, begun: Instant| {
        assert_eq!(call, DONE, "{what}");
        assert!(begun.elapsed() < patience, "{what} took {:?}", begun.elapsed());
    };
    spins().await;
    let begun = Instant::now();
    in_time("pause", client.patch("t", &json!({ "is_paused": true })).await, begun).await;
    assert_eq!(client.patch("t", &json!({ "is_paused": false })).await, DONE);
    spins().await;
    let begun = Instant::now();
    in_time("delete", client.delete("t").await, begun).await;
    assert_eq!(client.list().await, [Value::Null; 0]);
    // The old one may still be at it.
    assert_eq!(client.deploy(&head("t"), &identity()).await, DONE);
    client.is("t", "running").await;
    assert!(values(&broker, "out", 0).await.ends_with(&["a".to_owned(), "!".to_owned()]));
    until("the old one is a stranger now", || async {
        let all = client.get("/v1/transform/debug/committed_offsets?show_unknown=true").await;
        let all = all.as_array().unwrap();
        let of = |name: &str| all.iter().filter(|it| it["transform_name"] == name).count();
        (of("t"), of("")) == (2, 2)
    })
    .await;
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_guests_print_is_on_redpandas_topic_under_the_transforms_name() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let settings = broker.topics().into_iter().find(|it| it.name == LOGS).expect("from the start");
    assert_eq!((settings.partitions, &*settings.settings["retention.ms"]), (1, "86400000"));
    let client = Client::new(&broker);
    let (memory, start) = ("(memory (export", "(func (export \"_start\")");
    let print = "(import \"wasi_snapshot_preview1\" \"fd_write\" \
        (func $print (param i32 i32 i32 i32) (result i32)))";
    let data =
        r#"(data (i32.const 96) "\70\00\00\00\06\00\00\00") (data (i32.const 112) "hello\0a")"#;
    let call = "(drop (call $print (i32.const 2) (i32.const 96) (i32.const 1) (i32.const 88)))";
    let guest = IDENTITY
        .replace(memory, &format!("{print} {memory}"))
        .replace(start, &format!("{data} {start}"))
        .replace("(br $records)", &format!("{call} (br $records)"));
    assert_eq!(client.deploy(&head("talks"), &module(&guest)).await, DONE);
    produce(&broker, 0, &[b"1", b"2", b"3"]).await;
    until("it is said", || async { broker.watermarks(LOGS) == [(0, 3)] }).await;
    let logs = partition(broker.addr(), LOGS, 0).await;
    for logged in read_from(&logs, 0, 1 << 20).await {
        assert_eq!(logged.record.key.as_deref(), Some(&b"talks"[..]));
        let event: Value = serde_json::from_slice(value(&logged)).unwrap();
        assert_eq!(event["body"]["stringValue"], "hello\n");
        assert_eq!(event["severityNumber"], 13);
        assert_eq!(
            event["attributes"],
            json!([
                { "key": "transform_name", "value": { "stringValue": "talks" } },
                { "key": "node", "value": { "intValue": 0 } },
            ])
        );
        let said = event["timeUnixNano"].as_i64().unwrap() / 1_000_000;
        assert!((said - logged.record.timestamp.timestamp_millis()).abs() < 60_000);
    }
    broker.shutdown().await.unwrap();
}

/// Where messages of guests are kept.
const LOGS: &str = "_redpanda.transform_logs";

#[tokio::test]
async fn what_rpk_asks_on_the_way_is_true_and_what_is_not_there_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    assert_eq!(client.get("/v1/status/ready").await["status"], "ready");
    let leader = client.get("/v1/partitions/redpanda/controller/0").await;
    assert_eq!((&leader["leader_id"], &leader["status"]), (&json!(0), &json!("done")));
    assert_eq!(client.get("/v1/partitions/kafka/in").await.as_array().unwrap().len(), 2);
    assert_eq!(client.get("/v1/cluster/partitions").await.as_array().unwrap().len(), 7);
    assert_eq!(client.get("/v1/cluster/partitions/kafka/in").await[1]["partition_id"], 1);
    let brokers = client.get("/v1/brokers").await;
    assert_eq!((&brokers[0]["node_id"], &brokers[0]["is_alive"]), (&json!(0), &json!(true)));
    assert_eq!(client.get("/v1/brokers/0").await, brokers[0]);
    let health = client.get("/v1/cluster/health_overview").await;
    assert_eq!((&health["is_healthy"], &health["all_nodes"]), (&json!(true), &json!([0])));
    let uuid = client.get("/v1/cluster/uuid").await["cluster_uuid"].as_str().unwrap().to_owned();
    assert_eq!(uuid.replace('-', ""), broker.cluster_id());
    assert_eq!(client.get("/v1/features").await["features"][0]["state"], "active");
    let node = client.get("/v1/node_config").await;
    assert_eq!(node["kafka_api"][0]["port"], broker.addr().port());
    assert_eq!(node["admin"][0]["port"], broker.admin_addr().unwrap().port());
    let key = "data_transforms_enabled";
    assert_eq!(client.get(&format!("/v1/cluster_config?key={key}")).await, json!({ key: true }));
    let all = client.get("/v1/cluster_config?include_defaults=true").await;
    let schema = client.get("/v1/cluster_config/schema").await;
    for (name, value) in all.as_object().unwrap() {
        let kind = schema["properties"][name]["type"].as_str().unwrap();
        let is = match kind {
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64(),
            _ => value.is_string(),
        };
        assert!(is, "{name} is {value}, not {kind}");
    }
    assert_eq!(all["data_transforms_per_function_memory_limit"], 2 << 20);
    let set = async |upsert: Value| {
        let body = json!({ "upsert": upsert, "remove": [] }).to_string();
        client.call("PUT", "/v1/cluster_config", body).await
    };
    let null = json!({ "upsert": { key: true }, "remove": null }).to_string();
    assert_eq!(client.call("PUT", "/v1/cluster_config", null).await.0, 200, "as Go writes no list");
    for so_already in [json!({ key: true }), json!({ key: "true" }), json!({})] {
        assert_eq!(set(so_already).await, (200, json!({ "config_version": 1 })));
    }
    for other in [json!({ key: false }), json!({ "unknown": 1 })] {
        assert_eq!(set(other).await.0, 400);
    }

    for (method, path) in [
        ("GET", "/v1/security/users"),
        ("GET", "/v1/transform/there"),
        ("POST", "/v1/brokers"),
        ("GET", "/"),
        ("GET", "/v1/brokers/7"),
        ("GET", "/v1/partitions/kafka/missing/0"),
        ("GET", "/v1/partitions/kafka/in/2"),
        ("GET", "/v1/partitions/redpanda/in/0"),
    ] {
        let (status, body) = client.call(method, path, "").await;
        assert_eq!((status, &body["code"]), (404, &json!(404)), "{method} {path}: {body}");
        assert!(body["message"].as_str().unwrap().starts_with("Not found: "), "{body}");
    }
    // What is refused before any of this is asked is told in the same form.
    for (method, path, body, status) in [
        ("GET", "/v1/cluster_config?key=a&key=b", Vec::new(), 400),
        ("GET", "/v1/brokers/%ff", Vec::new(), 400),
        ("PUT", "/v1/transform/t/meta", vec![b' '; 3 << 20], 413),
    ] {
        let (answered, told) = client.call(method, path, body).await;
        assert_eq!((answered, &told["code"]), (status, &json!(status)), "{method} {path}: {told}");
        assert!(told["message"].as_str().is_some_and(|why| !why.is_empty()), "{told}");
    }
    broker.shutdown().await.unwrap();
}

/// Redpanda lets no client write to it or delete it, whatever its rights.
#[tokio::test]
async fn only_transforms_write_to_their_log_and_nobody_deletes_it() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let mut raw = Raw::connect(broker.addr()).await;
    let denied = ResponseError::TopicAuthorizationFailed.code();
    assert_eq!(raw.produce(LOGS, 0, batch(&[b"forged"])).await.error_code, denied);
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(LOGS)]);
    assert_eq!(raw.call(&request, 4).await.responses[0].error_code, denied);
    assert_eq!(broker.watermarks(LOGS), [(0, 0)]);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_redpanda_counts_of_transforms_is_there_for_prometheus() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let client = Client::new(&broker);
    assert_eq!(client.deploy(&head("a \"t\""), &identity()).await, DONE);
    client.is("a \"t\"", "running").await;
    let page = client.get("/public_metrics").await;
    let page = page.as_str().unwrap();
    for line in [
        "# TYPE redpanda_transform_failures counter",
        r#"redpanda_transform_failures{function_name="a \"t\""} 0"#,
        r#"redpanda_transform_lag{function_name="a \"t\""} 0"#,
        r#"redpanda_transform_state{function_name="a \"t\"",state="running"} 2"#,
    ] {
        assert!(page.lines().any(|it| it == line), "{line} is not in\n{page}");
    }
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn the_admin_api_is_not_for_the_network_unless_that_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let anywhere = Some("0.0.0.0:0".parse().unwrap());
    let remote = BrokerConfig { admin_listen: anywhere, ..config(dir.path()) };
    let error = Broker::start(remote.clone()).await.unwrap_err();
    assert!(matches!(error, BrokerError::NotLoopback(_)), "{error}");
    let broker = Broker::start(BrokerConfig { allow_remote: true, ..remote }).await.unwrap();
    assert!(broker.admin_addr().unwrap().ip().is_unspecified());
    broker.shutdown().await.unwrap();
    // Without being asked for there is none.
    let broker = Broker::start(BrokerConfig::new(dir.path())).await.unwrap();
    assert_eq!(broker.admin_addr(), None);
    broker.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_waits_for_no_client_of_the_admin_api() {
    let dir = tempfile::tempdir().unwrap();
    let broker = topics(dir.path()).await;
    let mut idle = tokio::net::TcpStream::connect(broker.admin_addr().unwrap()).await.unwrap();
    let begun = b"POST /v1/transform/deploy HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{";
    tokio::io::AsyncWriteExt::write_all(&mut idle, begun).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), broker.shutdown()).await;
    ended.expect("it ends").unwrap();
}

#[tokio::test]
async fn with_the_brokers_waits_a_deploy_is_inactive_before_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let timing = BrokerConfig { transforms: TransformTiming::broker(), ..config(dir.path()) };
    let broker = Broker::start(timing).await.unwrap();
    for topic in ["in", "out", "other"] {
        broker.create_topic(topic, 1, &[]).unwrap();
    }
    let client = Client::new(&broker);
    let outputs = json!({ "output_topics": ["out", "other"] });
    assert_eq!(client.deploy(&with(head("tee"), outputs), &module(&tee())).await, DONE);
    client.is("tee", "inactive").await;
    produce(&broker, 0, &[b"a"]).await;
    client.is("tee", "running").await;
    until("it is on both", || async { broker.watermarks("other") == [(0, 1)] }).await;
    assert_eq!(broker.watermarks("out"), [(0, 1)]);
    broker.shutdown().await.unwrap();
}
