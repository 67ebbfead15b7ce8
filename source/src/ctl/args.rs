//! What an operator can order, and where.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use tickpanda_kafka::settings::{KafkaSettings, PrefixSettings};
use tickpanda_model::candle::Interval;
use tickpanda_model::control::{Command, History};

use crate::control::understand::check_history;
use crate::settings::parse;

/// Settings of `ctl`. Its flags may stand before and after the order.
#[derive(Clone, Debug, Args)]
#[command(mut_args(|argument| argument.global(true)))]
pub struct CtlArgs {
    /// The cluster, and how to be let in.
    #[command(flatten)]
    pub kafka: KafkaSettings,

    /// What topics' names begin with.
    #[command(flatten)]
    pub prefix: PrefixSettings,

    /// Topic with operators' commands [default: the prefix and control-topic]
    #[arg(long, env = "CONTROL_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_topic: Option<String>,

    /// Topic for what became of each command [default: the prefix and control-replies]
    #[arg(long, env = "CONTROL_REPLIES_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_replies_topic: Option<String>,

    /// The one source that is to do it, by its name [default: every source]
    #[arg(long, value_parser = parse::name, value_name = "NAME")]
    pub to_source: Option<String>,

    /// How long to wait for answers: 30s, 5m
    #[arg(long, default_value = "30s", value_parser = duration, value_name = "TIME")]
    pub timeout: Duration,

    /// Print each answer as the JSON that is on the topic
    #[arg(long)]
    pub json: bool,

    /// What to order.
    #[command(subcommand)]
    pub order: Order,
}

/// A command to sources.
#[derive(Clone, Debug, Subcommand)]
pub enum Order {
    /// Subscribe to channels of the vendor: 0~Coinbase~ETH~USD and the like
    Subscribe {
        /// Vendor sub strings
        #[arg(required = true, value_name = "SUB", value_parser = parse::sub)]
        subs: Vec<String>,
        /// Publish them to this raw topic; it is created if it is missing
        #[arg(long, value_name = "TOPIC", value_parser = parse::topic)]
        topic: Option<String>,
    },
    /// End subscriptions
    Unsubscribe {
        /// Vendor sub strings
        #[arg(required = true, value_name = "SUB", value_parser = parse::sub)]
        subs: Vec<String>,
        /// The raw topic that they were published to, where it is another than the source's own
        #[arg(long, value_name = "TOPIC", value_parser = parse::topic)]
        topic: Option<String>,
    },
    /// Fetch candles by REST
    Fetch(FetchArgs),
    /// Create a raw topic like the source's own
    CreateTopic {
        /// Its name
        #[arg(value_name = "NAME", value_parser = parse::topic)]
        name: String,
    },
    /// Have whatever is in error try again now
    Retry,
}

/// Which candles.
#[derive(Clone, Debug, Args)]
pub struct FetchArgs {
    /// Market, base and quote, such as Coinbase~BTC~USD
    #[arg(value_name = "PAIR", value_parser = pair)]
    pub pair: Pair,
    /// Length of a candle: 1m, 1h or 1d, or with a number up to 30: 5m
    #[arg(long, value_name = "INTERVAL", value_parser = interval)]
    pub interval: Interval,
    /// First candle: a day, a time in UTC (2026-01-31T12:00:00Z), or seconds since the epoch
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub from: Option<i64>,
    /// Last candle, as --from [default: now]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub to: Option<i64>,
    /// At most this many candles
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
}

/// A market's pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    market: String,
    base: String,
    quote: String,
}

impl Order {
    /// The command for the control topic.
    pub fn command(self) -> Command {
        match self {
            Order::Subscribe { subs, topic } => Command::Subscribe { subs, topic },
            Order::Unsubscribe { subs, topic } => Command::Unsubscribe { subs, topic },
            Order::CreateTopic { name } => Command::CreateTopic { topic_name: name },
            Order::Retry => Command::Retry,
            Order::Fetch(fetch) => Command::FetchHistoricalData(fetch.history()),
        }
    }
}

impl FetchArgs {
    fn history(self) -> History {
        let Pair { market, base, quote } = self.pair;
        // On the topic, and at the vendor, the unit and the number of it are two things.
        let one = Interval::new(1, self.interval.unit());
        let count = self.interval.count();
        History {
            fsym: base,
            tsym: quote,
            e: market,
            interval: one.unwrap_or(self.interval),
            aggregate: Some(count).filter(|count| *count > 1),
            from: self.from,
            to: self.to,
            limit: self.limit,
        }
    }
}

