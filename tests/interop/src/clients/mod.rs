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
//! | `tools` | the Java command-line classes |

mod kcat;
mod matrix;
mod operate;
mod records;
mod remote;
mod rust;
mod tools;

use std::sync::Arc;

use anyhow::{Context, Result};
use tickpanda_broker::{Broker, BrokerConfig};

use self::matrix::{Client, Limits};
use self::remote::Remote;
use crate::table::{Peer, Table};
use crate::{apache, tools as fetch};

/// The broker that all clients talk to, with its data.
struct Server {
    broker: Broker,
    _data: tempfile::TempDir,
}

impl Server {
    async fn start() -> Result<Self> {
        let data = tempfile::tempdir().context("a folder for the broker")?;
        let broker = Broker::start(BrokerConfig::new(data.path())).await?;
        Ok(Self { broker, _data: data })
    }

    fn address(&self) -> String {
        self.broker.addr().to_string()
    }
}

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    let server = match Server::start().await {
        Ok(server) => server,
        Err(error) => {
            let peer = Peer::new("the local broker", env!("CARGO_PKG_VERSION"));
            let failed = async move { Err(error.context("it does not start")) };
            return table.check(&peer, "starts", failed).await;
        }
    };
    let address = server.address();
    let (clients, remotes) = clients(table, &address).await;
    matrix::run(table, &address, &clients).await;
    for (peer, remote, can) in &remotes {
        operate::run(table, peer, remote, *can, &server.broker.cluster_id()).await;
    }
    if clients.iter().any(|client| matches!(client.how, matrix::How::Kcat(_))) {
        kcat::operate(table, &address).await;
    }
    if clients.iter().any(|client| client.peer.name() == "Java client") {
        tools::run(table, &address).await;
    }
    rust::operate(table, &address).await;
    let peer = Peer::new("the local broker", env!("CARGO_PKG_VERSION"));
    let stopped = async move { Ok(server.broker.shutdown().await?) };
    table.check(&peer, "stops cleanly after all of them", stopped).await;
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
        Err(error) => table.skip("kcat", "everything", format!("{error:#}")),
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
                table.skip(name, "everything", format!("{error:#}"));
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

async fn java(address: &str) -> Result<Remote> {
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
    let program = fetch::cache("franz")?.join("franz");
    let mut build = tokio::process::Command::new(fetch::go().await?);
    build.args(["build", "-o"]).arg(&program).arg(".");
    fetch::output(build.current_dir(fetch::peers().join("clients/franz"))).await?;
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
