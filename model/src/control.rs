//! `control-topic` and `control-replies`: what operators ask of sources, and what became of it.

use serde::{Deserialize, Serialize};

use crate::candle::Interval;

/// A record on `control-topic`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Named again in the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The one source that this is for; absent means every source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// What to do.
    #[serde(flatten)]
    pub command: Command,
}

/// What a source is asked to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Command {
    /// Create a raw topic.
    CreateTopic {
        /// Name of the topic.
        #[serde(rename = "topicName")]
        topic_name: String,
    },
    /// Subscribe to channels of the vendor.
    Subscribe {
        /// Vendor sub strings, such as `0~Coinbase~BTC~USD`.
        subs: Vec<String>,
        /// Another raw topic to publish these to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
    /// End subscriptions.
    Unsubscribe {
        /// Vendor sub strings.
        subs: Vec<String>,
        /// The raw topic they were published to, where it was another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<String>,
    },
    /// Fetch candles by REST.
    FetchHistoricalData(History),
    /// Leave the error state at once instead of after its backoff.
    Retry,
}

/// Which candles to fetch; the names are the vendor's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Base symbol.
    pub fsym: String,
    /// Quote symbol.
    pub tsym: String,
    /// Exchange, or `CCCAGG`.
    pub e: String,
    /// `1m`, `1h` or `1d`.
    pub interval: Interval,
    /// How many intervals make one candle.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<u32>,
    /// First bucket, seconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<i64>,
    /// Last bucket, seconds since the epoch; absent means now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// At most this many candles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// A record on `control-replies`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// The command's id, if it had one.
    pub id: Option<String>,
    /// The source that answers.
    pub source: String,
    /// The command's action, as far as it could be read.
    pub action: String,
    /// What became of it.
    pub status: Status,
    /// For people.
    pub detail: String,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Done.
    Ok,
    /// Taken on; another reply follows when it is done.
    Accepted,
    /// Not done, and why is in `detail`.
    Error,
}

impl Status {
    /// The text in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Accepted => "accepted",
            Status::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_form_that_users_know() {
        for json in [
            r#"{"action":"CREATE_TOPIC","topicName":"raw-2"}"#,
            r#"{"id":"7","source":"a","action":"SUBSCRIBE","subs":["0~Coinbase~BTC~USD"]}"#,
            r#"{"action":"UNSUBSCRIBE","subs":["0~Coinbase~BTC~USD"],"topic":"raw-2"}"#,
            r#"{"action":"FETCH_HISTORICAL_DATA","fsym":"BTC","tsym":"USD","e":"Coinbase","interval":"1m","limit":10}"#,
            r#"{"action":"RETRY"}"#,
        ] {
            let envelope: Envelope = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&envelope).unwrap(), json);
        }
        assert!(serde_json::from_str::<Envelope>(r#"{"action":"SELL_EVERYTHING"}"#).is_err());
    }

    #[test]
    fn a_status_is_in_json_what_it_says() {
        for status in [Status::Ok, Status::Accepted, Status::Error] {
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
    }
}
