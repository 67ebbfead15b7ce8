//! TLS and SASL to a real Apache Kafka, certificates to a real PostgreSQL.
//!
//! | module | what it holds |
//! |---|---|
//! | `authority` | certificates, made for one run |
//! | `cluster` | a Kafka with a listener for each way to be let in |
//! | `database` | a PostgreSQL that speaks TLS |
//! | `programs` | our programs with the settings of one way |
//! | `flow` | the whole pipeline over one way |
//! | `refusals` | what is said where somebody is not let in |

mod authority;
mod cluster;
mod database;
mod flow;
mod programs;
mod refusals;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::apache;
use crate::table::{Peer, Table};
use cluster::{Cluster, PASSWORD, WRONG};
use database::{BY_CERTIFICATE, Database};
use flow::Flow;
use programs::{PATIENCE, Way, command, output};

/// Adds its rows.
pub(crate) async fn run(table: &mut Table) {
    let kafka = Peer::new("Apache Kafka", apache::VERSION);
    if let Err(error) = apache::jars().await {
        return table.not_begun("secured", "everything", &error.context("no Kafka"));
    }
    let database = match Database::start().await {
        Ok(database) => Arc::new(database),
        Err(error) => {
            return table.not_begun("secured", "everything", &error.context("no PostgreSQL"));
        }
    };
    let cluster = match Cluster::start().await {
        Ok(cluster) => Arc::new(cluster),
        Err(error) => {
            let what = "listeners with TLS and SASL";
            return table.check(&kafka, what, async move { Err(error) }).await;
        }
    };
    flows(table, &kafka, &cluster, &database).await;
    refused(table, &kafka, &cluster, &database).await;
    let (of_cluster, of_database) = (Arc::clone(&cluster), Arc::clone(&database));
    let what = "a password that is changed while source and sink run, and the broker killed: told, waited for, over";
    table.check(&kafka, what, changed(of_cluster, of_database)).await;
    let version = database.version().await.unwrap_or_else(|error| format!("{error:#}"));
    let postgres = Peer::new("PostgreSQL", version);
    certificates(table, &postgres, &cluster, &database).await;
}

/// The pipeline over every way.
async fn flows(table: &mut Table, peer: &Peer, cluster: &Arc<Cluster>, database: &Arc<Database>) {
    let to = |listener| Way::to(cluster, listener);
    let sasl = |mechanism| to("SASLTLS").tls(cluster, "ca.pem").sasl(mechanism, PASSWORD);
    let ways = [
        ("tls", "TLS, own CA", to("TLS").tls(cluster, "ca.pem")),
        (
            "mtls",
            "TLS, client certificate",
            to("MUTUAL").tls(cluster, "ca.pem").certificate(cluster, "client"),
        ),
        ("plain", "SASL PLAIN over TLS", sasl("PLAIN")),
        ("scram256", "SCRAM-SHA-256 over TLS", sasl("SCRAM-SHA-256")),
        ("scram512", "SCRAM-SHA-512 over TLS", sasl("SCRAM-SHA-512")),
        ("notls", "SCRAM-SHA-512 without TLS", to("SASLPLAIN").sasl("SCRAM-SHA-512", PASSWORD)),
    ];
    for (name, way_name, way) in ways {
        // One of them shows the database a certificate too.
        let own = name == "mtls";
        let flow = prepared(name, way, own, cluster, database).await;
        let flow = match flow {
            Ok(flow) => Arc::new(Mutex::new(flow)),
            Err(error) => {
                table.check(peer, way_name, async move { Err(error) }).await;
                continue;
            }
        };
        for part in ["source", "ctl", "transform run", "sink", "audit"] {
            let what = match part {
                "sink" if own => format!("{way_name}: sink, to the database by certificate"),
                "audit" => format!("{way_name}: audit, 0 missing, 0 extra"),
                part => format!("{way_name}: {part}"),
            };
            let (flow, database) = (Arc::clone(&flow), Arc::clone(database));
            let check = async move {
                let mut flow = flow.lock().await;
                match part {
                    "source" => flow.source().await,
                    "ctl" => flow.ctl().await,
                    "transform run" => flow.transform().await,
                    "sink" => flow.sink(&database).await,
                    _ => flow.audit(true).await,
                }
            };
            table.check(peer, what, check).await;
        }
    }
}

async fn prepared(
    name: &str,
    way: Way,
    own: bool,
    cluster: &Cluster,
    database: &Database,
) -> Result<Flow> {
    cluster.topics(&format!("{name}.")).await?;
    database.create(name).await?;
    let user = if own { BY_CERTIFICATE } else { "postgres" };
    let mut settings = database.verify_full("db-ca.pem").to_vec();
    settings.push(("DATABASE_URL", database.url(user, name)));
    if own {
        settings.push(("TIMESCALEDB_SSLCERT", database.file("db.pem")));
        settings.push(("TIMESCALEDB_SSLKEY", database.file("db.key")));
    }
    Flow::new(name, way, settings)
}

