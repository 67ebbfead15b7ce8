//! The sink's settings: flag over environment over `.env` over default, read once and checked once.
//!
//! The database's password is shown nowhere: not in `--help`, not in an error, not in `Debug`.

use std::fmt;
use std::str::FromStr;

use clap::Parser;
use sqlx::postgres::PgConnectOptions;
use tickpanda_model::topic;

use crate::database::address;
use crate::error::SinkError;
use crate::http::HttpSettings;
use crate::latest::RedisSettings;
use crate::tls::TlsSettings;

/// Copies the transform's output topics into TimescaleDB (or plain PostgreSQL), effectively once.
#[derive(Clone, Parser)]
#[command(name = "tickpanda-sink", version, about)]
pub struct Settings {
    /// Brokers to start from, `host:port`, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,…", value_delimiter = ',',
          default_value = "localhost:9092", value_parser = broker)]
    pub brokers: Vec<String>,

    /// The database, `postgres://user:password@host:port/name`; a Unix socket's folder as `?host=/folder`.
    /// Where it is set, the TIMESCALEDB settings are not used.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// The database's host, or the folder of its Unix socket.
    #[arg(long, env = "TIMESCALEDB_HOST", value_name = "HOST", default_value = "localhost")]
    pub timescaledb_host: String,
    /// The database's port.
    #[arg(long, env = "TIMESCALEDB_PORT", value_name = "PORT", default_value_t = 5432)]
    pub timescaledb_port: u16,
    /// The database's user.
    #[arg(long, env = "TIMESCALEDB_USERNAME", value_name = "NAME", default_value = "postgres")]
    pub timescaledb_username: String,
    /// The user's password.
    #[arg(long, env = "TIMESCALEDB_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub timescaledb_password: Option<String>,
    /// The database's name.
    #[arg(long, env = "TIMESCALEDB_DATABASE", value_name = "NAME", default_value = "ticks")]
    pub timescaledb_database: String,

    /// Topic with ticks.
    #[arg(long, env = "TICK_TOPIC", value_name = "TOPIC", default_value = topic::TICKS)]
    pub tick_topic: String,
    /// Topic with candles.
    #[arg(long, env = "OHLCV_TOPIC", value_name = "TOPIC", default_value = topic::CANDLES)]
    pub ohlcv_topic: String,
    /// Topic with what could not be normalized.
    #[arg(long, env = "DEAD_LETTER_TOPIC", value_name = "TOPIC", default_value = topic::DEAD_LETTERS)]
    pub dead_letter_topic: String,
    /// Topic with known holes.
    #[arg(long, env = "GAP_TOPIC", value_name = "TOPIC", default_value = topic::GAPS)]
    pub gap_topic: String,

    /// Connections to the database. More than two add little: its own work is the limit.
    #[arg(long, env = "SINK_CONNECTIONS", value_name = "N", default_value_t = 2,
          value_parser = clap::value_parser!(u32).range(1..=16))]
    pub connections: u32,
    /// Bytes fetched at once from a partition that is behind; each partition holds at most two such
    /// batches.
    #[arg(long, env = "SINK_FETCH_BYTES", value_name = "BYTES", default_value_t = 1 << 20,
          value_parser = clap::value_parser!(i32).range(65_536..=16_777_216))]
    pub fetch_bytes: i32,

    /// Write what is on the topics now, then end: exit code 0 when all of it is written. Other sinks may
    /// share the work.
    #[arg(long)]
    pub until_caught_up: bool,
    /// TLS to the database.
    #[command(flatten)]
    pub tls: TlsSettings,
    /// The latest ticks in Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// HTTP for operators.
    #[command(flatten)]
    pub http: HttpSettings,

    /// Stop when standard input ends: for a parent that may be killed and holds the other end.
    #[arg(long)]
    pub stop_on_stdin_close: bool,
}

impl Settings {
    /// Where and as whom to connect to the database.
    ///
    /// # Errors
    /// [`SinkError::Setting`] for a URL that is none.
    pub fn database(&self) -> Result<PgConnectOptions, SinkError> {
        if let Some(url) = self.database_url.as_deref().filter(|url| !url.is_empty()) {
            // The driver's error quotes nothing of the URL, but some of its options; so only its
            // form is named.
            let options = PgConnectOptions::from_str(url)
                .ok()
                .filter(|_| url.starts_with("postgres://") || url.starts_with("postgresql://"))
                .ok_or(SinkError::Setting {
                    name: "DATABASE_URL",
                    problem: "not of the form postgres://user:password@host:port/name, where odd \
                              characters of the password are percent-encoded"
                        .to_owned(),
                })?;
            return self.tls.apply(options);
        }
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.timescaledb_host)
            .port(self.timescaledb_port)
            .username(&self.timescaledb_username)
            .database(&self.timescaledb_database);
        let password = self.timescaledb_password.as_deref().filter(|password| !password.is_empty());
        self.tls.apply(match password {
            Some(password) => options.password(password),
            None => options,
        })
    }
}

fn broker(text: &str) -> Result<String, String> {
    let text = text.trim();
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(u16::from_str) {
        Some(Ok(1..)) => Ok(text.to_owned()),
        _ => Err("a broker is host:port".to_owned()),
    }
}

/// For the one line at the start: everything that decides, nothing that is secret.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics =
            [&self.tick_topic, &self.ohlcv_topic, &self.dead_letter_topic, &self.gap_topic]
                .map(String::as_str)
                .join(", ");
        write!(f, "{topics} from {}", self.brokers.join(","))?;
        if let Ok(options) = self.database() {
            write!(f, " to the database {}", address(&options))?;
        }
        if let Some(redis) = self.redis.address() {
            write!(f, ", latest ticks to Redis {redis}")?;
        }
        write!(f, ", {} connections, {} bytes a fetch", self.connections, self.fetch_bytes)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Settings, String> {
        let args = std::iter::once(&"tickpanda-sink").chain(args);
        Settings::try_parse_from(args).map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        for (args, name) in [
            (["--brokers", "nonsense"], "--brokers"),
            (["--brokers", "host:99999"], "--brokers"),
            (["--timescaledb-port", "http"], "--timescaledb-port"),
            (["--connections", "0"], "--connections"),
            (["--fetch-bytes", "1"], "--fetch-bytes"),
        ] {
            assert!(parse(&args).unwrap_err().contains(name), "{args:?}");
        }
        for url in ["mysql://u:hunter2@h/d", "hunter2", "postgres://u:hunter2@h:port/d"] {
            let error = parse(&["--database-url", url]).unwrap().database().unwrap_err();
            assert!(error.to_string().starts_with("DATABASE_URL"), "{error}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn brokers_may_be_listed_with_spaces() {
        let settings = parse(&["--brokers", "a:1, b:2"]).unwrap();
        assert_eq!(settings.brokers, ["a:1", "b:2"]);
    }

    #[test]
    fn secrets_are_shown_nowhere() {
        for args in
            [["--database-url", "postgres://u:hunter2@h/d"], ["--timescaledb-password", "hunter2"]]
        {
            let settings = parse(&args).unwrap();
            let options = settings.database().unwrap();
            assert!(!format!("{settings} {settings:?} {}", address(&options)).contains("hunter2"));
        }
    }

    #[test]
    fn a_unix_socket_can_be_named_in_the_url() {
        let url = "postgres://user@localhost/db?host=/run/sock&port=5433";
        let options = parse(&["--database-url", url]).unwrap().database().unwrap();
        assert_eq!(address(&options), "db at /run/sock:5433");
        assert_eq!(options.get_username(), "user");
    }
}