fn pair(text: &str) -> Result<Pair, String> {
    let parts: Vec<_> = text.split('~').map(str::to_owned).collect();
    let [market, base, quote] = <[String; 3]>::try_from(parts)
        .map_err(|_| "a pair is market, base and quote, such as Coinbase~BTC~USD".to_owned())?;
    let day = Interval::new(1, tickpanda_model::candle::Unit::Day);
    let interval = day.ok_or("a day is no interval")?;
    let (fsym, tsym, e) = (base.clone(), quote.clone(), market.clone());
    let any =
        History { fsym, tsym, e, interval, aggregate: None, from: None, to: None, limit: None };
    check_history(&any)?;
    Ok(Pair { market, base, quote })
}

fn interval(text: &str) -> Result<Interval, String> {
    let interval: Option<Interval> = text.parse().ok();
    let interval = interval.filter(|interval| interval.count() <= 30);
    interval.ok_or_else(|| "an interval is 1m, 1h or 1d, or a number of these up to 30".to_owned())
}

/// Seconds since the epoch, from a number, a day, or a time in UTC.
fn seconds(text: &str) -> Result<i64, String> {
    let wrong =
        || "a time is 2026-01-31, 2026-01-31T12:00:00Z, or seconds since the epoch".to_owned();
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_err(|_| wrong());
    }
    let time: SystemTime = match text.len() {
        10 => humantime::parse_rfc3339_weak(&format!("{text} 00:00:00")),
        _ => humantime::parse_rfc3339_weak(text),
    }
    .map_err(|_| wrong())?;
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| wrong())?;
    i64::try_from(since.as_secs()).map_err(|_| wrong())
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a time is 30s, 5m or the like, up to a day".to_owned();
    let time = humantime::parse_duration(text).map_err(|_| wrong())?;
    if time > Duration::from_secs(86_400) { Err(wrong()) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    fn order(words: &str) -> Result<String, String> {
        let words = ["tickpanda-source", "ctl"].into_iter().chain(words.split(' '));
        match crate::Cli::try_parse_from(words).map_err(|error| error.to_string())?.command {
            Some(crate::Command::Ctl(ctl)) => {
                Ok(serde_json::to_string(&ctl.order.command()).unwrap())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_order_becomes_its_command() {
        for (words, json) in [
            (
                "subscribe 0~Coinbase~ETH~USD 11~BTC --topic raw-2",
                r#"{"action":"SUBSCRIBE","subs":["0~Coinbase~ETH~USD","11~BTC"],"topic":"raw-2"}"#,
            ),
            (
                "unsubscribe 0~Coinbase~ETH~USD --timeout 5s",
                r#"{"action":"UNSUBSCRIBE","subs":["0~Coinbase~ETH~USD"]}"#,
            ),
            (
                "fetch Coinbase~BTC~USD --interval 1m --from 2024-01-02 --to 2024-01-02T00:00:30Z --limit 7",
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"BTC","tsym":"USD","e":"Coinbase","interval":"1m","from":1704153600,"to":1704153630,"limit":7}"#,
            ),
            (
                "fetch CCCAGG~BTC~USD --interval 4h --from 1704153600",
                r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"BTC","tsym":"USD","e":"CCCAGG","interval":"1h","aggregate":4,"from":1704153600}"#,
            ),
            ("create-topic raw-2", r#"{"action":"CREATE_TOPIC","topicName":"raw-2"}"#),
            ("retry --to-source a:/b", r#"{"action":"RETRY"}"#),
        ] {
            assert_eq!(order(words).unwrap(), json, "{words}");
        }
    }

    #[test]
    fn what_no_source_could_do_is_refused_before_it_is_sent() {
        for words in [
            "subscribe",
            "subscribe BTC~USD",
            "subscribe 11~BTC --topic a/b",
            "fetch BTC~USD --interval 1m",
            "fetch Coinbase~BTC~USD",
            "fetch Coinbase~*~USD --interval 1m",
            "fetch Coinbase~BTC~USD --interval 2w",
            "fetch Coinbase~BTC~USD --interval 31m",
            "fetch Coinbase~BTC~USD --interval 1m --from yesterday",
            "fetch Coinbase~BTC~USD --interval 1m --from 1960-01-01",
            "fetch Coinbase~BTC~USD --interval 1m --limit 0",
            "create-topic",
            "retry --timeout forever",
        ] {
            assert!(order(words).is_err(), "{words}");
        }
    }
}
