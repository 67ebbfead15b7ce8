//! What each of our programs says where it is not let in, and whether it ends or waits.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::time::sleep;

use super::cluster::{Cluster, PASSWORD, WRONG};
use super::database::Database;
use super::programs::{Running, Way, command, output, troubles};

/// How long a program is watched that is to wait.
const WATCHED: Duration = Duration::from_secs(4);

/// What is wrong, and what is said.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) what: &'static str,
    pub(super) way: Way,
    /// In the one line.
    pub(super) said: &'static str,
    /// Whether nothing but a change of settings helps: then programs end with 2. What may pass is waited
    /// for.
    pub(super) ends: bool,
}

/// All of them.
pub(super) fn all(cluster: &Cluster) -> Vec<Refusal> {
    let to = |listener| Way::to(cluster, listener);
    let sasl = |mechanism, password| to("SASLTLS").tls(cluster, "ca.pem").sasl(mechanism, password);
    let refusal = |what, way, said, ends| Refusal { what, way, said, ends };
    vec![
        refusal(
            "a wrong password, PLAIN",
            sasl("PLAIN", WRONG),
            "PLAIN refused for user alice",
            true,
        ),
        refusal(
            "a wrong password, SCRAM-SHA-256",
            sasl("SCRAM-SHA-256", WRONG),
            "SCRAM-SHA-256 refused for user alice",
            true,
        ),
        refusal("an unknown CA", to("TLS").tls(cluster, "other-ca.pem"), "KAFKA_CA_FILE", true),
        refusal(
            "an expired certificate",
            to("EXPIRED").tls(cluster, "ca.pem"),
            "its certificate has expired",
            true,
        ),
        refusal(
            "a wrong host name",
            to("ELSEWHERE").tls(cluster, "ca.pem"),
            "is for kafka.elsewhere.example, not for localhost",
            true,
        ),
        refusal(
            "no client certificate where one is wanted",
            to("MUTUAL").tls(cluster, "ca.pem"),
            "KAFKA_CERT_FILE",
            true,
        ),
        refusal(
            "a stranger's client certificate",
            to("MUTUAL").tls(cluster, "ca.pem").certificate(cluster, "other"),
            "does not take our certificate",
            true,
        ),
        refusal(
            "name and password where none is wanted",
            to("TLS").tls(cluster, "ca.pem").sasl("PLAIN", PASSWORD),
            "asks for no name and password",
            true,
        ),
        refusal("plain text at a TLS port", to("TLS"), "KAFKA_TLS=true", true),
        refusal(
            "TLS at a plain port",
            to("PLAINTEXT").tls(cluster, "ca.pem"),
            "leave KAFKA_TLS out",
            false,
        ),
        refusal(
            "no name where one is wanted",
            to("SASLTLS").tls(cluster, "ca.pem"),
            "KAFKA_SASL_MECHANISM",
            false,
        ),
    ]
}

/// The one line of each program, after its exit code or that it waits.
pub(super) struct Said {
    pub(super) program: &'static str,
    pub(super) line: String,
    pub(super) result: Result<()>,
}

/// Has each program try.
pub(super) async fn ask(refusal: &Refusal, database: &Database) -> Vec<Said> {
    let mut all = Vec::new();
    for program in ["source", "ctl", "transform run", "sink", "audit"] {
        let mut line = String::new();
        let result = one(program, refusal, database, &mut line).await;
        all.push(Said { program, line, result });
    }
    all
}

async fn one(
    program: &'static str,
    refusal: &Refusal,
    database: &Database,
    line: &mut String,
) -> Result<()> {
    let work = tempfile::tempdir()?;
    let wasm = std::env::var("TICKPANDA_TRANSFORM_WASM").unwrap_or_default();
    let run = ["transform", "run", &wasm, "--input-topic", "in", "--output-topic", "out"];
    let (binary, args) = match program {
        "source" => ("tickpanda-source", &["--ws-url", "ws://127.0.0.1:9"][..]),
        "ctl" => ("tickpanda-source", &["ctl", "retry", "--timeout", "10s"][..]),
        "transform run" => ("tickpanda", &run[..]),
        "sink" => ("tickpanda-sink", &[][..]),
        _ => ("tickpanda", &["audit"][..]),
    };
    let mut command = command(binary, args, work.path(), &refusal.way);
    command.env("CRYPTOCOMPARE_API_KEY", "a-key");
    command.env("DATABASE_URL", database.url("postgres", "refused"));
    command.envs(database.verify_full("db-ca.pem"));
    // Those that end in any case.
    let asks_once = ["ctl", "audit"].contains(&program);
    let said = if refusal.ends || asks_once {
        let (code, said) = output(command).await?;
        match refusal.ends {
            true => ensure!(code == 2, "exit code {code}: {said}"),
            false => ensure!(code != 0, "exit code 0: {said}"),
        }
        said
    } else {
        waits(command, &work).await?
    };
    let troubles = troubles(&said);
    *line = troubles.join(" / ");
    ensure!(troubles.len() == 1, "{} lines: {said}", troubles.len());
    ensure!(troubles[0].contains(refusal.said), "not `{}`: {}", refusal.said, troubles[0]);
    Ok(())
}

/// It goes on, and does not repeat itself.
async fn waits(command: tokio::process::Command, work: &TempDir) -> Result<String> {
    let mut running = Running::start("waits", command, Path::new(work.path()))?;
    sleep(WATCHED).await;
    let said = running.log();
    ensure!(running.runs()?, "it has ended: {said}");
    super::programs::no_secret(&said)?;
    Ok(said)
}
