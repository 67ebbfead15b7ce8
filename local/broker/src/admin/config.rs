//! Settings by Redpanda's names: the few that say something about transforms here. They are the broker's own settings, which
//! are given when it is started.

use axum::body::Bytes;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tickpanda_host::{BINARY_MAX_SIZE, MAX_LOG_BYTES};

use super::answer::{Json, Refused};
use super::body;
use super::{About, Admin};
use crate::NODE;
use crate::settings::TopicSettings;

/// Fuel units that Redpanda counts as a millisecond.
const FUEL_A_MS: u64 = 2_000_000;
/// There never is another.
const VERSION: i32 = 1;

/// One setting: name, value, what it says.
type Property = (&'static str, Value, &'static str);

fn properties(about: &About) -> Vec<Property> {
    let memory = about.limits.memory;
    let commit = u64::try_from(about.timing.commit_interval.as_millis()).unwrap_or(u64::MAX);
    vec![
        ("cluster_id", about.store.cluster_id().into(), "Drawn when the data directory was made"),
        ("data_transforms_enabled", true.into(), "Whether transforms can be deployed"),
        (
            "data_transforms_per_function_memory_limit",
            memory.into(),
            "Bytes of memory that a transform has",
        ),
        (
            "data_transforms_per_core_memory_reservation",
            memory.saturating_mul(about.engine.most()).into(),
            "Bytes of memory for all transforms",
        ),
        (
            "data_transforms_runtime_limit_ms",
            (about.limits.fuel / FUEL_A_MS).into(),
            "Computing time that a transform has for a record",
        ),
        (
            "data_transforms_binary_max_size",
            BINARY_MAX_SIZE.into(),
            "Bytes that a transform's module may have",
        ),
        (
            "data_transforms_commit_interval_ms",
            commit.into(),
            "How often it is kept how far transforms are",
        ),
        (
            "data_transforms_logging_line_max_bytes",
            MAX_LOG_BYTES.into(),
            "Bytes of a transform's message that are kept",
        ),
        ("default_topic_partitions", 1.into(), "Partitions of a topic where nobody says how many"),
        (
            "kafka_batch_max_bytes",
            TopicSettings::default().max_message_bytes.into(),
            "Bytes of a batch where its topic does not say",
        ),
        ("auto_create_topics_enabled", false.into(), "Whether asking for a topic creates it"),
    ]
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    key: Option<String>,
}

/// `GET /v1/cluster_config`: all settings, whether or not they are the default's, or the one that is asked for.
pub(super) async fn cluster(
    State(admin): State<Admin>,
    Query(asked): Query<Asked>,
) -> Result<Json<Map<String, Value>>, Refused> {
    let all = properties(&admin.about).into_iter();
    let all: Map<_, _> = all.map(|(name, value, _)| (name.to_owned(), value)).collect();
    match asked.key.filter(|key| !key.is_empty()) {
        None => Ok(Json(all)),
        Some(key) => match all.get_key_value(&key) {
            Some((key, value)) => Ok(Json([(key.clone(), value.clone())].into_iter().collect())),
            None => Err(Refused::bad(format!("Unknown property {{{key}}}"))),
        },
    }
}

/// `GET /v1/cluster_config/schema`
pub(super) async fn schema(State(admin): State<Admin>) -> Json<Value> {
    let all = properties(&admin.about).into_iter().map(|(name, value, what)| {
        let kind = match value {
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            _ => "string",
        };
        let property = json!({
            "type": kind,
            "description": what,
            "nullable": false,
            "needs_restart": true,
            "is_secret": false,
            "visibility": "user",
        });
        (name.to_owned(), property)
    });
    Json(json!({ "properties": all.collect::<Map<_, _>>() }))
}

/// What is to be set, and what to get its default again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    upsert: Option<Map<String, Value>>,
    /// Go's clients write a list without anything as null.
    remove: Option<Vec<String>>,
}

/// `PUT /v1/cluster_config`: what is so already can be said again; nothing else can be changed while the broker runs.
pub(super) async fn set(State(admin): State<Admin>, body: Bytes) -> Result<Json<Value>, Refused> {
    let Patch { upsert, remove } = body::whole(&body)?;
    let all = properties(&admin.about);
    for (name, value) in upsert.unwrap_or_default() {
        let known = all.iter().find(|(known, ..)| *known == name);
        let Some((_, current, _)) = known else {
            return Err(Refused::bad(format!("Unknown property {{{name}}}")));
        };
        // rpk sends what was typed, as text.
        let shown = current.to_string();
        let as_typed = value.as_str() == Some(shown.as_str());
        if value != *current && !as_typed {
            return Err(Refused::bad(format!(
                "{name} is {current} here and can't be changed while the local broker runs: see its flags"
            )));
        }
    }
    match remove.unwrap_or_default().first() {
        None => Ok(Json(json!({ "config_version": VERSION }))),
        Some(name) => {
            Err(Refused::bad(format!("{name} can't be changed while the local broker runs")))
        }
    }
}

/// `GET /v1/cluster_config/status`
pub(super) async fn status() -> Json<Value> {
    let status = json!({
        "node_id": NODE,
        "restart": false,
        "config_version": VERSION,
        "invalid": [],
        "unknown": [],
    });
    Json(json!([status]))
}

/// `GET /v1/node_config`
pub(super) async fn node(State(admin): State<Admin>) -> Json<Value> {
    let About { data_dir, kafka, advertised: (host, port), admin, .. } = &*admin.about;
    let listener =
        |address: &std::net::SocketAddr| json!({ "address": address.ip(), "port": address.port() });
    Json(json!({
        "node_id": NODE,
        "data_directory": data_dir,
        "developer_mode": true,
        "kafka_api": [listener(kafka)],
        "advertised_kafka_api": [{ "address": host, "port": port }],
        "admin": admin.iter().map(listener).collect::<Vec<_>>(),
    }))
}
