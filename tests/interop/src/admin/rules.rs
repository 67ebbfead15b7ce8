//! What is refused when a transform is deployed or changed, with Redpanda's sentences.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::client::{Client, Refused, Rpadmin, description, with};
use super::local::{Local, file, guest};
use crate::table::{Peer, Table};

const CONFIGURATION: &str = "Invalid create transform configuration";
const ENVIRONMENT: &str = "Invalid transform environment";
const UPDATE: &str = "Invalid update to transform, topic configuration cannot change";
const MISSING: &str = "Topic does not exists";

pub(super) async fn rows(table: &mut Table, peer: &Peer, rpadmin: &Rpadmin) {
    let of = || rpadmin.clone();
    table
        .check(
            peer,
            "refused: topics, circles, outputs, names, environment, updates",
            configurations(of()),
        )
        .await;
    table
        .check(
            peer,
            "refused: Redpanda's own three invalid modules, one that is too large",
            modules(of()),
        )
        .await;
    table
        .check(
            peer,
            "refused: the eleventh transform, bad offsets and compressions, unknown names",
            limits(of()),
        )
        .await;
}

/// One deploy that has to be refused.
async fn refused(client: &Client, it: &Value, module: &Path, answer: &str) -> Result<()> {
    let got = client.try_deploy(it, module).await?;
    let expected = Err(Refused { status: 400, message: answer.to_owned() });
    ensure!(got == expected, "{it}: {got:?}, not {answer}");
    Ok(())
}

async fn configurations(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    let nine: Vec<String> = (0..9).map(|n| format!("out-{n}")).collect();
    let names = ["in", "out", "other", "deep", "__consumer_offsets", "_schemas"];
    local.topics(&names, 1).await?;
    local.topics(&nine.iter().map(String::as_str).collect::<Vec<_>>(), 1).await?;
    let client = local.client();
    let identity = guest(local.folder(), "identity")?;
    client.deploy(&description("there", "in", &["out"]), &identity).await?;
    client.deploy(&description("chained", "out", &["deep"]), &identity).await?;
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
        (json!({ "output_topics": nine }), CONFIGURATION),
        (json!({ "output_topics": ["in"] }), CONFIGURATION),
        (json!({ "input_topic": "deep", "output_topics": ["in"] }), CONFIGURATION),
        (json!({ "input_topic": "__consumer_offsets" }), CONFIGURATION),
        (json!({ "output_topics": ["_schemas"] }), CONFIGURATION),
        (json!({ "name": "" }), CONFIGURATION),
        (json!({ "name": long }), CONFIGURATION),
        (json!({ "name": "a\u{1}b" }), CONFIGURATION),
        (json!({ "environment": many }), ENVIRONMENT),
        (variable("", "v"), ENVIRONMENT),
        (variable(&long, "v"), ENVIRONMENT),
        (variable("a=b", "v"), ENVIRONMENT),
        (variable("REDPANDA_X", "v"), ENVIRONMENT),
        (variable("k", ""), ENVIRONMENT),
        (variable("k", &longer), ENVIRONMENT),
        (variable("k", "two\nlines"), ENVIRONMENT),
        (json!({ "name": "there", "input_topic": "other" }), UPDATE),
        (json!({ "name": "there", "output_topics": ["out", "other"] }), UPDATE),
    ] {
        let it = with(description("new", "in", &["out"]), &more);
        refused(&client, &it, &identity, answer).await?;
    }
    let eight = json!({ "output_topics": nine[..8] });
    client.deploy(&with(description("eight", "in", &["out"]), &eight), &identity).await
}

async fn modules(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 1).await?;
    let client = local.client();
    let it = description("new", "in", &["out"]);
    let module =
        |name: &str, bytes: &[u8]| -> Result<PathBuf> { file(local.folder(), name, bytes) };
    // From Redpanda's tests: random bytes behind a type, a function that adds, a command that is no transform.
    for (name, bytes, answer) in [
        ("text", &b"no wasm"[..], "invalid WebAssembly module"),
        (
            "garbage",
            b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\xeb\x79\xe8\x1e\x8d\x3b\x3b\x33\xb0",
            "invalid WebAssembly module",
        ),
        (
            "add_two",
            b"\0asm\x01\0\0\0\x01\x07\x01\x60\x02\x7f\x7f\x01\x7f\x03\x02\x01\0\x07\x0a\x01\x06addTwo\0\0\x0a\x09\x01\x07\0\x20\0\x20\x01\x6a\x0b",
            "invalid WebAssembly - missing required WASI functions",
        ),
        (
            "wasi",
            b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x01\x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b",
            "Invalid WebAssembly - the binary is missing required transform functions. Check the broker support for the version of the Data Transforms SDK being used.",
        ),
    ] {
        refused(&client, &it, &module(name, bytes)?, answer).await?;
    }
    let identity = guest(local.folder(), "identity")?;
    let mut large = std::fs::read(&identity)?;
    // A custom section of ten megabytes.
    large.extend_from_slice(&[0, 0x80, 0x80, 0x80, 0x05]);
    large.resize(large.len() + (10 << 20), 0);
    let got = client.try_deploy(&it, &module("large", &large)?).await?;
    let message = "Unexpected cluster error: Invalid request".to_owned();
    ensure!(got == Err(Refused { status: 500, message }), "{got:?}");
    ensure!(client.call(&["list"]).await? == json!([]), "nothing was deployed");
    Ok(())
}

async fn limits(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 1).await?;
    let client = local.client();
    let identity = guest(local.folder(), "identity")?;
    let it = |name: &str| description(name, "in", &["out"]);
    let offset = json!({ "offset": { "format": "from_end", "value": -5 } });
    let bad = "Bad offset: expected value >= 0, got -5";
    refused(&client, &with(it("t"), &offset), &identity, bad).await?;
    let offset = json!({ "offset": { "format": "timestamp", "value": i64::MAX } });
    let bad = "Bad offset: Timestamp value out of range (9223372036854775807)";
    refused(&client, &with(it("t"), &offset), &identity, bad).await?;
    for more in [
        json!({ "compression": "producer" }),
        json!({ "offset": { "format": "latest", "value": 1 } }),
    ] {
        let got = client.try_deploy(&with(it("t"), &more), &identity).await?;
        let refused = got.err().context("it is refused")?;
        ensure!(
            refused.status == 400 && refused.message.starts_with("invalid JSON request body: "),
            "{more}: {refused:?}"
        );
    }
    for n in 0..10 {
        client.deploy(&it(&format!("t{n}")), &identity).await?;
    }
    let full = "The limit of transforms has been reached (10), more memory must be configured via data_transforms_per_core_memory_reservation";
    refused(&client, &it("t10"), &identity, full).await?;
    client.deploy(&it("t9"), &identity).await.context("an update is no more")?;
    for call in [&["pause", "nobody"][..], &["resume", "nobody"], &["compression", "nobody", "lz4"]]
    {
        let got = client.try_call(call).await?;
        let message = "Transform does not exist".to_owned();
        ensure!(got == Err(Refused { status: 400, message }), "{call:?}: {got:?}");
    }
    let got = client.try_call(&["compression", "t1", "producer"]).await?;
    let refused = got.err().context("it is refused")?;
    ensure!(refused.message.starts_with("invalid JSON request body: "), "{refused:?}");
    Ok(())
}