/// One row for each program and each way not to be let in, with its line.
async fn refused(table: &mut Table, peer: &Peer, cluster: &Cluster, database: &Database) {
    // With tables, so that the audit comes as far as the brokers.
    let prepared = async {
        database.create("refused").await?;
        let work = tempfile::tempdir()?;
        let way = Way::to(cluster, "PLAINTEXT");
        let mut sink = command("tickpanda-sink", &["--until-caught-up"], work.path(), &way);
        sink.env("DATABASE_URL", database.url("postgres", "refused"));
        let (code, said) = output(sink).await?;
        ensure!(code == 0, "exit code {code}: {said}");
        anyhow::Ok(())
    };
    if let Err(error) = prepared.await {
        table.check(peer, "tables for the audit", async move { Err(error) }).await;
        return;
    }
    for refusal in refusals::all(cluster) {
        for said in refusals::ask(&refusal, database).await {
            let what = format!("{}: {} says `{}`", refusal.what, said.program, said.line);
            table.check(peer, what, async move { said.result }).await;
        }
    }
}

/// In the middle of a run a refusal is told once and waited for.
async fn changed(cluster: Arc<Cluster>, database: Arc<Database>) -> Result<()> {
    let way = Way::to(&cluster, "SASLTLS").tls(&cluster, "ca.pem").sasl("SCRAM-SHA-256", PASSWORD);
    let mut flow = prepared("changed", way, false, &cluster, &database).await?;
    flow.source().await?;
    flow.transform().await?;
    flow.sink(&database).await?;
    cluster.set_password(WRONG).await?;
    cluster.kafka.kill().await?;
    cluster.kafka.again().await?;
    // That the broker is away, and that it does not let us in; the source's reader of commands by itself.
    for (part, most) in [("source", 3), ("transform", 2), ("sink", 2)] {
        let refused = |line: &&String| line.contains("SCRAM-SHA-256 refused for user alice");
        let deadline = Instant::now() + PATIENCE;
        let lines = loop {
            let lines = programs::troubles(&flow.said(part));
            if lines.iter().any(|line| refused(&line)) {
                break lines;
            }
            ensure!(Instant::now() < deadline, "{part} does not say why: {lines:?}");
            sleep(Duration::from_millis(200)).await;
        };
        ensure!(lines.len() <= most, "{part}: {} lines: {lines:?}", lines.len());
    }
    cluster.set_password(PASSWORD).await?;
    let before = database.ticks("changed").await?;
    flow.rows(&database, before + 200).await?;
    flow.audit(false).await
}

/// `verify-full` to the database, and what is said where it fails.
async fn certificates(
    table: &mut Table,
    peer: &Peer,
    cluster: &Arc<Cluster>,
    database: &Arc<Database>,
) {
    let authority = database.authority();
    for (what, certificate, ca, expected) in [
        ("a CA that is not its", authority.sign("localhost"), "db-other-ca.pem", "UnknownIssuer"),
        ("an expired certificate", authority.sign_expired("localhost"), "db-ca.pem", "expired"),
        (
            "another host's certificate",
            authority.sign("db.elsewhere.example"),
            "db-ca.pem",
            "not valid for name",
        ),
    ] {
        // Its own authority's file takes what is good but for the authority.
        let refused = (ca == "db-ca.pem").then_some(expected);
        let shown = async { database.shows(&certificate?, refused).await };
        if let Err(error) = shown.await {
            table.check(peer, what, async move { Err(error) }).await;
            continue;
        }
        for (program, binary, args) in
            [("sink", "tickpanda-sink", &[][..]), ("audit", "tickpanda", &["audit"][..])]
        {
            let mut line = String::new();
            let tried = async {
                let work = tempfile::tempdir()?;
                let mut command =
                    command(binary, args, work.path(), &Way::to(cluster, "PLAINTEXT"));
                command.env("DATABASE_URL", database.url("postgres", "refused"));
                command.envs(database.verify_full(ca));
                let (code, said) = output(command).await?;
                let troubles = programs::troubles(&said);
                line = troubles.join(" / ");
                ensure!(code != 0, "exit code 0: {said}");
                ensure!(troubles.len() == 1 && line.contains(expected), "exit code {code}: {said}");
                anyhow::Ok(())
            };
            let tried = tried.await;
            let what = format!("verify-full, {what}: {program} says `{line}`");
            table.check(peer, what, async move { tried }).await;
        }
    }
}
