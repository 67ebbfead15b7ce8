//! All settings, in one place: read once, checked once, printed once with secrets hidden.
//!
//! A flag wins over the environment, the environment over `.env`, and that over the default. The
//! API key has no flag, because flags can be read by every user of a machine.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use reqwest::Url;
use tickpanda_model::candle::Unit;
use tickpanda_model::topic;

use crate::api_key::ApiKey;
use crate::backoff::Bounds;
use crate::error::SourceError;

mod parse;

/// Variable of the API key.
pub const API_KEY: &str = "CRYPTOCOMPARE_API_KEY";
/// More subs than any account has: a wrong file, rather.
const MAX_SUBS: usize = 20_000;
const DEFAULT_SUBS: [&str; 6] = [
    "0~Coinbase~BTC~USD",
    "0~Coinbase~ETH~USD",
    "0~Kraken~BTC~EUR",
    "0~Binance~BTC~USDT",
    "5~CCCAGG~BTC~USD",
    "5~CCCAGG~ETH~USD",
];

/// CryptoCompare to Kafka: every frame of the WebSocket, and candles by REST, verbatim on one topic.
#[derive(Clone, Debug, Parser)]
#[command(name = "tickpanda-source", version, after_help = AFTER_HELP)]
pub struct Args {
    /// File that holds the API key, instead of the variable CRYPTOCOMPARE_API_KEY
    #[arg(long, value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Kafka brokers, host:port, separated by commas
    #[arg(long, env = "KAFKA_BROKERS", hide_env_values = true, default_value = "localhost:9092", value_delimiter = ',', value_parser = parse::broker, value_name = "HOST:PORT")]
    pub brokers: Vec<String>,

    /// Address of the vendor's streamer
    #[arg(
        long,
        env = "CRYPTOCOMPARE_WS_URL",
        hide_env_values = true,
        default_value = "wss://streamer.cryptocompare.com/v2",
        value_name = "URL"
    )]
    pub ws_url: String,

    /// Address of the vendor's REST API, without /data
    #[arg(
        long,
        env = "CRYPTOCOMPARE_REST_URL",
        hide_env_values = true,
        default_value = "https://min-api.cryptocompare.com",
        value_name = "URL"
    )]
    pub rest_url: String,

    /// Topic for everything received; it must exist
    #[arg(long, env = "TICKPANDA_RAW_TOPIC", hide_env_values = true, default_value = topic::RAW, value_parser = parse::topic, value_name = "TOPIC")]
    pub raw_topic: String,

    /// What to subscribe to, separated by commas: 0 trades, 2 ticker, 5 index, 24 candles
    /// [default: trades of four pairs and two indices]
    #[arg(long, env = "TICKPANDA_SUBS", hide_env_values = true, value_delimiter = ',', value_parser = parse::sub, value_name = "SUB")]
    pub subs: Vec<String>,

    /// File with more subs, one a line; empty lines and lines that begin with # are skipped
    #[arg(long, env = "TICKPANDA_SUBS_FILE", hide_env_values = true, value_name = "FILE")]
    pub subs_file: Option<PathBuf>,

    /// Candles to fetch at the start for the pairs subscribed to: any of minute,hour,day, or none
    #[arg(long, env = "TICKPANDA_HISTORY", hide_env_values = true, default_value = "minute,hour,day", value_parser = parse::history, value_name = "LIST")]
    pub history: parse::Units,

    /// How many candles of each interval and pair
    #[arg(long, env = "TICKPANDA_HISTORY_LIMIT", hide_env_values = true, default_value_t = 200, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=2000), value_name = "N")]
    pub history_limit: u32,

    /// How many milliseconds a frame may wait for others before it is sent to the broker
    #[arg(long, env = "TICKPANDA_LINGER_MS", hide_env_values = true, default_value_t = 5, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(0..=10_000), value_name = "MS")]
    pub linger: u64,

    /// Folder for what must outlive the process: the run ledger
    #[arg(
        long,
        env = "TICKPANDA_SOURCE_STATE_DIR",
        hide_env_values = true,
        default_value = "tickpanda-source-state",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,

    /// Stop as on SIGTERM when standard input is closed: for a parent that may be killed
    #[arg(long)]
    pub stop_on_stdin_close: bool,
}

const AFTER_HELP: &str = "\
The API key is taken from the variable CRYPTOCOMPARE_API_KEY (environment or .env) or from the file
that --api-key-file names. RUST_LOG sets what is logged (default: info).

Exit codes: 0 stopped as asked, 1 internal, 2 a wrong setting, 3 API key refused, 4 the topic does
not exist, 5 stopped with frames unpublished.";

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The vendor's key.
    pub api_key: ApiKey,
    /// `host:port` each.
    pub brokers: Vec<String>,
    /// Streamer.
    pub ws_url: Url,
    /// REST API, without `/data`.
    pub rest_url: Url,
    /// Topic for everything received.
    pub raw_topic: String,
    /// Vendor sub strings, each once.
    pub subs: Vec<String>,
    /// Candle units to fetch at the start; empty: none.
    pub history: Vec<Unit>,
    /// Candles of each pair and unit, 1 to 2000.
    pub history_limit: u32,
    /// How long a frame may wait for others.
    pub linger: Duration,
    /// Folder of the run ledger.
    pub state_dir: PathBuf,
    /// The vendor's rules and our limits.
    pub rules: Rules,
}

