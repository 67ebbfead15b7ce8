//! What Compose itself makes of `docker-compose.yml`. No engine is asked, so these rows are there on every
//! machine, and they are about every service, also those whose images can't be had here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::engine::{self, alone, repository};
use crate::table::{Peer, Table};
use crate::tools;

/// What docker-compose.yml starts without a key.
const SERVICES: [&str; 9] = [
    "console",
    "deploy",
    "exchange",
    "grafana",
    "prometheus",
    "redpanda",
    "sink",
    "source",
    "timescaledb",
];
/// `.env` with what nobody but a test calls a key.
const WITH_KEY: &str = "CRYPTOCOMPARE_API_KEY=0123456789abcdef\n";
const WITHOUT_KEY: &str = "CRYPTOCOMPARE_API_KEY=\n";
/// Settings of `.env` that are for more than one program, or not for a program alone, and who knows them.
const SHARED: [(&str, &[&str]); 5] = [
    ("TICKPANDA_TOPIC_PREFIX", &["deploy", "source", "sink"]),
    ("TICKPANDA_REPLICAS", &["deploy", "source"]),
    ("TICKPANDA_PARTITIONS", &["deploy"]),
    ("TICKPANDA_DEPLOY_WAIT", &["deploy"]),
    ("RUST_LOG", &["source", "sink", "exchange"]),
];

/// Adds its rows.
pub(super) async fn run(table: &mut Table) {
    const NAME: &str = "docker compose config";
    let (compose, version) = match Compose::fetch().await {
        Ok(fetched) => fetched,
        Err(why) => {
            return table.not_begun(NAME, "docker-compose.yml, as Compose reads it", &why);
        }
    };
    let (peer, compose) = (Peer::new(NAME, version), Arc::new(compose));
    let what = "with a key in .env the source asks the vendor with it, and there is no exchange; without one, the exchange";
    table.check(&peer, what, key(Arc::clone(&compose))).await;
    let what = "every service has a user, a read-only root, limits, a health check and an exact version, and no capability";
    table.check(&peer, what, hardened(Arc::clone(&compose))).await;
    let what = "what .env says of topics, of waiting and of the log reaches all who know it";
    table.check(&peer, what, shared(Arc::clone(&compose))).await;
    let what = "Redpanda's first settings are those of rpk/.bootstrap.yaml, and more";
    table.check(&peer, what, bootstrap(compose)).await;
}

/// Compose as a program of its own, without docker.
struct Compose {
    program: PathBuf,
    folder: TempDir,
}

impl Compose {
    /// Fetches it, if need be; and the version that it says it is.
    async fn fetch() -> Result<(Self, String)> {
        let compose = Compose { program: engine::compose().await?, folder: tempfile::tempdir()? };
        let version = compose.output(&["version", "--short"]).await?.trim().to_owned();
        Ok((compose, version))
    }

    /// The services, as they are where `.env` holds this.
    async fn services(&self, env: &str) -> Result<Value> {
        let file = self.folder.path().join("env");
        std::fs::write(&file, env)?;
        let env = file.display().to_string();
        let file = repository().join("docker-compose.yml").display().to_string();
        let args = ["--env-file", &env, "--file", &file, "config", "--format", "json"];
        let printed = self.output(&args).await?;
        let mut config: Value = serde_json::from_str(&printed).context("Compose's JSON")?;
        Ok(config["services"].take())
    }

    async fn output(&self, args: &[&str]) -> Result<String> {
        let mut command = alone(&self.program);
        command.args(args);
        tools::output(&mut command.into()).await
    }
}

async fn key(compose: Arc<Compose>) -> Result<()> {
    let without = compose.services(WITHOUT_KEY).await?;
    ensure!(names(&without) == SERVICES, "without a key: {:?}", names(&without));
    let exchange = ["local-exchange", "ws://exchange:8080/v2", "http://exchange:8080"];
    ensure!(asks(&without) == exchange, "without a key the source asks {:?}", asks(&without));
    let waits = &without["source"]["depends_on"]["exchange"]["condition"];
    ensure!(waits == "service_healthy", "the source does not wait for the exchange: {waits}");

    let with = compose.services(WITH_KEY).await?;
    let rest: Vec<_> = SERVICES.into_iter().filter(|name| *name != "exchange").collect();
    ensure!(names(&with) == rest, "with a key: {:?}", names(&with));
    let vendor = [
        "0123456789abcdef",
        "wss://streamer.cryptocompare.com/v2",
        "https://min-api.cryptocompare.com",
    ];
    ensure!(asks(&with) == vendor, "with a key the source asks {:?}", asks(&with));
    Ok(())
}

fn names(services: &Value) -> Vec<&str> {
    let mut names: Vec<_> =
        services.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names
}

/// The source's key, and whom it asks.
fn asks(services: &Value) -> [&str; 3] {
    let variables = &services["source"]["environment"];
    ["CRYPTOCOMPARE_API_KEY", "CRYPTOCOMPARE_WS_URL", "CRYPTOCOMPARE_REST_URL"]
        .map(|name| variables[name].as_str().unwrap_or_default())
}

