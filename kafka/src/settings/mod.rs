//! Where the cluster is, how to be let in, and what its topics' names begin with: the settings that all
//! programs which use a cluster have in common, under one name everywhere.
//!
//! The password comes from the environment, `.env` or a file. There is no flag for it, because every user
//! of a machine can read the flags of every process.

mod names;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::security::{Brokers, Mechanism, Sasl, Security};
use crate::tls::{self, Files, Which};

pub use names::{PrefixSettings, topic};

/// Variable of the password.
pub const PASSWORD: &str = "KAFKA_SASL_PASSWORD";

/// The variables of everything here but the brokers. Set to nothing they are as good as not set, so that
/// who starts a program for a cluster of his own can keep the user's settings out.
pub const VARIABLES: [&str; 9] = [
    "KAFKA_TLS",
    "KAFKA_CA_FILE",
    "KAFKA_CERT_FILE",
    "KAFKA_KEY_FILE",
    "KAFKA_SASL_MECHANISM",
    "KAFKA_SASL_USERNAME",
    PASSWORD,
    "KAFKA_SASL_PASSWORD_FILE",
    "TICKPANDA_TOPIC_PREFIX",
];

const CA: &str = "--kafka-ca-file (KAFKA_CA_FILE)";
const CERT: &str = "--kafka-cert-file (KAFKA_CERT_FILE)";
const KEY: &str = "--kafka-key-file (KAFKA_KEY_FILE)";
const USERNAME: &str = "--kafka-sasl-username (KAFKA_SASL_USERNAME)";
const PASSWORD_FILE: &str = "--kafka-sasl-password-file (KAFKA_SASL_PASSWORD_FILE)";

const DEFAULT_PORT: u16 = 9092;
/// No password is larger: it is another file.
const MAX_PASSWORD_FILE: u64 = 4096;

/// A setting that can't be used. Its text names it, and shows nothing that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {problem}")]
pub struct BadSetting {
    /// The flag, and its variable.
    pub name: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Kafka cluster")]
#[allow(missing_docs)]
pub struct KafkaSettings {
    /// Brokers to start from, host:port, separated by commas
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true, default_value = "localhost:9092", value_delimiter = ',', value_parser = broker, value_name = "HOST:PORT")]
    pub brokers: Vec<String>,

    /// TLS to the brokers, whose certificates must be made out to the names by which they are called
    #[arg(long, env = "KAFKA_TLS", hide_env_values = true, num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", value_parser = switch, value_name = "true|false")]
    pub kafka_tls: bool,

    /// PEM file with the authorities that sign the brokers' certificates [default: the public ones]
    #[arg(long, env = "KAFKA_CA_FILE", hide_env_values = true, value_parser = file(), value_name = "FILE")]
    pub kafka_ca_file: Option<PathBuf>,

    /// PEM file with our own certificate, where brokers ask for one
    #[arg(long, env = "KAFKA_CERT_FILE", hide_env_values = true, value_parser = file(), value_name = "FILE")]
    pub kafka_cert_file: Option<PathBuf>,

    /// PEM file with our own certificate's private key
    #[arg(long, env = "KAFKA_KEY_FILE", hide_env_values = true, value_parser = file(), value_name = "FILE")]
    pub kafka_key_file: Option<PathBuf>,

    /// How to show the password to the brokers: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, env = "KAFKA_SASL_MECHANISM", hide_env_values = true, value_parser = mechanism, value_name = "MECHANISM")]
    pub kafka_sasl_mechanism: Option<Wanted>,

    /// Whose password it is
    #[arg(long, env = "KAFKA_SASL_USERNAME", hide_env_values = true, value_name = "NAME")]
    pub kafka_sasl_username: Option<String>,

    /// File that holds the password; instead of the variable KAFKA_SASL_PASSWORD, over which it wins
    #[arg(long, env = "KAFKA_SASL_PASSWORD_FILE", hide_env_values = true, value_parser = file(), value_name = "FILE")]
    pub kafka_sasl_password_file: Option<PathBuf>,
}

/// A mechanism, or an empty text, which is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted(Option<Mechanism>);

impl KafkaSettings {
    /// The checked whole, with the password from the environment where no file is named. `hide` is told
    /// the password, for the log.
    ///
    /// # Errors
    /// [`BadSetting`].
    pub fn check(&self, hide: impl FnOnce(&str)) -> Result<Brokers, BadSetting> {
        let password = std::env::var_os(PASSWORD);
        self.check_with(password.map(|text| text.to_string_lossy().into_owned()).as_deref(), hide)
    }

    /// The same with this value of [`PASSWORD`].
    ///
    /// # Errors
    /// [`BadSetting`].
    pub fn check_with(
        &self,
        password: Option<&str>,
        hide: impl FnOnce(&str),
    ) -> Result<Brokers, BadSetting> {
        let security = Security { tls: self.tls()?, sasl: self.sasl(password)? };
        if let Some(sasl) = &security.sasl {
            hide(&sasl.password);
        }
        Ok(Brokers { addresses: self.brokers.clone(), security })
    }