/// Waits and limits that are not for users to change: they are the vendor's rules. Tests compress
/// them.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Between connections: at least 5 s by the vendor's rule.
    pub reconnect: Bounds,
    /// After `TOO_MANY_SOCKETS` and the like: the old socket may linger for minutes.
    pub crowded: Bounds,
    /// A connection without any frame for so long is dead; heartbeats come every 30 or 60 s.
    pub silence: Duration,
    /// Between REST requests: at most 10 a second.
    pub rest_pause: Duration,
    /// After a REST request that may work later.
    pub rest_retry: Bounds,
    /// Attempts per REST request.
    pub rest_attempts: u32,
    /// How long the raw topic may be missing at the start.
    pub topic_patience: Duration,
    /// How long stopping may take: what is unpublished by then is given up, and said.
    pub drain: Duration,
    /// Bytes of received frames that may wait for the broker.
    pub queue_bytes: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let bounds = |floor, ceiling| Bounds {
            floor: Duration::from_secs(floor),
            ceiling: Duration::from_secs(ceiling),
        };
        Rules {
            reconnect: bounds(5, 60),
            crowded: bounds(60, 300),
            silence: Duration::from_secs(90),
            rest_pause: Duration::from_millis(100),
            rest_retry: bounds(1, 60),
            rest_attempts: 20,
            topic_patience: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            queue_bytes: 8 << 20,
        }
    }
}

impl Args {
    /// Reads the files that the arguments name, and checks what one argument alone can't tell.
    /// `api_key` is the value of [`API_KEY`], if set.
    ///
    /// # Errors
    /// [`SourceError::Setting`], naming the setting; never with the key in it.
    pub fn check(self, api_key: Option<&str>) -> Result<Settings, SourceError> {
        // Not by clap, which prints what it refuses: the vendor's own examples have the key in the URL.
        let refuse = |name| move |problem| SourceError::Setting { name, problem };
        Ok(Settings {
            ws_url: parse::ws_url(&self.ws_url)
                .map_err(refuse("--ws-url (CRYPTOCOMPARE_WS_URL)"))?,
            rest_url: parse::rest_url(&self.rest_url)
                .map_err(refuse("--rest-url (CRYPTOCOMPARE_REST_URL)"))?,
            api_key: self.key(api_key)?,
            subs: self.all_subs()?,
            brokers: self.brokers,
            raw_topic: self.raw_topic,
            history: self.history.0,
            history_limit: self.history_limit,
            linger: Duration::from_millis(self.linger),
            state_dir: self.state_dir,
            rules: Rules::default(),
        })
    }

    fn key(&self, variable: Option<&str>) -> Result<ApiKey, SourceError> {
        let refuse =
            |name, problem: &str| Err(SourceError::Setting { name, problem: problem.to_owned() });
        if let Some(path) = &self.api_key_file {
            return match std::fs::read_to_string(path) {
                Ok(text) => ApiKey::new(&text).map_or_else(
                    || {
                        refuse(
                            "--api-key-file",
                            "the file holds no usable key (one line of visible ASCII)",
                        )
                    },
                    Ok,
                ),
                Err(error) => refuse("--api-key-file", &format!("{}: {error}", path.display())),
            };
        }
        match variable.map(str::trim) {
            None | Some("") => refuse(
                API_KEY,
                "not set: CryptoCompare needs an API key; put it into the environment, into .env, or into a file for --api-key-file",
            ),
            Some(key) => ApiKey::new(key).map_or_else(
                || refuse(API_KEY, "not usable: a key is visible ASCII without spaces"),
                Ok,
            ),
        }
    }

    fn all_subs(&self) -> Result<Vec<String>, SourceError> {
        let refuse = |problem: String| SourceError::Setting { name: "--subs-file", problem };
        let mut subs = self.subs.clone();
        if let Some(path) = &self.subs_file {
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse(format!("{}: {error}", path.display())))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let at =
                    |problem| refuse(format!("{} line {}: {problem}", path.display(), number + 1));
                subs.push(parse::sub(line).map_err(at)?);
            }
            if subs.is_empty() {
                return Err(refuse(format!("{}: there is no sub in it", path.display())));
            }
        }
        if subs.is_empty() {
            subs = DEFAULT_SUBS.map(String::from).into();
        }
        let mut seen = std::collections::HashSet::new();
        subs.retain(|sub| seen.insert(sub.clone()));
        if subs.len() > MAX_SUBS {
            let problem = format!("{} subs, and {MAX_SUBS} are the most", subs.len());
            return Err(SourceError::Setting { name: "--subs", problem });
        }
        Ok(subs)
    }
}

impl fmt::Display for Settings {
    /// One line with every setting, the key hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = parse::Units(self.history.clone());
        write!(
            f,
            "ws {} rest {} key {} brokers {} topic {} subs {} history {history} limit {} linger {} ms state {}",
            self.ws_url,
            self.rest_url,
            self.api_key,
            self.brokers.join(","),
            self.raw_topic,
            self.subs.len(),
            self.history_limit,
            self.linger.as_millis(),
            self.state_dir.display(),
        )
    }
}

#[cfg(test)]
mod tests;
