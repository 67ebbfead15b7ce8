//! What is said to a broker, and what of its answers ends the matter. SCRAM to its good end is tried
//! with a real Kafka: `cargo xtask interop secured`.

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::Decodable as _;

use super::*;
use crate::testing::{Says, body, broker, versions};
use crate::{Client, ClientConfig, Security};

const KEYS: [ApiKey; 2] = [ApiKey::SaslHandshake, ApiKey::SaslAuthenticate];

/// What a client as alice is told by such a broker.
async fn connect(mechanism: Mechanism, says: Says) -> KafkaError {
    let port = broker(None, says).await;
    let (username, password) = ("alice".to_owned(), "hunter2".to_owned());
    let sasl = Some(Sasl { mechanism, username, password });
    let config = ClientConfig { security: Security { tls: None, sasl }, ..ClientConfig::default() };
    let error = Client::connect(&[format!("localhost:{port}")], config).await;
    let error = error.map(drop).unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("hunter2") && !text.contains('\n'), "{text}");
    error
}

/// The broker takes any of these mechanisms.
fn handshake(version: i16) -> Option<Bytes> {
    let names = ["PLAIN", "SCRAM-SHA-256"].map(StrBytes::from_static_str).to_vec();
    Some(body(&SaslHandshakeResponse::default().with_mechanisms(names), version))
}

fn message(mut request: Bytes, version: i16) -> Bytes {
    SaslAuthenticateRequest::decode(&mut request, version).unwrap().auth_bytes
}

fn answer(bytes: &[u8], version: i16) -> Option<Bytes> {
    let bytes = Bytes::copy_from_slice(bytes);
    Some(body(&SaslAuthenticateResponse::default().with_auth_bytes(bytes), version))
}

#[tokio::test]
async fn plain_shows_name_and_password_and_nothing_else() {
    let error = connect(Mechanism::Plain, |key, version, request| match key {
        ApiKey::ApiVersions => Some(versions(&KEYS)),
        ApiKey::SaslHandshake => handshake(version),
        ApiKey::SaslAuthenticate if message(request.clone(), version) == "\0alice\0hunter2" => {
            answer(b"", version)
        }
        _ => None,
    });
    // Let in: what it asks next is not spoken.
    let error = error.await.to_string();
    assert!(error.contains("speaks Metadata not at all"), "{error}");
}

#[tokio::test]
async fn a_refused_password_is_one_line_with_the_brokers_words_and_no_wait_mends_it() {
    let error = connect(Mechanism::Plain, |key, version, _| match key {
        ApiKey::ApiVersions => Some(versions(&KEYS)),
        ApiKey::SaslHandshake => handshake(version),
        _ => {
            let answer = SaslAuthenticateResponse::default()
                .with_error_code(ResponseError::SaslAuthenticationFailed.code())
                .with_error_message(Some(StrBytes::from_static_str(
                    "Invalid username\nor password",
                )));
            Some(body(&answer, version))
        }
    });
    let error = error.await;
    assert!(error.is_denied() && !error.is_transient(), "{error}");
    let text = error.to_string();
    assert!(text.contains("PLAIN refused for user alice (Invalid username or password)"), "{text}");
    assert!(text.contains("KAFKA_SASL_USERNAME"), "{text}");
}

#[tokio::test]
async fn a_mechanism_that_is_not_taken_is_told_with_those_that_are() {
    let error = connect(Mechanism::ScramSha512, |key, version, _| match key {
        ApiKey::ApiVersions => Some(versions(&KEYS)),
        _ => {
            let names = ["PLAIN", "SCRAM-SHA-256"].map(StrBytes::from_static_str).to_vec();
            let refused = SaslHandshakeResponse::default()
                .with_error_code(ResponseError::UnsupportedSaslMechanism.code())
                .with_mechanisms(names);
            Some(body(&refused, version))
        }
    });
    let error = error.await;
    assert!(error.is_denied(), "{error}");
    assert!(error.to_string().contains("SCRAM-SHA-512 here, but PLAIN, SCRAM-SHA-256"), "{error}");
}

#[tokio::test]
async fn a_listener_that_asks_for_nothing_is_told_as_such() {
    let no_sasl: [Says; 2] = [
        |key, _, _| (key == ApiKey::ApiVersions).then(|| versions(&[])),
        |key, version, _| match key {
            ApiKey::ApiVersions => Some(versions(&KEYS)),
            _ => {
                let code = ResponseError::IllegalSaslState.code();
                Some(body(&SaslHandshakeResponse::default().with_error_code(code), version))
            }
        },
    ];
    for says in no_sasl {
        let error = connect(Mechanism::Plain, says).await;
        assert!(error.is_denied(), "{error}");
        assert!(error.to_string().contains("asks for no name and password"), "{error}");
    }
}

#[tokio::test]
async fn a_broker_that_asks_for_who_we_are_and_hangs_up_gives_a_hint() {
    let port = broker(None, |key, _, _| {
        (key == ApiKey::ApiVersions).then(|| versions(&[ApiKey::Metadata]))
    });
    let brokers = [format!("localhost:{}", port.await)];
    let error = Client::connect(&brokers, ClientConfig::default()).await.map(drop).unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("KAFKA_SASL_MECHANISM"), "{error}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_itself_is_not_believed() {
    let error = connect(Mechanism::ScramSha256, |key, version, request| match key {
        ApiKey::ApiVersions => Some(versions(&KEYS)),
        ApiKey::SaslHandshake => handshake(version),
        _ => {
            let said = message(request, version);
            let said = std::str::from_utf8(&said).unwrap();
            match said.split_once(",r=") {
                // The first message: its nonce with more, salt and rounds.
                Some((_, nonce)) if !nonce.contains(',') => {
                    answer(format!("r={nonce}more,s=c2FsdA==,i=4096").as_bytes(), version)
                }
                // A proof that somebody made up.
                _ => answer(b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", version),
            }
        }
    });
    let error = error.await;
    assert!(error.is_denied(), "{error}");
    assert!(error.to_string().contains("without a proof"), "{error}");
}

#[test]
fn more_rounds_than_anybody_needs_are_not_counted() {
    assert!(bounded(b"r=abc,s=QSXCR+Q6sek8bf92,i=4096").is_ok());
    assert!(bounded(b"r=i=,s=x").is_ok() && bounded(b"v=abc").is_ok());
    assert!(bounded(b"r=abc,s=QSXCR+Q6sek8bf92,i=4294967295").is_err());
}

/// What libraries log, at any level.
#[tokio::test]
async fn no_trace_shows_the_password() {
    let lines = Lines::default();
    let to = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || to.clone())
        .finish();
    let _until_the_end = tracing::subscriber::set_default(subscriber);
    for mechanism in [Mechanism::Plain, Mechanism::ScramSha256] {
        let error = connect(mechanism, |key, version, _| match key {
            ApiKey::ApiVersions => Some(versions(&KEYS)),
            ApiKey::SaslHandshake => handshake(version),
            _ => None,
        });
        let error = error.await;
        tracing::trace!(?error, "{error}");
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("SaslAuthenticate") && !text.contains("hunter2"), "{text}");
    // Nor in the form of its bytes.
    assert!(!text.contains("104, 117, 110, 116, 101, 114, 50"), "{text}");
}

#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
