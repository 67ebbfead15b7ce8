//! What can go wrong between this crate and a cluster, said for people.
//!
//! Every error names the broker and the API, and what to do where that is known. Whether trying again
//! may help is [`KafkaError::is_transient`], never a match on the text.

use std::io;
use std::time::Duration;

use kafka_protocol::ResponseError;

use crate::decode::DecodeError;

pub(crate) type Result<T, E = KafkaError> = std::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// None of the known brokers answered; the last failure is the source.
    #[error(
        "no broker answered; check KAFKA_BROKERS and that the cluster runs (the last tried: {last})"
    )]
    NoBroker {
        /// The failure of the broker that was tried last.
        last: Box<KafkaError>,
    },
    /// The list of brokers to start from was empty.
    #[error("no broker to connect to: KAFKA_BROKERS is empty, name at least one host:port")]
    NoBootstrap,
    /// The TCP connection could not be made.
    #[error("broker {broker}: cannot connect: {source}")]
    Connect {
        /// `host:port`.
        broker: String,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The connection broke during a call.
    #[error("broker {broker}: connection lost during {api}: {source}{hint}")]
    Lost {
        /// `host:port`.
        broker: String,
        /// The API called.
        api: &'static str,
        /// The operating system's reason.
        source: io::Error,
        /// What the broker may have missed, after a semicolon; mostly empty.
        hint: &'static str,
    },
    /// No TLS connection: a certificate that does not verify, or what one side wants and the other has
    /// not.
    #[error("broker {broker}: no TLS connection: {problem}")]
    Tls {
        /// `host:port`.
        broker: String,
        /// What it failed on, and what to do.
        problem: String,
    },
    /// The broker does not take who we say we are.
    #[error("broker {broker}: not authenticated: {problem}")]
    Sasl {
        /// `host:port`.
        broker: String,
        /// What it failed on, and what to do; never with the password.
        problem: String,
    },
    /// The broker did not answer in time.
    #[error(
        "broker {broker}: no answer to {api} within {after:?}; it is overloaded or unreachable"
    )]
    Timeout {
        /// `host:port`.
        broker: String,
        /// The API called.
        api: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The broker and this crate have no version of an API in common.
    #[error(
        "broker {broker}: speaks {api} {theirs}, tickpanda {ours}; use Redpanda or Kafka 2.1 or newer"
    )]
    Versions {
        /// `host:port`.
        broker: String,
        /// The API called.
        api: &'static str,
        /// The broker's versions, or that it has none.
        theirs: String,
        /// This crate's versions.
        ours: String,
    },
    /// What the broker sent is not an answer of the protocol.
    #[error(
        "broker {broker}: its answer to {api} cannot be read ({reason}); is {broker} a Kafka listener?"
    )]
    Malformed {
        /// `host:port`.
        broker: String,
        /// The API called.
        api: &'static str,
        /// What did not fit.
        reason: String,
    },
    /// The request could not be encoded; a name or number in it does not fit the protocol.
    #[error("cannot encode a {api} request: {reason}")]
    Request {
        /// The API called.
        api: &'static str,
        /// What did not fit.
        reason: String,
    },
    /// The broker answered with an error code.
    #[error("broker {broker}: {api} refused for {what}: {error:?}{}{}", said(.message.as_deref()), advice(*.error))]
    Refused {
        /// `host:port`.
        broker: String,
        /// The API called.
        api: &'static str,
        /// The topic, partition or group it was about.
        what: String,
        /// The protocol's error.
        error: ResponseError,
        /// The broker's own words, where it had any.
        message: Option<String>,
    },
    /// A new cluster, which has not made its id yet.
    #[error(
        "broker {broker}: the cluster is being set up and has no id yet; it will have one soon"
    )]
    Initializing {
        /// `host:port`.
        broker: String,
    },
    /// The topic does not exist.
    #[error("topic {topic} does not exist: create it, or check its name")]
    UnknownTopic {
        /// The name asked for.
        topic: String,
    },
    /// The topic exists, the partition does not.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// The topic.
        topic: String,
        /// The partition asked for.
        partition: i32,
    },
    /// The offset is before the partition's start (retention took it) or after its end.
    #[error(
        "{topic}/{partition}: offset {offset} is not there; ask for the earliest and latest offsets and go on from there"
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
    },
    /// The next batch is larger than the bytes asked for, and the broker cut it.
    #[error(
        "{topic}/{partition}: the batch at offset {offset} is larger than the {max_bytes} bytes asked for; ask for more"
    )]
    BatchTooLarge {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// The bytes asked for.
        max_bytes: i32,
    },
    /// A batch does not decode. It will not the next time either.
    #[error("{topic}/{partition}: reading from offset {offset}: {source}")]
    Corrupt {
        /// The topic.
        topic: String,
        /// The partition.
        partition: i32,
        /// The offset asked for.
        offset: i64,
        /// What is wrong with the batch.
        source: DecodeError,
    },
}

