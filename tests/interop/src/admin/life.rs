//! A transform's life as rpk sees it.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tickpanda_tests::wasm;

use super::client::{Rpadmin, description, with};
use super::local::{Local, file, guest};
use crate::table::{Peer, Table};

/// Where messages of guests are kept.
const LOGS: &str = "_redpanda.transform_logs";

pub(super) async fn rows(table: &mut Table, peer: &Peer, rpadmin: &Rpadmin) {
    let of = || rpadmin.clone();
    table
        .check(peer, "deploy, list with lag per partition, delete, delete again", listed(of()))
        .await;
    table.check(peer, "pause holds the offset, resume goes on there", paused(of())).await;
    table
        .check(
            peer,
            "environment reaches the guest, an update replaces all of it",
            environment(of()),
        )
        .await;
    table
        .check(
            peer,
            "an update keeps offsets, delete and deploy emits everything again",
            updated(of()),
        )
        .await;
    table
        .check(
            peer,
            "offsets: from_start, from_end, timestamp, and by default the deploy's time",
            offsets(of()),
        )
        .await;
    table
        .check(
            peer,
            "compression none, gzip, snappy, lz4, zstd, also changed while it runs",
            compressed(of()),
        )
        .await;
    table
        .check(peer, "five transforms at once, chained, come back after kill -9", restarted(of()))
        .await;
    table
        .check(
            peer,
            "a module that can't be linked: 200, then unknown; one that ends: errored",
            failing(of()),
        )
        .await;
    table.check(peer, "what a guest prints is on _redpanda.transform_logs", logged(of())).await;
    table
        .check(
            peer,
            "two addresses: the leader is looked up; brokers, health, features, settings",
            asked(of()),
        )
        .await;
}

async fn listed(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 4).await?;
    let client = local.client();
    ensure!(client.call(&["list"]).await? == json!([]), "there is nothing at first");
    // It computes until its fuel ends, some seconds, on the one that loops: a lag to be seen.
    let dynamic = guest(local.folder(), "dynamic")?;
    client.deploy(&description("dynamic", "in", &["out"]), &dynamic).await?;
    local.drained("dynamic").await?;
    local.produce("in", 1, &[("mirror", "a")]).await?;
    local.wait_for("out", 1, 1).await?;
    local.drained("dynamic").await?;
    local.produce("in", 2, &[("loop", ""), ("zero", ""), ("zero", "")]).await?;
    let behind = |it: &Value| {
        it["status"][2] == json!({"node_id":0,"partition":2,"status":"running","lag":3})
    };
    let deadline = std::time::Instant::now() + super::local::PATIENCE;
    let seen = loop {
        let seen = client.listed("dynamic").await?;
        if behind(&seen) {
            break seen;
        }
        ensure!(std::time::Instant::now() < deadline, "no lag of 3 on partition 2: {seen}");
    };
    let is =
        |index: i32, lag: u64| json!({"node_id":0,"partition":index,"status":"running","lag":lag});
    let expected = json!({
        "name": "dynamic", "input_topic": "in", "output_topics": ["out"], "compression": "none",
        "status": [is(0, 0), is(1, 0), is(2, 3), is(3, 0)],
    });
    ensure!(seen == expected, "{seen}, not {expected}");
    for _ in 0..2 {
        client.call(&["delete", "dynamic"]).await?;
    }
    ensure!(client.call(&["list"]).await? == json!([]), "it is gone");
    Ok(())
}

async fn paused(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out", "seen"], 1).await?;
    let client = local.client();
    let identity = guest(local.folder(), "identity")?;
    client.deploy(&description("t", "in", &["out"]), &identity).await?;
    client.deploy(&description("witness", "in", &["seen"]), &identity).await?;
    local.produce("in", 0, &[("k", "a")]).await?;
    local.wait_for("out", 0, 1).await?;
    client.call(&["pause", "t"]).await?;
    local.is("t", "inactive", |status, lag| (status, lag) == ("inactive", 0)).await?;
    local.produce("in", 0, &[("k", "b")]).await?;
    // Another transform of the same topic has had the time that this one would have needed.
    local.wait_for("seen", 0, 2).await?;
    ensure!(local.values("out", 0).await? == ["a"], "it is paused");
    client.call(&["resume", "t"]).await?;
    local.drained("t").await?;
    ensure!(local.values("out", 0).await? == ["a", "b"], "{:?}", local.values("out", 0).await?);
    Ok(())
}

