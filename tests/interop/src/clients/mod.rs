//! Kafka clients of every language against the local broker: what each can do with it, and whether each
//! reads exactly what each other has written.
//!
//! | module | what it holds |
//! |---|---|
//! | `remote` | a client in another language: a program that takes JSON commands |
//! | `kcat`, `rust` | kcat, which is run, and rskafka, which is linked |
//! | `records` | what is written, and how a client shows what it read |
//! | `matrix` | each writer with each reader |
//! | `operate` | topics, settings, groups: a row for a thing and a client |
//! | `restart` | the broker is killed while clients are in the middle of their work |
//! | `tools` | the Java command-line classes |

mod kcat;
mod matrix;
mod operate;
mod records;
mod remote;
mod restart;
mod rust;
mod tools;

use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use self::matrix::{Client, Limits};
pub(crate) use self::records::hex;
use self::remote::Remote;
use crate::local::LocalBroker;
use crate::table::{Peer, Table};
use crate::{apache, tools as fetch};

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    let broker = Peer::new("the local broker", env!("CARGO_PKG_VERSION"));
    let (server, cluster) = match start().await {
        Ok(started) => started,
        Err(error) => return table.check(&broker, "starts", async move { Err(error) }).await,
    };
    let address = server.kafka().to_owned();
    let (clients, remotes) = clients(table, &address).await;
    matrix::run(table, &address, &clients).await;
    for (peer, remote, can) in &remotes {
        operate::run(table, peer, remote, *can, &cluster).await;
    }
    if clients.iter().any(|client| matches!(client.how, matrix::How::Kcat(_))) {
        kcat::operate(table, &address).await;
    }
    if clients.iter().any(|client| client.peer.name() == "Java client") {
        tools::run(table, &address).await;
    }
    rust::operate(table, &address).await;
    let server = Arc::new(Mutex::new(server));
    for client in &clients {
        restart::run(table, client, &server).await;
    }
    let stopped = async move {
        let server = Arc::into_inner(server).context("nobody uses it any more")?;
        server.into_inner().stop()
    };
    table.check(&broker, "stops cleanly after all of them", stopped).await;
}

/// The broker that all clients talk to, and its cluster's id.
async fn start() -> Result<(LocalBroker, String)> {
    let server = LocalBroker::start().await?;
    let cluster = server.client().await?.cluster().await?.id.context("the cluster has an id")?;
    Ok((server, cluster))
}

/// The clients that can be had here, and of those in other languages what they can do; what can't be had is
/// told in the table.
async fn clients(
    table: &mut Table,
    address: &str,
) -> (Vec<Client>, Vec<(Peer, Arc<Remote>, operate::Can)>) {
    let mut clients = Vec::new();
    let mut remotes = Vec::new();
    clients.push(Client::rskafka(address));
    match kcat::version().await {
        Ok(version) => clients.push(Client::kcat(address, &version)),
        Err(error) => table.not_begun("kcat", "everything", &error),
    }
    let can = operate::Can { log_dirs: true, replace: true, new_protocol: false };
    let started = [
        (
            "Java client",
            java(address).await,
            Limits::default(),
            operate::Can { replace: false, new_protocol: true, ..can },
        ),
        ("franz-go", franz(address).await, Limits::default(), can),
        (
            "kafka-python",
            python("with_kafka_python.py", "kafka-python==3.0.12", address).await,
            Limits { null_headers: false, ..Limits::default() },
            can,
        ),
        (
            "confluent-kafka",
            python("with_confluent.py", "confluent-kafka==2.16.1", address).await,
            Limits::default(),
            operate::Can { log_dirs: false, ..can },
        ),
    ];
    for (name, started, limits, can) in started {
        let remote = match started {
            Ok(remote) => Arc::new(remote),
            Err(error) => {
                table.not_begun(name, "everything", &error);
                continue;
            }
        };
        let version = remote.version().await.unwrap_or_else(|error| format!("{error:#}"));
        let peer = Peer::new(name, version);
        clients.push(Client::remote(&peer, &remote, limits));
        remotes.push((peer, remote, can));
    }
    (clients, remotes)
}

/// The Java client's program for a broker.
pub(crate) async fn java(address: &str) -> Result<Remote> {
    let jars = apache::jars().await?;
    let mut command = tokio::process::Command::new("java");
    command
        .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"])
        .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=off")
        .arg("-cp")
        .arg(jars.join("*"))
        .arg(fetch::peers().join("clients/JavaPeer.java"))
        .arg(address);
    Remote::start(command)
}

async fn franz(address: &str) -> Result<Remote> {
    let program = fetch::go_program("clients/franz", "franz").await?;
    let mut command = tokio::process::Command::new(program);
    command.arg(address);
    Remote::start(command)
}

async fn python(script: &str, package: &str, address: &str) -> Result<Remote> {
    // The codecs are packages of their own.
    let packages = [package, "lz4", "python-snappy", "zstandard"];
    let mut command = tokio::process::Command::new(fetch::python(&packages).await?);
    command.arg("-W").arg("ignore").arg(fetch::peers().join("clients").join(script)).arg(address);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    Remote::start(command)
}
