//! All settings, in one place: read once, checked once, printed once with secrets hidden.
//!
//! A flag wins over the environment, the environment over `.env`, and that over the default.
//!
//! | module | settings of |
//! |---|---|
//! | `keys` | the vendor's keys |
//! | `subs` | subs and sockets |
//! | `topics` | the topics beside the raw one |
//! | `operations` | state folder, name, HTTP |
//! | `parse` | reading single values |

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;
use reqwest::Url;
use tickpanda_kafka::Brokers;
use tickpanda_kafka::settings::{KafkaSettings, PrefixSettings};
use tickpanda_model::candle::Unit;
use tickpanda_model::topic;

use crate::api_key::ApiKey;
use crate::backoff::Bounds;
use crate::error::SourceError;
use crate::history::client::REQUEST_TIMEOUT;
use crate::history::settings::BudgetArgs;
use crate::machine::{history, streaming};
use crate::watch::Patience;

mod keys;
mod operations;
pub(crate) mod parse;
mod subs;
mod topics;

pub use keys::{API_KEY, KeyArgs};
pub use operations::{OperationArgs, Ready};
pub use subs::SubArgs;
pub use topics::{TopicArgs, Topics};

/// CryptoCompare to Kafka: every frame of the WebSocket, and candles by REST, verbatim on one topic.
#[derive(Clone, Debug, Parser)]
#[command(name = "tickpanda-source", version)]
pub struct Args {
    /// Which key to show to the vendor.
    #[command(flatten)]
    pub keys: KeyArgs,

    /// The cluster, and how to be let in.
    #[command(flatten)]
    pub kafka: KafkaSettings,

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

    /// What to subscribe to.
    #[command(flatten)]
    pub subs: SubArgs,

    /// Candles to fetch at the start for the pairs subscribed to: any of minute,hour,day, or none
    #[arg(long, env = "TICKPANDA_HISTORY", hide_env_values = true, default_value = "minute,hour,day", value_parser = parse::history, value_name = "LIST")]
    pub history: parse::Units,

    /// How many candles of each interval and pair
    #[arg(long, env = "TICKPANDA_HISTORY_LIMIT", hide_env_values = true, default_value_t = 200, allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=2000), value_name = "N")]
    pub history_limit: u32,

    /// Leave the candles of gaps unfetched; they stay owed, to the next run without this
    #[arg(long, env = "TICKPANDA_NO_REPAIR", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_repair: bool,

    /// How many REST calls may be made.
    #[command(flatten)]
    pub budgets: BudgetArgs,

    /// What topics' names begin with.
    #[command(flatten)]
    pub prefix: PrefixSettings,

    /// Topic for everything received; it must exist [default: the prefix and cryptocompare-raw]
    #[arg(long, env = "TICKPANDA_RAW_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub raw_topic: Option<String>,

    /// How many milliseconds a frame may wait for others before it is sent to the broker
    #[arg(long, env = "TICKPANDA_LINGER_MS", hide_env_values = true, default_value_t = 5, allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(0..=10_000), value_name = "MS")]
    pub linger: u64,

    /// Topics beside the raw one.
    #[command(flatten)]
    pub topics: TopicArgs,

    /// Stop as on SIGTERM when standard input is closed: for a parent that may be killed
    #[arg(long)]
    pub stop_on_stdin_close: bool,

    /// For operators.
    #[command(flatten)]
    pub operations: OperationArgs,
}

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The vendor's key: the first of `api_keys`, which REST uses.
    pub api_key: ApiKey,
    /// The vendor's keys, each once, at least one.
    pub api_keys: Vec<ApiKey>,
    /// The cluster.
    pub brokers: Brokers,
    /// Streamer.
    pub ws_url: Url,
    /// REST API, without `/data`.
    pub rest_url: Url,
    /// Topic for everything received.
    pub raw_topic: String,
    /// Vendor sub strings, each once, no more than all sockets take.
    pub subs: Vec<String>,
    /// Sockets for each key.
    pub sockets: usize,
    /// Subs on one socket.
    pub subs_per_socket: usize,
    /// Subs on all sockets of all keys together.
    pub capacity: usize,
    /// Candle units to fetch at the start; empty: none.
    pub history: Vec<Unit>,
    /// Candles of each pair and unit, 1 to 2000.
    pub history_limit: u32,
    /// Whether the candles of gaps are fetched.
    pub repair: bool,
    /// How long a frame may wait for others.
    pub linger: Duration,
    /// Topics beside the raw one.
    pub topics: Topics,
    /// Whether to take commands from [`Topics::control`].
    pub control: bool,
    /// This source's name in commands and replies.
    pub name: String,
    /// Folder for what must outlive the process.
    pub state_dir: PathBuf,
    /// Bytes that may wait on disk for the broker.
    pub spool_bytes: u64,
    /// Where to serve HTTP for operators, if anywhere.
    pub http: Option<SocketAddr>,
    /// What `/ready` lets pass.
    pub ready: Ready,
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
    /// TCP, TLS and upgrade of a socket together.
    pub connect: Duration,
    /// A socket that has not welcomed us by then is of no use.
    pub welcome: Duration,
    /// After the vendor refused a key.
    pub refused: Duration,
    /// How long a further socket of a key waits for the first one's welcome.
    pub room: Duration,
    /// When a sub that gives no data is suspicious, and a number that was skipped is missing.
    pub patience: Patience,
    /// The history's.
    pub history: history::Rules,
    /// A whole REST request, body included.
    pub request: Duration,
    /// How long the raw topic may be missing at the start.
    pub topic_patience: Duration,
    /// How long stopping may take: what is unpublished by then waits in the spool for the next start.
    pub drain: Duration,
}

