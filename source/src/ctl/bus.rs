//! The two topics that `ctl` talks through.

use std::future::Future;
use std::time::Duration;

use tickpanda_kafka::{At, BatchEncoder, Brokers, Client, KafkaError};

use crate::clock::now_ms;
use crate::topics;

/// Always the first partition: commands stay in the order in which they were sent.
const FIRST: i32 = 0;
/// Bytes of replies fetched at once.
const BYTES: i32 = 1 << 20;
/// How long the broker may take for the command.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a broker that has just been started may still be choosing leaders.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a command could not be sent, or its answers not be read.
#[derive(Debug, thiserror::Error)]
pub enum CtlError {
    /// A topic is not there.
    #[error(
        "topic {topic} does not exist on {brokers}: it is created by a running source (one without --no-control), or by rpk/deploy.sh"
    )]
    TopicMissing {
        /// Which.
        topic: String,
        /// The brokers asked.
        brokers: String,
    },
    /// The cluster can't be asked, or has refused.
    #[error("{0}")]
    Broker(String),
    /// A setting has a value that can't be used, or that the brokers refuse: a certificate, a name or a
    /// password.
    #[error("{0}")]
    Setting(String),
    /// The answers can't be printed.
    #[error("cannot print: {0}")]
    Print(std::io::Error),
}

impl CtlError {
    fn of(error: &KafkaError, words: String) -> Self {
        if error.is_denied() { Self::Setting(words) } else { Self::Broker(words) }
    }

    /// Exit code of the program: 2 settings, 4 topic missing, 1 everything else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting(_) => 2,
            Self::TopicMissing { .. } => 4,
            Self::Broker(_) | Self::Print(_) => 1,
        }
    }
}

/// The control topic to write to and the replies topic to read.
pub trait Bus: Send {
    /// Where each partition of the replies topic ends.
    fn ends(&mut self) -> impl Future<Output = Result<Vec<(i32, i64)>, CtlError>> + Send;
    /// Sends a command, once.
    fn send(&mut self, command: Vec<u8>) -> impl Future<Output = Result<(), CtlError>> + Send;
    /// Values on the replies topic from an offset on, once there are some or the wait is over, and where
    /// to read on.
    fn read(
        &mut self,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> impl Future<Output = Result<(Vec<Vec<u8>>, i64), CtlError>> + Send;
}

/// On a cluster.
#[derive(Debug)]
pub struct KafkaBus {
    brokers: Brokers,
    control: String,
    replies: String,
    client: Client,
}

impl KafkaBus {
    /// Connects.
    ///
    /// # Errors
    /// No broker answers, or one of the topics is missing.
    pub async fn connect(
        brokers: &Brokers,
        control: &str,
        replies: &str,
    ) -> Result<Self, CtlError> {
        let client = topics::client(brokers, PATIENCE).await;
        let client = client.map_err(|error| CtlError::of(&error, error.to_string()))?;
        let (control, replies) = (control.to_owned(), replies.to_owned());
        let bus = KafkaBus { brokers: brokers.clone(), control, replies, client };
        for topic in [&bus.control, &bus.replies] {
            if bus.client.topic(topic).await.map_err(|error| bus.error(error))?.is_none() {
                return Err(bus.missing(topic));
            }
        }
        Ok(bus)
    }

    fn missing(&self, topic: &str) -> CtlError {
        CtlError::TopicMissing { topic: topic.to_owned(), brokers: self.brokers.to_string() }
    }

    fn error(&self, error: KafkaError) -> CtlError {
        match error {
            KafkaError::UnknownTopic { topic } => self.missing(&topic),
            error => CtlError::of(&error, error.to_string()),
        }
    }
}

impl Bus for KafkaBus {
    async fn ends(&mut self) -> Result<Vec<(i32, i64)>, CtlError> {
        let ends = self.client.offsets(&self.replies, At::Latest).await;
        ends.map_err(|error| self.error(error))
    }

    async fn send(&mut self, command: Vec<u8>) -> Result<(), CtlError> {
        let refused = |error: KafkaError| {
            CtlError::of(&error, format!("the command could not be sent: {error}"))
        };
        let mut batch = BatchEncoder::default();
        batch.push(now_ms(), None, Some(&command), std::iter::empty());
        // Looked up before, and over a new connection: sent again a command might be executed twice.
        self.client.leader(&self.control, FIRST).await.map_err(refused)?;
        self.client.close_idle();
        let sent = self.client.produce(&self.control, FIRST, batch.finish());
        match tokio::time::timeout(SEND_TIMEOUT, sent).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(refused(error)),
            // Sent again it might be executed twice.
            Err(_) => Err(CtlError::Broker(format!(
                "the broker has not acknowledged the command within {} s: it may have been taken or not",
                SEND_TIMEOUT.as_secs()
            ))),
        }
    }

    async fn read(
        &mut self,
        partition: i32,
        offset: i64,
        wait: Duration,
    ) -> Result<(Vec<Vec<u8>>, i64), CtlError> {
        let read = self.client.read(&self.replies, partition, offset, BYTES, wait).await;
        match read {
            Ok(read) => {
                let values = read.records.into_iter().filter_map(|record| record.value);
                Ok((values.map(|value| value.to_vec()).collect(), read.next_offset))
            }
            Err(error) => Err(self.error(error)),
        }
    }
}