async fn environment(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 1).await?;
    let client = local.client();
    let wasi = guest(local.folder(), "wasi")?;
    for (n, variables) in [&["A=1", "B=two words"][..], &["C=3"], &[]].into_iter().enumerate() {
        let environment: Vec<Value> = variables
            .iter()
            .filter_map(|it| it.split_once('='))
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let more = json!({ "environment": environment });
        client.deploy(&with(description("env", "in", &["out"]), &more), &wasi).await?;
        local.produce("in", 0, &[("k", "v")]).await?;
        local.wait_for("out", 0, n + 1).await?;
        let said: Value = serde_json::from_str(&local.values("out", 0).await?[n])?;
        let mut got: Vec<&str> =
            said["Env"].as_array().context("Env")?.iter().filter_map(Value::as_str).collect();
        got.sort_unstable();
        let own = ["REDPANDA_INPUT_TOPIC=in", "REDPANDA_OUTPUT_TOPIC_0=out"];
        let expected: Vec<&str> = variables.iter().copied().chain(own).collect();
        ensure!(got == expected, "{got:?}, not {expected:?}");
        let listed = client.listed("env").await?;
        let shown = listed.get("environment").cloned().unwrap_or_else(|| json!([]));
        ensure!(shown == json!(environment), "{listed}");
    }
    Ok(())
}

async fn updated(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 1).await?;
    let client = local.client();
    let counter = guest(local.folder(), "counter")?;
    let identity = guest(local.folder(), "identity")?;
    local.produce("in", 0, &[("k", "a"), ("k", "b")]).await?;
    client.deploy(&description("t", "in", &["out"]), &counter).await?;
    local.wait_for("out", 0, 2).await?;
    client.deploy(&description("t", "in", &["out"]), &identity).await?;
    local.produce("in", 0, &[("k", "c")]).await?;
    local.wait_for("out", 0, 3).await?;
    local.drained("t").await?;
    let got = local.values("out", 0).await?;
    ensure!(got == ["1", "2", "c"], "the new module goes on: {got:?}");
    client.call(&["delete", "t"]).await?;
    client.deploy(&description("t", "in", &["out"]), &identity).await?;
    local.drained("t").await?;
    let got = local.values("out", 0).await?;
    ensure!(got == ["1", "2", "c", "a", "b", "c"], "{got:?}");
    Ok(())
}

async fn offsets(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in"], 1).await?;
    let client = local.client();
    let identity = guest(local.folder(), "identity")?;
    for at in [1000, 2000, 3000] {
        local.produce_at("in", 0, &[("k", &at.to_string())], at).await?;
    }
    let offset =
        |format: &str, value: i64| json!({ "offset": { "format": format, "value": value } });
    for (n, (more, first)) in [
        (offset("from_start", 0), Some("1000")),
        (offset("from_start", 2), Some("3000")),
        (offset("from_start", i64::MAX), Some("3000")),
        (offset("from_end", 0), None),
        (offset("from_end", 2), Some("2000")),
        (offset("timestamp", 1001), Some("2000")),
        (offset("timestamp", 5000), None),
        (json!({ "offset": null }), None),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("t{n}");
        local.topics(&[&name], 1).await?;
        client.deploy(&with(description(&name, "in", &[&name]), &more), &identity).await?;
        local.drained(&name).await?;
        let got = local.values(&name, 0).await?;
        ensure!(got.first().map(String::as_str) == first, "{more}: {got:?}, not from {first:?}");
        client.call(&["delete", &name]).await?;
    }
    Ok(())
}

async fn compressed(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in"], 1).await?;
    let client = local.client();
    let identity = guest(local.folder(), "identity")?;
    let text = "some words ".repeat(500);
    local.produce("in", 0, &[("k", &text)]).await?;
    for (code, codec) in (0..).zip(["none", "gzip", "snappy", "lz4", "zstd"]) {
        let changed = format!("{codec}-changed");
        local.topics(&[codec, &changed], 1).await?;
        let more = json!({ "compression": codec });
        client.deploy(&with(description(codec, "in", &[codec]), &more), &identity).await?;
        client.deploy(&description(&changed, "in", &[&changed]), &identity).await?;
        local.drained(&changed).await?;
        client.call(&["compression", &changed, codec]).await?;
        let listed = client.listed(&changed).await?;
        ensure!(listed["compression"] == codec, "{listed}");
        local.drained(codec).await?;
        let got = local.values(codec, 0).await?;
        ensure!(got == [text.clone()], "{codec}: {} records", got.len());
        let attributes = local.attributes(codec).await?;
        ensure!(attributes & 0b111 == code, "{codec}: attributes {attributes}");
        client.call(&["delete", codec]).await?;
        client.call(&["delete", &changed]).await?;
    }
    Ok(())
}