    fn tls(&self) -> Result<Option<std::sync::Arc<rustls::ClientConfig>>, BadSetting> {
        let files = Files {
            ca: given(self.kafka_ca_file.as_deref()),
            cert: given(self.kafka_cert_file.as_deref()),
            key: given(self.kafka_key_file.as_deref()),
        };
        let refuse = |name, problem: &str| Err(BadSetting { name, problem: problem.to_owned() });
        if !self.kafka_tls {
            let all = [(CA, files.ca), (CERT, files.cert), (KEY, files.key)];
            return match all.into_iter().find(|(_, file)| file.is_some()) {
                Some((name, _)) => {
                    refuse(name, "given, but without KAFKA_TLS=true nothing is encrypted")
                }
                None => Ok(None),
            };
        }
        match (files.cert, files.key) {
            (Some(_), None) => return refuse(KEY, "not given, and our certificate needs its key"),
            (None, Some(_)) => return refuse(CERT, "not given, and the key is for a certificate"),
            _ => {}
        }
        let config = tls::client_config(files);
        config.map(Some).map_err(|bad| {
            let name = match bad.which {
                Which::Ca => CA,
                Which::Cert => CERT,
                Which::Key => KEY,
            };
            BadSetting { name, problem: bad.problem }
        })
    }

    fn sasl(&self, password: Option<&str>) -> Result<Option<Sasl>, BadSetting> {
        let refuse = |name, problem: &str| Err(BadSetting { name, problem: problem.to_owned() });
        let username = self.kafka_sasl_username.as_deref().filter(|name| !name.is_empty());
        let file = given(self.kafka_sasl_password_file.as_deref());
        let variable = password.filter(|password| !password.is_empty());
        let Some(mechanism) = self.kafka_sasl_mechanism.and_then(|wanted| wanted.0) else {
            let given = [
                (USERNAME, username.is_some()),
                (PASSWORD_FILE, file.is_some()),
                (PASSWORD, variable.is_some()),
            ];
            return match given.into_iter().find(|(_, given)| *given) {
                Some((name, _)) => refuse(
                    name,
                    "given, but no mechanism: set KAFKA_SASL_MECHANISM to PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512",
                ),
                None => Ok(None),
            };
        };
        let Some(username) = username else {
            return refuse(USERNAME, "not given, and KAFKA_SASL_MECHANISM needs it");
        };
        let (name, password) = match (file, variable) {
            (Some(file), _) => {
                let read = read(file);
                (
                    PASSWORD_FILE,
                    read.map_err(|problem| BadSetting { name: PASSWORD_FILE, problem })?,
                )
            }
            (None, Some(password)) => (PASSWORD, password.to_owned()),
            (None, None) => {
                return refuse(
                    PASSWORD,
                    "not set, and KAFKA_SASL_MECHANISM needs it: put it into the environment, into .env, or into a file for --kafka-sasl-password-file",
                );
            }
        };
        for (name, text) in [(USERNAME, username), (name, &password)] {
            if text.contains(['\0', '\n', '\r']) {
                return refuse(name, "it must be one line without a zero byte");
            }
        }
        if mechanism == Mechanism::Plain && !self.kafka_tls {
            tracing::warn!(
                "SASL PLAIN without TLS: everybody between here and the brokers can read the password (KAFKA_TLS, KAFKA_SASL_MECHANISM)"
            );
        }
        Ok(Some(Sasl { mechanism, username: username.to_owned(), password }))
    }
}

/// The password in a file: its first line. The file's name is not shown: somebody may have given the
/// password in its place.
fn read(file: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("cannot read the file: {error}");
    if std::fs::metadata(file).map_err(told)?.len() > MAX_PASSWORD_FILE {
        return Err(format!("the file is larger than {MAX_PASSWORD_FILE} bytes"));
    }
    let text = std::fs::read_to_string(file).map_err(told)?;
    let password = text.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        true => Err("the file is empty".to_owned()),
        false => Ok(password.to_owned()),
    }
}

fn given(path: Option<&Path>) -> Option<&Path> {
    path.filter(|path| !path.as_os_str().is_empty())
}

/// A path, of which an empty one is as good as none: clap's own parser refuses that, and then a variable
/// could not be taken back.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

fn switch(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" | "" => Ok(false),
        _ => Err("it is true or false"),
    }
}

fn mechanism(text: &str) -> Result<Wanted, &'static str> {
    if text.is_empty() {
        return Ok(Wanted(None));
    }
    text.parse().map(|mechanism| Wanted(Some(mechanism)))
}

/// A broker: `host`, `host:port`, an IPv6 address in brackets.
///
/// # Errors
/// In words, what it is not.
pub fn broker(text: &str) -> Result<String, String> {
    let text = text.trim();
    let (host, port) = match text.rsplit_once(':') {
        // An IPv6 address is in brackets, and its colons are no port's.
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().map_err(|_| "the port is not a number from 1 to 65535")?)
        }
        _ => (text, DEFAULT_PORT),
    };
    let wrong = |c: char| c.is_whitespace() || matches!(c, '/' | ',' | '@');
    if host.is_empty() || host.contains(wrong) || port == 0 {
        return Err("a broker is host:port, such as localhost:9092".into());
    }
    Ok(format!("{host}:{port}"))
}
