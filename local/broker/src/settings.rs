//! A topic's settings: the few that mean something here, by Kafka's names.
//!
//! An unknown setting is refused rather than ignored: a topic that silently does not do what it
//! was told is found out in production.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::BrokerError;

/// No batch may be larger, whatever the topic says, in bytes: a request has to hold it.
pub(crate) const MAX_BATCH: usize = 16 << 20;

/// A topic's settings, checked. Limits that are `None` do not apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TopicSettings {
    /// Closed segments not appended to for this long (ms) are deleted.
    pub(crate) retention_ms: Option<u64>,
    /// Closed segments are deleted, oldest first, while what remains is at least this large.
    pub(crate) retention_bytes: Option<u64>,
    /// A segment is closed before it grows beyond this, in bytes.
    pub(crate) segment_bytes: u64,
    /// The largest batch taken, in bytes as sent.
    pub(crate) max_message_bytes: usize,
    /// Whether the broker's clock replaces the producer's timestamps.
    pub(crate) log_append_time: bool,
}

impl Default for TopicSettings {
    /// Keeps everything: a local run replays old recordings, which nothing should eat.
    fn default() -> Self {
        Self {
            retention_ms: None,
            retention_bytes: None,
            segment_bytes: 128 << 20,
            max_message_bytes: 1 << 20,
            log_append_time: false,
        }
    }
}

/// The settings of a topic that exists, which clients may change; shared by all who work on it.
#[derive(Debug)]
pub(crate) struct Live(RwLock<Current>);

#[derive(Debug)]
struct Current {
    settings: Arc<TopicSettings>,
    /// Which ones were given; the others are defaults.
    given: Arc<BTreeSet<String>>,
}

impl Current {
    fn parse(given: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        let settings = Arc::new(TopicSettings::parse(given)?);
        Ok(Self { settings, given: Arc::new(given.keys().cloned().collect()) })
    }
}

impl Live {
    /// By Kafka's names.
    pub(crate) fn new(given: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        Ok(Self(RwLock::new(Current::parse(given)?)))
    }

    /// As they are now.
    pub(crate) fn get(&self) -> Arc<TopicSettings> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).settings)
    }

    /// The names of those that were given.
    pub(crate) fn given(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner).given)
    }

    /// From now on these, and defaults for all others.
    pub(crate) fn set(&self, given: &BTreeMap<String, String>) -> Result<(), BrokerError> {
        let new = Current::parse(given)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

/// How DescribeConfigs types a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Int,
    Long,
    List,
}

impl TopicSettings {
    /// Reads settings by Kafka's names.
    pub(crate) fn parse(given: &BTreeMap<String, String>) -> Result<Self, BrokerError> {
        let mut settings = Self::default();
        for (key, value) in given {
            let refuse = |what: &str| {
                Err(BrokerError::InvalidSetting {
                    key: key.clone(),
                    value: value.clone(),
                    what: what.to_owned(),
                })
            };
            let number = value.parse::<i64>().ok();
            let at_least =
                |min: i64| number.filter(|n| *n >= min).and_then(|n| u64::try_from(n).ok());
            match key.as_str() {
                "retention.ms" | "retention.bytes" => {
                    let limit = match number {
                        Some(-1) => None,
                        _ => match at_least(0) {
                            Some(n) => Some(n),
                            None => return refuse("-1 (no limit) or a whole number of at least 0"),
                        },
                    };
                    if key == "retention.ms" {
                        settings.retention_ms = limit;
                    } else {
                        settings.retention_bytes = limit;
                    }
                }
                "segment.bytes" => match at_least(1024).filter(|n| *n <= 1 << 30) {
                    Some(n) => settings.segment_bytes = n,
                    None => return refuse("a whole number between 1024 and 1073741824"),
                },
                "max.message.bytes" => {
                    match at_least(128)
                        .and_then(|n| usize::try_from(n).ok())
                        .filter(|n| *n <= MAX_BATCH)
                    {
                        Some(n) => settings.max_message_bytes = n,
                        None => return refuse("a whole number between 128 and 16777216"),
                    }
                }
                "message.timestamp.type" => match value.as_str() {
                    "CreateTime" => settings.log_append_time = false,
                    "LogAppendTime" => settings.log_append_time = true,
                    _ => return refuse("CreateTime or LogAppendTime"),
                },
                "cleanup.policy" if value == "delete" => {}
                "cleanup.policy" => return refuse("only delete is supported"),
                _ => return refuse("this broker does not know that setting"),
            }
        }
        Ok(settings)
    }

    /// Every setting with its value in force, by Kafka's names.
    pub(crate) fn describe(&self) -> [(&'static str, String, Kind); 6] {
        let limit = |n: Option<u64>| n.map_or_else(|| "-1".to_owned(), |n| n.to_string());
        let timestamps = if self.log_append_time { "LogAppendTime" } else { "CreateTime" };
        [
            ("cleanup.policy", "delete".to_owned(), Kind::List),
            ("max.message.bytes", self.max_message_bytes.to_string(), Kind::Int),
            ("message.timestamp.type", timestamps.to_owned(), Kind::Text),
            ("retention.bytes", limit(self.retention_bytes), Kind::Long),
            ("retention.ms", limit(self.retention_ms), Kind::Long),
            ("segment.bytes", self.segment_bytes.to_string(), Kind::Int),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<TopicSettings, BrokerError> {
        TopicSettings::parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn what_is_described_parses_back_to_the_same() {
        let settings = TopicSettings {
            retention_ms: Some(1),
            retention_bytes: Some(2),
            segment_bytes: 4096,
            max_message_bytes: 999,
            log_append_time: true,
        };
        for settings in [settings, TopicSettings::default()] {
            let described = settings
                .describe()
                .map(|(key, value, _)| (key.to_owned(), value))
                .into_iter()
                .collect();
            assert_eq!(TopicSettings::parse(&described).unwrap(), settings);
        }
    }

    #[test]
    fn what_would_not_be_honoured_is_refused() {
        for (key, value) in [
            ("retention.ms", "-2"),
            ("retention.bytes", "many"),
            ("segment.bytes", "1"),
            ("max.message.bytes", "99999999999"),
            ("message.timestamp.type", "createtime"),
            ("cleanup.policy", "compact"),
            ("flush.ms", "1"),
        ] {
            let refused = parse(key, value).expect_err(key).to_string();
            assert!(refused.contains(key), "{refused}");
        }
    }
}
