//! The sink's settings: flag over environment over `.env` over default, read once and checked once.
//!
//! The database's password is shown nowhere: not in `--help`, not in an error, not in `Debug`.

use std::fmt;
use std::str::FromStr;

use clap::Parser;
use sqlx::postgres::PgConnectOptions;
use tickpanda_model::topic;

use crate::database::address;
use crate::database_settings::DatabaseSettings;
use crate::error::SinkError;
use crate::http::HttpSettings;
use crate::latest::RedisSettings;

/// Copies the transform's output topics into TimescaleDB (or plain PostgreSQL), effectively once.
#[derive(Clone, Parser)]
#[command(name = "tickpanda-sink", version, about)]
pub struct Settings {
    /// Brokers to start from, `host:port`, separated by commas.
    #[arg(long, env = "KAFKA_BROKERS", value_name = "HOST:PORT,…", value_delimiter = ',',
          default_value = "localhost:9092", value_parser = broker)]
    pub brokers: Vec<String>,

    /// The database, and TLS to it.
    #[command(flatten)]
    pub database: DatabaseSettings,

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
    /// As [`DatabaseSettings::options`].
    pub fn database(&self) -> Result<PgConnectOptions, SinkError> {
        self.database.options()
    }
}

/// One of `--brokers`: `host:port`.
///
/// # Errors
/// In words, what it is not.
pub fn broker(text: &str) -> Result<String, String> {
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
    fn what_is_set_to_nothing_is_as_good_as_not_set() {
        for flag in ["--timescaledb-sslrootcert", "--timescaledb-sslcert", "--timescaledb-sslkey"] {
            assert!(parse(&[flag, ""]).unwrap().database().is_ok(), "{flag}");
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
