//! One connection to one broker: TCP, TLS, versions, who we are; framing and deadlines.
//!
//! ```text
//!  TCP ─▶ TLS (tls.rs) ─▶ ApiVersions ─▶ SASL (sasl.rs) ─▶ calls
//! ```
//!
//! A broker that wants more than we bring mostly just hangs up. Where in a connection's life it does so
//! tells what it may have wanted: that is a hint in the error, and the call may be tried again.
//!
//! One request is in flight at a time. After any error, and after a call that was dropped half-way,
//! the connection may hold half an answer and must not be used again: the pool in
//! [`client`](crate::client) only takes back connections whose call succeeded.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, Message, Request, StrBytes, VersionRange,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use crate::api::Api;
use crate::client::ClientConfig;
use crate::error::{KafkaError, Result, check};
use crate::sasl;
use crate::security::Security;
use crate::tls::{self, Phase};

/// No answer may be larger: a peer that is no Kafka broker would otherwise name any size.
const MAX_RESPONSE: i32 = 256 << 20;

const TLS: &str = "the TLS handshake";
/// What a TLS record of the kind `alert` begins with, where an answer's length would be.
const TLS_ALERT: i32 = 0x1503;

const NO_TLS_THERE: &str =
    "; a listener for plain text does so: check the port in KAFKA_BROKERS, or leave KAFKA_TLS out";
const TLS_THERE: &str =
    "; a listener with TLS does so: check the port in KAFKA_BROKERS, or set KAFKA_TLS=true";
const CERTIFICATE_WANTED: &str =
    "; a listener that asks for our certificate may do so: KAFKA_CERT_FILE and KAFKA_KEY_FILE";
const SASL_WANTED: &str =
    "; a listener that asks for name and password does so: KAFKA_SASL_MECHANISM";

/// Plain text, or TLS.
type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    broker: String,
    security: Security,
    /// So many calls have been answered.
    answered: u64,
    /// The broker hangs up some time after this: it wants to hear again who we are.
    until: Option<Instant>,
    client_id: StrBytes,
    /// What the broker said it speaks, by API key.
    versions: HashMap<i16, VersionRange>,
    correlation_id: i32,
}

impl Connection {
    /// Connects to `broker` (`host:port`), asks which versions it speaks, and says who we are.
    pub(crate) async fn open(broker: &str, config: &ClientConfig) -> Result<Self> {
        let connect = |source| KafkaError::Connect { broker: broker.to_owned(), source };
        let stream = timeout(config.connect_timeout, TcpStream::connect(broker))
            .await
            .map_err(|_| connect(io::ErrorKind::TimedOut.into()))?
            .map_err(connect)?;
        // A request is one write; holding it back for more would only add latency.
        stream.set_nodelay(true).map_err(connect)?;
        let mut connection = Self {
            stream: encrypted(stream, broker, config).await?,
            broker: broker.to_owned(),
            security: config.security.clone(),
            answered: 0,
            until: None,
            client_id: StrBytes::from_string(config.client_id.clone()),
            versions: HashMap::from([(ApiVersionsRequest::KEY, ApiVersionsRequest::SPOKEN)]),
            correlation_id: 0,
        };
        let answer =
            connection.call(&ApiVersionsRequest::default(), config.request_timeout).await?;
        check(broker, ApiVersionsRequest::NAME, answer.error_code, None, || {
            "the handshake".into()
        })?;
        connection.versions = (answer.api_keys.iter())
            .map(|api| (api.api_key, VersionRange { min: api.min_version, max: api.max_version }))
            .collect();
        if let Some(who) = &config.security.sasl {
            let begun = Instant::now();
            let lifetime = sasl::authenticate(&mut connection, who, config.request_timeout).await?;
            // A little before the broker's own idea of it.
            connection.until = lifetime.map(|lifetime| begun + lifetime.mul_f64(0.8));
        }
        Ok(connection)
    }

    pub(crate) fn broker(&self) -> &str {
        &self.broker
    }

