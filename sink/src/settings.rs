//! The sink's settings: flag over environment over `.env` over default, read once and checked once.
//!
//! The database's password is shown nowhere: not in `--help`, not in an error, not in `Debug`.

use std::fmt;

use clap::Parser;
use sqlx::postgres::PgConnectOptions;
use tickpanda_kafka::Brokers;
use tickpanda_kafka::settings::{self as kafka, KafkaSettings, PrefixSettings};
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
    /// The cluster, and how to be let in.
    #[command(flatten)]
    pub kafka: KafkaSettings,

    /// The database, and TLS to it.
    #[command(flatten)]
    pub database: DatabaseSettings,

    /// The topics of the transform.
    #[command(flatten)]
    pub topics: OutputSettings,
    /// Topic with known holes [default: the prefix and gap-events]
    #[arg(long, env = "GAP_TOPIC", value_name = "TOPIC", value_parser = kafka::topic)]
    pub gap_topic: Option<String>,

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

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, clap::Args)]
#[allow(missing_docs)]
pub struct OutputSettings {
    /// What topics' names begin with.
    #[command(flatten)]
    pub prefix: PrefixSettings,
    /// Topic with ticks [default: the prefix and tick-data]
    #[arg(long, env = "TICK_TOPIC", value_name = "TOPIC", value_parser = kafka::topic)]
    pub tick_topic: Option<String>,
    /// Topic with candles [default: the prefix and ohlcv-data]
    #[arg(long, env = "OHLCV_TOPIC", value_name = "TOPIC", value_parser = kafka::topic)]
    pub ohlcv_topic: Option<String>,
    /// Topic with what could not be normalized [default: the prefix and dead-letter]
    #[arg(long, env = "DEAD_LETTER_TOPIC", value_name = "TOPIC", value_parser = kafka::topic)]
    pub dead_letter_topic: Option<String>,
}

impl OutputSettings {
    /// Ticks, candles, dead letters.
    pub fn names(&self) -> [String; 3] {
        let given = [&self.tick_topic, &self.ohlcv_topic, &self.dead_letter_topic];
        let [ticks, candles, dead_letters] = topic::OUTPUTS;
        let name = |at: usize, default| self.prefix.name(given[at].as_ref(), default);
        [name(0, ticks), name(1, candles), name(2, dead_letters)]
    }
}

impl Settings {
    /// The topic with known holes.
    pub fn gap_topic(&self) -> String {
        self.topics.prefix.name(self.gap_topic.as_ref(), topic::GAPS)
    }

    /// Where the cluster is, and how to be let in.
    ///
    /// # Errors
    /// [`SinkError::Setting`].
    pub fn brokers(&self) -> Result<Brokers, SinkError> {
        let brokers = self.kafka.check(tickpanda_program::hide)?;
        // rskafka 0.6 takes what stands before the first colon for the name in the certificate.
        let literal = brokers.addresses.iter().find(|address| address.starts_with('['));
        if let (Some(address), true) = (literal, brokers.security.tls.is_some()) {
            let problem = format!(
                "{address}: the sink can't check a certificate against an IPv6 address; give the broker a name, here and in its own advertised address"
            );
            return Err(SinkError::Setting { name: "--brokers (KAFKA_BROKERS)", problem });
        }
        Ok(brokers)
    }

    /// Where and as whom to connect to the database.
    ///
    /// # Errors
    /// As [`DatabaseSettings::options`].
    pub fn database(&self) -> Result<PgConnectOptions, SinkError> {
        self.database.options()
    }
}

/// For the one line at the start: everything that decides, nothing that is secret.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics = self.topics.names().join(", ");
        let brokers = self.kafka.brokers.join(",");
        write!(f, "{topics}, {} from {brokers}", self.gap_topic())?;
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
            (["--brokers", "no nonsense"], "--brokers"),
            (["--tick-topic", ""], "--tick-topic"),
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
    fn an_ipv6_address_is_refused_only_where_a_certificate_would_be_checked_against_it() {
        let brokers = ["--brokers", "broker.example:9092,[::1]:9093"];
        assert!(parse(&brokers).unwrap().brokers().is_ok());
        let error = parse(&[&brokers[..], &["--kafka-tls"]].concat()).unwrap().brokers();
        let error = error.unwrap_err();
        assert!(error.to_string().starts_with("--brokers (KAFKA_BROKERS): [::1]:9093"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn what_is_set_to_nothing_is_as_good_as_not_set() {
        for flag in ["--timescaledb-sslrootcert", "--timescaledb-sslcert", "--timescaledb-sslkey"] {
            assert!(parse(&[flag, ""]).unwrap().database().is_ok(), "{flag}");
        }
    }

    #[test]
    fn every_topic_that_is_not_named_gets_the_prefix() {
        let settings = parse(&["--topic-prefix", "staging.", "--tick-topic", "ticks"]).unwrap();
        let names = ["ticks", "staging.ohlcv-data", "staging.dead-letter"];
        assert_eq!(settings.topics.names(), names);
        assert_eq!(settings.gap_topic(), "staging.gap-events");
        assert_eq!(parse(&[]).unwrap().topics.names(), topic::OUTPUTS);
    }

    #[test]
    fn the_sample_of_settings_names_every_variable() {
        use clap::CommandFactory as _;
        let sample = include_str!("../../.env.sample");
        let command = Settings::command();
        let variables = command.get_arguments().filter_map(|argument| argument.get_env());
        for variable in variables.filter_map(std::ffi::OsStr::to_str) {
            assert!(sample.contains(&format!("{variable}=")), "{variable}");
        }
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