async fn hardened(compose: Arc<Compose>) -> Result<()> {
    let mut lacking = Vec::new();
    for env in [WITHOUT_KEY, WITH_KEY] {
        let services = compose.services(env).await?;
        for name in names(&services) {
            lacking.extend(lacks(&services, name));
        }
    }
    ensure!(lacking.is_empty(), "{}", lacking.join("; "));
    Ok(())
}

/// All that a service lacks.
fn lacks(services: &Value, name: &str) -> Vec<String> {
    let service = &services[name];
    let mut lacking = Vec::new();
    let mut want = |held: bool, what: &str| {
        if !held {
            lacking.push(format!("{name} lacks {what}"));
        }
    };
    let user = service["user"].as_str().unwrap_or_default();
    let number = user.split(':').next().and_then(|user| user.parse::<u32>().ok());
    want(number.is_some_and(|number| number > 0), "a user by number that is not root");
    want(service["read_only"] == true, "read_only");
    want(service["cap_drop"] == json!(["ALL"]), "cap_drop: [ALL]");
    want(
        service["cap_add"].is_null() && service["privileged"] != true,
        "a life without privileges",
    );
    want(service["security_opt"] == json!(["no-new-privileges:true"]), "no-new-privileges");
    // Bytes, as text.
    let memory = service["mem_limit"].as_str().and_then(|bytes| bytes.parse::<u64>().ok());
    want(memory.is_some_and(|bytes| bytes > 0), "mem_limit");
    want(service["cpus"].as_f64().is_some_and(|cpus| cpus > 0.0), "cpus");
    want(service["pids_limit"].as_i64().is_some_and(|pids| pids > 0), "pids_limit");
    let image = service["image"].as_str();
    want(
        service["build"].is_object() || image.is_some_and(is_exact),
        "an image of an exact version",
    );
    let mut ports = service["ports"].as_array().into_iter().flatten();
    want(ports.all(|port| port["host_ip"] == "127.0.0.1"), "ports on loopback only");
    want(service["healthcheck"]["test"].is_array() || ends(services, name), "a health check");
    lacking
}

/// Whether others wait for its end: then it has no health.
fn ends(services: &Value, name: &str) -> bool {
    let ended = "service_completed_successfully";
    services
        .as_object()
        .into_iter()
        .flatten()
        .any(|(_, other)| other["depends_on"][name]["condition"] == ended)
}

/// `…:v26.1.12`, `…:2.19.3-pg17`.
fn is_exact(image: &str) -> bool {
    let tag = image.rsplit_once(':').map_or("", |(_, tag)| tag);
    let numbers = tag.trim_start_matches('v').split(['.', '-']).take(3);
    numbers.filter(|number| number.parse::<u32>().is_ok()).count() == 3
}

async fn shared(compose: Arc<Compose>) -> Result<()> {
    let env: String = SHARED.iter().map(|(name, _)| format!("{name}=of-{name}\n")).collect();
    let services = compose.services(&env).await?;
    for (variable, known_to) in SHARED {
        for service in known_to {
            let value = &services[service]["environment"][variable];
            let wanted = format!("of-{variable}");
            ensure!(*value == wanted, "{service} has {variable} {value}");
        }
    }
    Ok(())
}

async fn bootstrap(compose: Arc<Compose>) -> Result<()> {
    const OURS: &str = "compose/bootstrap.yaml";
    let (production, ours) = (properties("rpk/.bootstrap.yaml")?, properties(OURS)?);
    ensure!(!production.is_empty(), "rpk/.bootstrap.yaml says nothing");
    for (name, value) in &production {
        let other = ours.get(name);
        ensure!(
            other == Some(value),
            "{name} is {value} in rpk/.bootstrap.yaml, and {other:?} in {OURS}"
        );
    }
    let small = "storage_min_free_bytes";
    ensure!(ours.contains_key(small), "{OURS} has no {small}: Redpanda would want 5 GiB free");
    ensure!(!production.contains_key(small), "a cluster must not run its disks full: {small}");
    let services = compose.services(WITHOUT_KEY).await?;
    let mut mounts = services["redpanda"]["volumes"].as_array().into_iter().flatten();
    let mounted = mounts.find(|mount| mount["target"] == "/etc/redpanda/.bootstrap.yaml");
    let from = mounted.and_then(|mount| mount["source"].as_str()).unwrap_or_default();
    ensure!(from.ends_with(OURS), "Redpanda is given '{from}'");
    Ok(())
}

/// Lines `name: value` of a file of the repository; Redpanda's files here hold nothing else but comments.
fn properties(file: &str) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(repository().join(file)).with_context(|| file.to_owned())?;
    let mut properties = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some((name, value)) = line.split_once(": ") else {
            bail!("{file}: '{line}' is no property");
        };
        properties.insert(name.to_owned(), value.to_owned());
    }
    Ok(properties)
}
