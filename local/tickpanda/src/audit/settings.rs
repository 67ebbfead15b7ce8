//! What a person can say to the audit: the variables and flags of source and sink, by their names.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use sqlx::postgres::PgConnectOptions;
use tickpanda_kafka::Brokers;
use tickpanda_kafka::settings::{self as kafka, KafkaSettings};
use tickpanda_model::topic;
use tickpanda_sink::row::Micros;
use tickpanda_sink::settings::OutputSettings;
use tickpanda_sink::{DatabaseSettings, SinkError};

/// Compare the database with the raw topics, row by row.
///
/// Reads every raw record from the beginning, makes of it what the transform makes of it, and looks
/// whether the sink's tables hold exactly that. It only reads. The exit code is 0 where all agrees, 1
/// on any difference, 2 for a wrong setting (also a certificate or password that is refused), 3 where brokers or database could not be read to the end
/// or all raw records are gone. What runs meanwhile may go on running.
#[derive(Args, Clone)]
pub struct AuditSettings {
    #[command(flatten)]
    kafka: KafkaSettings,

    /// A raw topic; may be given several times, and must name all that were ever written to [default: the
    /// prefix and cryptocompare-raw]
    #[arg(long, env = "TICKPANDA_RAW_TOPIC", value_name = "TOPIC", value_parser = kafka::topic, value_delimiter = ',')]
    pub(crate) raw_topic: Vec<String>,
    /// The transform's topics, as the sink's.
    #[command(flatten)]
    topics: OutputSettings,

    /// The database, as the sink's.
    #[command(flatten)]
    database: DatabaseSettings,

    /// Compare only rows from this time on, such as 2026-11-01T00:00:00Z: for tables whose old rows were
    /// deleted by hand, or dropped where the sink's account does not tell (candles, or a topic whose beginning
    /// is gone). What a retention policy takes is known without it.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(crate) since: Option<Micros>,

    /// How long to wait for a pipeline that is running to write what is missing.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) settle: Duration,

    /// A source's state folder, where one is at hand; may be given several times. Its ledger tells frames
    /// that were lost from numbers that a killed source may have drawn and never published, and of a run
    /// that ended by itself how many frames there must be.
    #[arg(long, value_name = "DIR")]
    pub(crate) source_state: Vec<PathBuf>,

    /// The result as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Where to keep, while it runs, 80 bytes for each row on each side [default: the system's]
    #[arg(long, value_name = "DIR")]
    pub(crate) temp_dir: Option<PathBuf>,
}

impl AuditSettings {
    /// Brokers and database, checked as the sink checks them.
    ///
    /// # Errors
    /// [`SinkError::Setting`].
    pub(crate) fn check(&self) -> Result<(Brokers, PgConnectOptions), SinkError> {
        Ok((self.kafka.check(tickpanda_program::hide)?, self.database.options()?))
    }

    /// The raw topics, each once.
    pub(crate) fn raw_topics(&self) -> Vec<String> {
        if self.raw_topic.is_empty() {
            return vec![self.topics.prefix.name(None, topic::RAW)];
        }
        let mut topics: Vec<String> = Vec::new();
        for topic in &self.raw_topic {
            if !topics.contains(topic) {
                topics.push(topic.clone());
            }
        }
        topics
    }

    /// The output topics, in the order of their tables.
    pub(crate) fn outputs(&self) -> [String; 3] {
        self.topics.names()
    }
}

fn since(text: &str) -> Result<Micros, String> {
    let wrong = || "a time is written as 2026-11-01T00:00:00Z".to_owned();
    let time: SystemTime = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
    let micros = time.duration_since(UNIX_EPOCH).map_err(|_| wrong())?.as_micros();
    i64::try_from(micros).ok().and_then(Micros::new).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        audit: AuditSettings,
    }

    fn parse(args: &[&str]) -> Result<AuditSettings, String> {
        let args = std::iter::once(&"audit").chain(args);
        Cli::try_parse_from(args).map(|cli| cli.audit).map_err(|error| error.to_string())
    }

    #[test]
    fn wrong_values_are_refused_by_name_and_no_secret_is_shown() {
        for (args, name) in [
            (["--settle", "soon"], "--settle"),
            (["--since", "yesterday"], "--since"),
            (["--timescaledb-port", "http"], "--timescaledb-port"),
        ] {
            let error = parse(&args).err().unwrap();
            assert!(error.contains(name), "{error}");
        }
        let settings = parse(&["--database-url", "mysql://u:hunter2@h/d"]).unwrap();
        let error = settings.check().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().starts_with("DATABASE_URL"), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn brokers_are_checked_and_may_be_listed_with_spaces() {
        let error = parse(&["--brokers", "no nonsense"]).err().unwrap();
        assert!(error.contains("--brokers"), "{error}");
        let (brokers, _) = parse(&["--brokers", "a:1, b:2"]).unwrap().check().unwrap();
        assert_eq!(brokers.addresses, ["a:1", "b:2"]);
    }

    #[test]
    fn raw_topics_add_up_and_a_time_needs_no_fraction() {
        let settings =
            parse(&["--raw-topic", "a", "--raw-topic", "b", "--raw-topic", "a"]).unwrap();
        assert_eq!(settings.raw_topics(), ["a", "b"]);
        let settings = parse(&["--topic-prefix", "staging."]).unwrap();
        assert_eq!(settings.raw_topics(), ["staging.cryptocompare-raw"]);
        assert_eq!(settings.outputs()[0], "staging.tick-data");
        let settings = parse(&["--since", "2026-11-01T00:00:00Z"]).unwrap();
        assert_eq!(settings.since.unwrap().to_string(), "2026-11-01T00:00:00.000000Z");
    }
}