impl KafkaError {
    /// Whether the same call may succeed later: brokers restart and leaders move, but a refused
    /// setting stays refused.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NoBroker { last } => last.is_transient(),
            Self::Connect { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::Initializing { .. } => true,
            Self::Refused { error, .. } => error.is_retriable(),
            _ => false,
        }
    }

    /// Whether a batch is larger than the topic takes (`max.message.bytes`).
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        use ResponseError::{MessageTooLarge, RecordListTooLarge};
        matches!(self, Self::Refused { error: MessageTooLarge | RecordListTooLarge, .. })
    }

    /// Whether the topic or the partition is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            Self::UnknownTopic { .. } | Self::UnknownPartition { .. } => true,
            Self::Refused { error, .. } => *error == ResponseError::UnknownTopicOrPartition,
            _ => false,
        }
    }

    /// Whether no broker has answered.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        match self {
            Self::NoBroker { last } => last.is_silence(),
            _ => self.is_unreachable(),
        }
    }

    /// Whether TLS failed, or who we are is not taken, in a way that no waiting mends: something must be
    /// changed, here or at the broker.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        match self {
            Self::NoBroker { last } => last.is_denied(),
            Self::Tls { .. } | Self::Sasl { .. } => true,
            _ => false,
        }
    }

    /// Whether another broker, or a fresh connection, might do better.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Lost { .. } | Self::Timeout { .. })
    }
}

/// Turns a response's error code into an error; `what` is only evaluated when there is one.
pub(crate) fn check(
    broker: &str,
    api: &'static str,
    code: i16,
    message: Option<&str>,
    what: impl FnOnce() -> String,
) -> Result<()> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(KafkaError::Refused {
            broker: broker.to_owned(),
            api,
            what: what(),
            error,
            message: message.filter(|m| !m.is_empty()).map(str::to_owned),
        }),
    }
}

fn said(message: Option<&str>) -> String {
    message.map(|m| format!(" ({m})")).unwrap_or_default()
}

fn advice(error: ResponseError) -> &'static str {
    use ResponseError as E;
    match error {
        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed => {
            "; grant the right to it, or use a listener without authorization"
        }
        E::InvalidReplicationFactor => "; ask for no more replicas than there are brokers",
        E::InvalidPartitions => "; ask for at least one partition",
        E::InvalidTopicException => "; use letters, digits, '.', '_' and '-', at most 249",
        E::InvalidConfig | E::PolicyViolation => "; correct the topic's settings",
        E::UnknownMemberId | E::IllegalGeneration | E::RebalanceInProgress => {
            "; the group has live members, only an idle group's offsets can be set"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(error: ResponseError) -> KafkaError {
        check("b:9092", "CreateTopics", error.code(), Some("no"), || "topic t".to_owned())
            .unwrap_err()
    }

    #[test]
    fn an_error_names_broker_api_subject_and_remedy() {
        assert_eq!(
            refused(ResponseError::InvalidReplicationFactor).to_string(),
            "broker b:9092: CreateTopics refused for topic t: InvalidReplicationFactor (no); \
             ask for no more replicas than there are brokers"
        );
    }

    #[test]
    fn only_what_may_pass_is_transient() {
        let io = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let connect = KafkaError::Connect { broker: "b:1".into(), source: io() };
        for (error, transient) in [
            (refused(ResponseError::NotLeaderOrFollower), true),
            (refused(ResponseError::CoordinatorLoadInProgress), true),
            (refused(ResponseError::InvalidConfig), false),
            (KafkaError::NoBroker { last: Box::new(connect) }, true),
            (KafkaError::UnknownTopic { topic: "t".into() }, false),
            (KafkaError::NoBootstrap, false),
            (KafkaError::Tls { broker: "b:1".into(), problem: "no".into() }, false),
            (KafkaError::Sasl { broker: "b:1".into(), problem: "no".into() }, false),
        ] {
            assert_eq!(error.is_transient(), transient, "{error}");
        }
        let denied = KafkaError::Tls { broker: "b:1".into(), problem: "no".into() };
        assert!(KafkaError::NoBroker { last: Box::new(denied) }.is_denied());
        assert!(!refused(ResponseError::TopicAuthorizationFailed).is_denied());
    }

    #[test]
    fn no_error_code_is_no_error() {
        assert!(check("b:1", "Fetch", 0, None, || unreachable!()).is_ok());
    }
}