async fn restarted(rpadmin: Rpadmin) -> Result<()> {
    let mut local = Local::start(&rpadmin).await?;
    local.topics(&["a", "b", "c", "d", "numbers", "said"], 2).await?;
    let client = local.client();
    let folder = local.folder().to_owned();
    for (name, module, input, outputs) in [
        ("tee", "tee", "a", &["b", "c"][..]),
        ("chained", "identity", "b", &["d"]),
        ("counter", "counter", "c", &["numbers"]),
        ("talks", "logging", "a", &["said"]),
        ("paused", "identity", "c", &["d"]),
    ] {
        client.deploy(&description(name, input, outputs), &guest(&folder, module)?).await?;
    }
    client.call(&["pause", "paused"]).await?;
    local.produce("a", 1, &[("k", "first")]).await?;
    local.wait_for("numbers", 1, 1).await?;
    local.wait_for("d", 1, 1).await?;
    let before = client.call(&["list"]).await?;
    local.kill_and_restart().await;
    local.produce("a", 1, &[("k", "second")]).await?;
    for topic in ["d", "numbers", "b", "c"] {
        local.wait_for(topic, 1, 2).await?;
    }
    for name in ["tee", "chained", "counter", "talks"] {
        local.drained(name).await?;
    }
    let after = local.client().call(&["list"]).await?;
    ensure!(after == before, "{after}, not {before}");
    let last = local.values("d", 1).await?;
    ensure!(last.last().is_some_and(|it| it == "second"), "{last:?}");
    Ok(())
}

async fn failing(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 2).await?;
    let client = local.client();
    let mut module = wasm::guest("identity");
    let name = b"read_next_record";
    let at = module.windows(name.len()).position(|it| it == name).context("the import's name")?;
    module[at] = b'R';
    let unlinked = file(local.folder(), "unlinked", &module)?;
    client.deploy(&description("t", "in", &["out"]), &unlinked).await?;
    // Before it was tried, too, nobody knows; so it must have been.
    local.says("failed to create transform processor").await;
    local.is("t", "unknown", |status, lag| (status, lag) == ("unknown", 0)).await?;
    let panics = guest(local.folder(), "setup-panic")?;
    client.deploy(&description("t", "in", &["out"]), &panics).await?;
    local.is("t", "errored", |status, lag| (status, lag) == ("errored", 0)).await?;
    local.produce("in", 0, &[("k", "a")]).await?;
    local.produce("in", 1, &[("k", "b")]).await?;
    // Nothing is lost by any of it.
    let identity = guest(local.folder(), "identity")?;
    client.deploy(&description("t", "in", &["out"]), &identity).await?;
    local.drained("t").await?;
    let got = (local.values("out", 0).await?, local.values("out", 1).await?);
    ensure!(got == (vec!["a".to_owned()], vec!["b".to_owned()]), "{got:?}");
    Ok(())
}

async fn logged(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 1).await?;
    let logging = guest(local.folder(), "logging")?;
    local.client().deploy(&description("talks", "in", &["out"]), &logging).await?;
    local.produce("in", 0, &[("testing", "hello, world")]).await?;
    local.wait_for(LOGS, 0, 1).await?;
    let records = local.records(LOGS, 0).await?;
    ensure!(records.len() == 1, "{} records", records.len());
    ensure!(records[0].key.as_deref() == Some(&b"talks"[..]), "its key is the name");
    let event: Value = serde_json::from_slice(records[0].value.as_deref().unwrap_or_default())?;
    let attributes = json!([
        { "key": "transform_name", "value": { "stringValue": "talks" } },
        { "key": "node", "value": { "intValue": 0 } },
    ]);
    let body = &event["body"]["stringValue"];
    ensure!(body == "testing:hello, world\n", "{event}");
    ensure!(event["severityNumber"] == 13 && event["attributes"] == attributes, "{event}");
    Ok(())
}

async fn asked(rpadmin: Rpadmin) -> Result<()> {
    let local = Local::start(&rpadmin).await?;
    local.topics(&["in", "out"], 2).await?;
    let client = local.client_of_many();
    ensure!(client.call(&["leader"]).await? == 0, "the leader");
    let identity = guest(local.folder(), "identity")?;
    client.deploy(&description("t", "in", &["out"]), &identity).await?;
    local.drained("t").await?;
    client.call(&["delete", "t"]).await?;
    let brokers = client.call(&["brokers"]).await?;
    ensure!(brokers[0]["is_alive"] == true, "{brokers}");
    let health = client.call(&["health"]).await?;
    ensure!(health["is_healthy"] == true && health["all_nodes"] == json!([0]), "{health}");
    let features = client.call(&["features"]).await?;
    let active = json!({ "name": "wasm_transforms", "state": "active", "was_active": true });
    ensure!(features["features"].as_array().is_some_and(|it| it.contains(&active)), "{features}");
    let partitions = client.call(&["partitions"]).await?;
    ensure!(partitions.as_array().is_some_and(|it| it.len() >= 4), "{partitions}");
    ensure!(client.call(&["config"]).await?["data_transforms_enabled"] == true, "transforms");
    client.call(&["set", "data_transforms_enabled", "true"]).await?;
    for call in ["uuid", "license", "enterprise", "schema"] {
        client.call(&[call]).await?;
    }
    let users = client.try_call(&["users"]).await?;
    let missing = users.err().context("there are no users")?;
    ensure!(missing.status == 404 && missing.message.starts_with("Not found"), "{missing:?}");
    Ok(())
}