    /// Whether the broker still takes calls of this session.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Sends one request and waits for its answer, at most `within`.
    pub(crate) async fn call<R: Api>(
        &mut self,
        request: &R,
        within: Duration,
    ) -> Result<R::Response> {
        let version = choose::<R>(&self.broker, self.versions.get(&R::KEY))?;
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let frame = encode(request, version, self.correlation_id, &self.client_id)
            .map_err(|reason| KafkaError::Request { api: R::NAME, reason })?;
        let answer = timeout(within, exchange(&mut self.stream, &frame)).await;
        let answer = answer
            .map_err(|_| KafkaError::Timeout {
                broker: self.broker.clone(),
                api: R::NAME,
                after: within,
            })?
            .map_err(|source| self.broken(R::NAME, source))?;
        self.answered += 1;
        decode::<R>(answer, version, self.correlation_id)
            .map_err(|reason| self.malformed(R::NAME, reason))
    }

    /// What an exchange failed on.
    fn broken(&self, api: &'static str, source: io::Error) -> KafkaError {
        let broker = self.broker.clone();
        if let Some(problem) = tls::problem(&source, Phase::After, self.security.has_certificate())
        {
            return KafkaError::Tls { broker, problem };
        }
        let not_kafka = source.get_ref().and_then(|inner| inner.downcast_ref::<NotKafka>());
        match not_kafka {
            Some(NotKafka(length)) if length >> 16 == TLS_ALERT && self.security.tls.is_none() => {
                let problem =
                    "it answers in TLS; set KAFKA_TLS=true, or check the port in KAFKA_BROKERS";
                KafkaError::Tls { broker, problem: problem.to_owned() }
            }
            Some(not_kafka) => self.malformed(api, not_kafka.to_string()),
            None => KafkaError::Lost { hint: self.hint(&source), broker, api, source },
        }
    }

    /// What a broker may have wanted that hangs up here.
    fn hint(&self, source: &io::Error) -> &'static str {
        let Security { tls, sasl } = &self.security;
        match self.answered {
            _ if !hung_up(source) => "",
            0 if tls.is_none() => TLS_THERE,
            0 if !self.security.has_certificate() => CERTIFICATE_WANTED,
            1 if sasl.is_none() => SASL_WANTED,
            _ => "",
        }
    }

    fn malformed(&self, api: &'static str, reason: String) -> KafkaError {
        KafkaError::Malformed { broker: self.broker.clone(), api, reason }
    }
}

/// With TLS, where the settings want it.
async fn encrypted(stream: TcpStream, broker: &str, config: &ClientConfig) -> Result<Stream> {
    let Some(tls) = &config.security.tls else { return Ok(Either::Left(stream)) };
    let broken = |source: io::Error| {
        let broker = broker.to_owned();
        match tls::problem(&source, Phase::Handshake, config.security.has_certificate()) {
            Some(problem) => KafkaError::Tls { broker, problem },
            None => {
                let hint = if hung_up(&source) { NO_TLS_THERE } else { "" };
                KafkaError::Lost { broker, api: TLS, source, hint }
            }
        }
    };
    let name = tls::server_name(broker).map_err(|source| {
        let (broker, problem) =
            (broker.to_owned(), format!("its host is no name for a certificate: {source}"));
        KafkaError::Tls { broker, problem }
    })?;
    let handshake = TlsConnector::from(Arc::clone(tls)).connect(name, stream);
    let within = config.request_timeout;
    let stream = timeout(within, handshake).await.map_err(|_| KafkaError::Timeout {
        broker: broker.to_owned(),
        api: TLS,
        after: within,
    })?;
    stream.map(|stream| Either::Right(Box::new(stream))).map_err(broken)
}