impl Rules {
    /// As the state machine takes them.
    pub(crate) fn streaming(&self) -> streaming::Rules {
        let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4);
        streaming::Rules {
            reconnect: self.reconnect,
            crowded: self.crowded,
            silence: ms(self.silence),
            welcome: ms(self.welcome),
            refused: ms(self.refused),
            room: ms(self.room),
        }
    }
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
            connect: Duration::from_secs(20),
            welcome: Duration::from_secs(30),
            refused: Duration::from_secs(3600),
            room: Duration::from_secs(60),
            patience: Patience::default(),
            history: history::Rules::default(),
            request: REQUEST_TIMEOUT,
            topic_patience: Duration::from_secs(10),
            drain: Duration::from_millis(700),
        }
    }
}

impl Args {
    /// Reads the files that the arguments name, and checks what one argument alone can't tell.
    /// `api_key` is the value of [`API_KEY`], if set: a key, or several separated by commas.
    ///
    /// # Errors
    /// [`SourceError::Setting`], naming the setting; never with the key in it.
    pub fn check(self, api_key: Option<&str>) -> Result<Settings, SourceError> {
        // Not by clap, which prints what it refuses: the vendor's own examples have the key in the URL.
        let refuse = |name| move |problem| SourceError::Setting { name, problem };
        let api_keys = self.keys.keys(api_key)?;
        let brokers = self.kafka.check(tickpanda_program::hide)?;
        let raw_topic = self.prefix.name(self.raw_topic.as_ref(), topic::RAW);
        Ok(Settings {
            ws_url: parse::ws_url(&self.ws_url)
                .map_err(refuse("--ws-url (CRYPTOCOMPARE_WS_URL)"))?,
            rest_url: parse::rest_url(&self.rest_url)
                .map_err(refuse("--rest-url (CRYPTOCOMPARE_REST_URL)"))?,
            subs: self.subs.all(api_keys.len())?,
            sockets: self.subs.sockets.into(),
            subs_per_socket: self.subs.subs_per_socket.into(),
            capacity: self.subs.capacity(api_keys.len()),
            api_key: api_keys[0].clone(), // `keys` gives one at least
            api_keys,
            brokers,
            history: self.history.0,
            history_limit: self.history_limit,
            repair: !self.no_repair,
            linger: Duration::from_millis(self.linger),
            control: !self.topics.no_control,
            topics: self.topics.check(&self.prefix, &raw_topic)?,
            raw_topic,
            name: self.operations.name(),
            spool_bytes: self.operations.spool_bytes,
            http: self.operations.listen(),
            ready: self.operations.ready(),
            state_dir: self.operations.state_dir,
            rules: Rules { history: self.budgets.rules(), ..Rules::default() },
        })
    }
}

impl fmt::Display for Settings {
    /// One line with every setting, the key hidden.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let history = parse::Units(self.history.clone());
        write!(
            f,
            "{} ws {} rest {} keys {} {} brokers {} ({}) topic {} subs {} on {} sockets a key history {history} limit {} linger {} ms state {} spool {} bytes",
            self.name,
            self.ws_url,
            self.rest_url,
            self.api_keys.len(),
            self.api_key,
            self.brokers,
            self.brokers.security,
            self.raw_topic,
            self.subs.len(),
            self.sockets,
            self.history_limit,
            self.linger.as_millis(),
            self.state_dir.display(),
            self.spool_bytes,
        )?;
        match self.control {
            true => write!(f, " commands from {}", self.topics.control),
            false => f.write_str(" no commands"),
        }
    }
}

#[cfg(test)]
mod tests;
