//! Sending record batches as they are, acks=all.
//!
//! rskafka can't: its records have no null header values, no repeated header keys and none that are not UTF-8, all of
//! which a guest may write. So batches are framed by the host and sent here, with the codec of kafka-protocol.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tickpanda_kafka::{Client, KafkaError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Kafka from 2.1 to 4.x and Redpanda speak this version of Produce, so nobody is asked.
const VERSION: i16 = 7;
/// The pause before each attempt. Redpanda's own, for the produce of a transform.
const PAUSES: [u64; 5] = [0, 100, 200, 400, 800];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the broker may wait for its replicas, and we a little longer for the broker.
const ACKS_TIMEOUT_MS: i32 = 10_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
/// An answer for one partition is far smaller.
const MAX_ANSWER: usize = 64 << 10;

/// Why a batch was not acknowledged. It may be on the topic all the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProduceError {
    #[error(transparent)]
    Leader(#[from] KafkaError),
    #[error("broker {broker}: connection lost while producing to {topic}/{partition}: {source}")]
    Connection { broker: String, topic: String, partition: i32, source: io::Error },
    #[error("broker {broker}: Produce refused for {topic}/{partition}: {error:?}")]
    Refused { broker: String, topic: String, partition: i32, error: ResponseError },
}

impl ProduceError {
    /// Whether the same batch may be taken later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Leader(error) => error.is_transient(),
            Self::Connection { .. } => true,
            Self::Refused { error, .. } => error.is_retriable(),
        }
    }
}

/// Sends batches, one request in flight, so that their order stays.
#[derive(Debug)]
pub(super) struct Producer {
    client: Client,
    /// Cancelled: what fails is not tried again.
    stop: CancellationToken,
    /// By address.
    connections: HashMap<String, TcpStream>,
    correlation: i32,
}

impl Producer {
    pub(super) fn new(client: Client, stop: CancellationToken) -> Self {
        Self { client, stop, connections: HashMap::new(), correlation: 0 }
    }

    /// Returns when the batch is acknowledged by all replicas in sync, or has not been after some attempts.
    pub(super) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<(), ProduceError> {
        let mut pauses = PAUSES.iter().copied().map(Duration::from_millis);
        let mut done = self.attempt(topic, partition, batch.clone()).await;
        pauses.next();
        for pause in pauses {
            if !done.as_ref().is_err_and(ProduceError::is_transient) || self.stop.is_cancelled() {
                break;
            }
            tokio::time::sleep(pause).await;
            done = self.attempt(topic, partition, batch.clone()).await;
        }
        done
    }

    async fn attempt(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<(), ProduceError> {
        let broker = self.client.leader(topic, partition).await?;
        let sent = self.send(&broker, topic, partition, batch).await;
        let done = match sent {
            Ok(None) => return Ok(()),
            Ok(Some(error)) => {
                let topic = topic.to_owned();
                ProduceError::Refused { broker, topic, partition, error }
            }
            Err(source) => {
                self.connections.remove(&broker);
                let topic = topic.to_owned();
                ProduceError::Connection { broker, topic, partition, source }
            }
        };
        self.client.forget_leaders(topic);
        Err(done)
    }

    /// The broker's error, or none. After an error of the connection it must not be used again.
    async fn send(
        &mut self,
        broker: &str,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> io::Result<Option<ResponseError>> {
        self.correlation = self.correlation.wrapping_add(1);
        let frame = request(self.correlation, topic, partition, batch)?;
        // Taken out, so that a call which is dropped half-way takes the connection along.
        let mut stream = match self.connections.remove(broker) {
            Some(stream) => stream,
            None => {
                let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(broker)).await??;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let answer = timeout(ANSWER_TIMEOUT, exchange(&mut stream, &frame)).await??;
        let error = understand(answer, self.correlation)?;
        self.connections.insert(broker.to_owned(), stream);
        Ok(error)
    }
}

fn request(correlation: i32, topic: &str, partition: i32, batch: Bytes) -> io::Result<BytesMut> {
    let header = RequestHeader::default()
        .with_request_api_key(ApiKey::Produce as i16)
        .with_request_api_version(VERSION)
        .with_correlation_id(correlation)
        .with_client_id(Some(StrBytes::from_static_str("tickpanda-transform")));
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(ACKS_TIMEOUT_MS)
        .with_topic_data(vec![data]);
    let mut frame = BytesMut::zeroed(4);
    header
        .encode(&mut frame, ProduceRequest::header_version(VERSION))
        .and_then(|()| request.encode(&mut frame, VERSION))
        .map_err(io::Error::other)?;
    let length = i32::try_from(frame.len() - 4).map_err(io::Error::other)?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

async fn exchange(stream: &mut TcpStream, frame: &[u8]) -> io::Result<Bytes> {
    stream.write_all(frame).await?;
    let length = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(malformed(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer.into())
}

fn understand(mut answer: Bytes, correlation: i32) -> io::Result<Option<ResponseError>> {
    let header = ResponseHeader::decode(&mut answer, ProduceResponse::header_version(VERSION))
        .map_err(malformed)?;
    if header.correlation_id != correlation {
        return Err(malformed("it answers another request"));
    }
    let answer = ProduceResponse::decode(&mut answer, VERSION).map_err(malformed)?;
    let partition = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    let partition = partition.ok_or_else(|| malformed("the partition is not in the answer"))?;
    Ok(ResponseError::try_from_code(partition.error_code))
}

fn malformed(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
