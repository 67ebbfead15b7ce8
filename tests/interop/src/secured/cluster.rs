//! A real Apache Kafka with a listener for each way to be let in.

use std::path::PathBuf;

use anyhow::{Context, Result};
use tempfile::TempDir;
use tickpanda_kafka::{Client, ClientConfig, TopicSpec};
use tickpanda_model::topic;

use super::authority::{Authority, Signed, file};
use crate::apache::{self, Apache};
use crate::tools::free_ports;

pub(super) const USER: &str = "alice";
pub(super) const PASSWORD: &str = "a-password-that-nobody-may-see";
pub(super) const WRONG: &str = "a-wrong-password-nobody-may-see";

/// Listeners beside the plain one, what speaks on them, and the certificate they show.
const LISTENERS: [(&str, &str, &str); 6] = [
    ("TLS", "SSL", "localhost"),
    ("MUTUAL", "SSL", "localhost"),
    ("EXPIRED", "SSL", "expired"),
    ("ELSEWHERE", "SSL", "elsewhere"),
    ("SASLTLS", "SASL_SSL", "localhost"),
    ("SASLPLAIN", "SASL_PLAINTEXT", "localhost"),
];

/// The broker, and files of its clients.
pub(super) struct Cluster {
    pub(super) kafka: Apache,
    ports: [u16; LISTENERS.len()],
    /// `ca.pem`, `other-ca.pem`, `client.pem`, `client.key`, `other.pem`, `other.key`.
    files: TempDir,
}

impl Cluster {
    pub(super) async fn start() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let folder = files.path();
        let (authority, other) = (Authority::new("the cluster's")?, Authority::new("another")?);
        file(folder, "ca.pem", &authority.pem)?;
        file(folder, "other-ca.pem", &other.pem)?;
        for (name, by) in [("client", &authority), ("other", &other)] {
            let Signed { cert, key } = by.sign(USER)?;
            file(folder, &format!("{name}.pem"), &cert)?;
            file(folder, &format!("{name}.key"), &key)?;
        }
        for (name, signed) in [
            ("localhost", authority.sign("localhost")?),
            ("elsewhere", authority.sign("kafka.elsewhere.example")?),
            ("expired", authority.sign_expired("localhost")?),
        ] {
            // As Kafka takes them: key and certificates in one file.
            file(folder, &format!("store-{name}.pem"), &format!("{}{}", signed.key, signed.cert))?;
        }
        let ports = free_ports()?;
        let in_folder = |name: &str| folder.join(name).display().to_string();
        let kafka = Apache::start_with(|plain, controller| {
            let listeners = LISTENERS
                .iter()
                .zip(&ports)
                .map(|((name, ..), port)| format!("{name}://localhost:{port}"));
            let listeners = listeners.collect::<Vec<_>>().join(",");
            let map = LISTENERS.map(|(name, speaks, _)| format!("{name}:{speaks}")).join(",");
            let mut lines = vec![
                format!(
                    "listeners=PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:{controller},{listeners}"
                ),
                format!("advertised.listeners=PLAINTEXT://127.0.0.1:{plain},{listeners}"),
                format!(
                    "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,{map}"
                ),
                "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
                "listener.name.mutual.ssl.client.auth=required".to_owned(),
            ];
            for (name, _, certificate) in LISTENERS {
                let of = format!("listener.name.{}", name.to_lowercase());
                let store = in_folder(&format!("store-{certificate}.pem"));
                lines.push(format!(
                    "{of}.ssl.keystore.type=PEM\n{of}.ssl.keystore.location={store}"
                ));
                lines.push(format!(
                    "{of}.ssl.truststore.type=PEM\n{of}.ssl.truststore.location={}",
                    in_folder("ca.pem")
                ));
            }
            for name in ["sasltls", "saslplain"] {
                let of = format!("listener.name.{name}");
                let login = "org.apache.kafka.common.security";
                lines.push(format!("{of}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";"));
                for scram in ["scram-sha-256", "scram-sha-512"] {
                    lines.push(format!(
                        "{of}.{scram}.sasl.jaas.config={login}.scram.ScramLoginModule required;"
                    ));
                }
            }
            lines.join("\n") + "\n"
        });
        let cluster = Cluster { kafka: kafka.await?, ports, files };
        cluster.set_password(PASSWORD).await?;
        Ok(cluster)
    }

    /// The user's password for SCRAM.
    pub(super) async fn set_password(&self, password: &str) -> Result<()> {
        let server = self.kafka.address();
        // Kafka takes no two of one user in one request.
        for name in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let config = format!("{name}=[iterations=4096,password={password}]");
            let args = ["--bootstrap-server", &server, "--alter", "--add-config", &config];
            let args = [&args[..], &["--entity-type", "users", "--entity-name", USER]].concat();
            apache::tool("kafka.admin.ConfigCommand", &args).await.context("a SCRAM user")?;
        }
        Ok(())
    }

    /// Where a listener listens.
    pub(super) fn at(&self, listener: &str) -> String {
        if listener == "PLAINTEXT" {
            return self.kafka.address();
        }
        let at = LISTENERS.iter().position(|(name, ..)| *name == listener);
        format!("localhost:{}", self.ports[at.expect("a listener's name")])
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    /// Raw and output topics whose names begin so.
    pub(super) async fn topics(&self, prefix: &str) -> Result<()> {
        let client = Client::connect(&[self.kafka.address()], ClientConfig::default()).await?;
        let specs = [topic::RAW].into_iter().chain(topic::OUTPUTS).map(|name| TopicSpec {
            name: format!("{prefix}{name}"),
            partitions: 2,
            replication_factor: 1,
            settings: [("max.message.bytes".to_owned(), "16777216".to_owned())].into(),
        });
        client.create_topics(&specs.collect::<Vec<_>>()).await?;
        Ok(())
    }
}