/// Whether the other side ended the connection.
fn hung_up(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

/// The first four bytes of an answer are no length.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes long")]
struct NotKafka(i32);

/// The highest version that both sides speak.
fn choose<R: Api>(broker: &str, theirs: Option<&VersionRange>) -> Result<i16> {
    let common = theirs.map(|theirs| theirs.intersect(&R::SPOKEN)).filter(|both| !both.is_empty());
    common.map(|both| both.max).ok_or_else(|| KafkaError::Versions {
        broker: broker.to_owned(),
        api: R::NAME,
        theirs: theirs.map_or("not at all".to_owned(), |range| format!("versions {range}")),
        ours: format!("versions {}", R::SPOKEN),
    })
}

/// A whole request frame: length, header, body.
fn encode<R: Api>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: &StrBytes,
) -> Result<Bytes, String> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(client_id.clone()));
    let mut frame = BytesMut::zeroed(4);
    header.encode(&mut frame, R::header_version(version)).map_err(|e| e.to_string())?;
    request.encode(&mut frame, version).map_err(|e| e.to_string())?;
    let length = i32::try_from(frame.len() - 4).map_err(|e| e.to_string())?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// Writes a frame and reads the answer's frame, without its length.
async fn exchange(stream: &mut Stream, frame: &[u8]) -> io::Result<Bytes> {
    if let Err(error) = write(stream, frame).await {
        // With TLS the other side may have said why before it hung up.
        return Err(match stream.read_i32().await {
            Err(why) if why.get_ref().is_some_and(|why| why.is::<rustls::Error>()) => why,
            _ => error,
        });
    }
    let length = stream.read_i32().await?;
    let length = (usize::try_from(length).ok().filter(|_| length <= MAX_RESPONSE))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, NotKafka(length)))?;
    // Grows with what arrives, so that a length alone reserves no memory.
    let mut answer = BytesMut::with_capacity(length.min(8 << 20));
    let mut body = stream.take(length as u64);
    while answer.len() < length {
        answer.reserve((length - answer.len()).min(1 << 20));
        if body.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(answer.freeze())
}

async fn write(stream: &mut Stream, frame: &[u8]) -> io::Result<()> {
    stream.write_all(frame).await?;
    stream.flush().await // what TLS holds back
}

fn decode<R: Api>(
    mut answer: Bytes,
    version: i16,
    correlation_id: i32,
) -> Result<R::Response, String> {
    debug_assert!(version <= <R::Response as Message>::VERSIONS.max);
    let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))
        .map_err(|e| e.to_string())?;
    if header.correlation_id != correlation_id {
        return Err(format!("it answers request {}, not {correlation_id}", header.correlation_id));
    }
    R::Response::decode(&mut answer, version).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{FetchRequest, MetadataRequest};

    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        for (min, max, chosen) in
            [(4, 18, Some(12)), (4, 11, Some(11)), (0, 3, None), (13, 18, None)]
        {
            let theirs = VersionRange { min, max };
            assert_eq!(choose::<FetchRequest>("b:1", Some(&theirs)).ok(), chosen, "{theirs}");
        }
        let none = choose::<FetchRequest>("b:1", None).unwrap_err();
        assert!(none.to_string().contains("not at all"), "{none}");
    }

    #[test]
    fn an_answer_to_another_request_is_not_taken() {
        let answer = Bytes::from_static(&[0, 0, 0, 9, 0, 0, 0, 0]);
        let error = decode::<MetadataRequest>(answer, 4, 8).unwrap_err();
        assert_eq!(error, "it answers request 9, not 8");
    }

    /// A peer that reads the request and answers with `bytes`, then hangs up.
    async fn peer(bytes: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let length = stream.read_i32().await.unwrap();
            let mut request = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut request).await.unwrap();
            stream.write_all(bytes).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_peer_that_is_no_broker_is_named_as_such() {
        let web = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let error = Connection::open(&web, &ClientConfig::default()).await.unwrap_err();
        assert!(
            matches!(&error, KafkaError::Malformed { broker, .. } if *broker == web),
            "{error}"
        );
        assert!(!error.is_transient());

        let closing = peer(&[0, 0, 1, 0, 1, 2, 3]).await;
        let error = Connection::open(&closing, &ClientConfig::default()).await.unwrap_err();
        assert!(matches!(error, KafkaError::Lost { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_silent_broker_is_given_up_after_the_deadline() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let config =
            ClientConfig { request_timeout: Duration::from_millis(30), ..ClientConfig::default() };
        let error = Connection::open(&address, &config).await.unwrap_err();
        assert!(matches!(error, KafkaError::Timeout { .. }), "{error}");
    }
}
