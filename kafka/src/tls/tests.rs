//! What TLS says, of files and to real peers.

use std::fs;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;
use tempfile::TempDir;

use super::*;
use crate::testing::{Authority, Says, broker, versions};
use crate::{Client, KafkaError, Security};

#[test]
fn files_that_cannot_be_used_are_told_apart_and_nothing_of_them_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let authority = Authority::new();
    let (cert, key) = authority.sign("client");
    let (_, other_key) = authority.sign("other");
    let (cert, key) = (file("cert.pem", &cert), file("key.pem", &key));
    let (other, text) = (file("other.pem", &other_key), file("text", "hunter2\n"));
    let broken = "-----BEGIN CERTIFICATE-----\nhunter2!\n-----END CERTIFICATE-----\n";
    let (broken, none) = (file("broken.pem", broken), folder.path().join("none.pem"));
    let files = |ca, cert, key| client_config(Files { ca, cert, key });
    for (given, which, problem) in [
        (files(Some(&none), None, None), Which::Ca, "cannot read"),
        (files(Some(&text), None, None), Which::Ca, "holds no certificate in PEM"),
        (files(Some(&broken), None, None), Which::Ca, "damaged"),
        (files(None, Some(&key), Some(&key)), Which::Cert, "holds no certificate"),
        (files(None, Some(&cert), Some(&cert)), Which::Key, "holds no private key"),
        (files(None, Some(&cert), Some(&other)), Which::Key, "is not the key of"),
    ] {
        let error = given.map(drop).unwrap_err();
        assert_eq!(error.which, which, "{error:?}");
        assert!(error.problem.contains(problem), "{error:?}");
        assert!(!error.problem.contains("hunter2"), "{error:?}");
    }
    let own = files(None, Some(&cert), Some(&key)).unwrap();
    assert!(own.client_auth_cert_resolver.has_certs());
    let public = files(None, None, None).unwrap();
    assert!(!public.client_auth_cert_resolver.has_certs());
}

#[test]
fn a_broker_is_judged_by_its_host_whatever_its_form() {
    for (broker, host) in [
        ("broker.example:9093", "broker.example"),
        ("127.0.0.1:9093", "127.0.0.1"),
        ("[::1]:9093", "::1"),
    ] {
        assert_eq!(server_name(broker).unwrap().to_str(), host);
    }
    assert!(server_name("not a name:1").is_err());
}

/// Files of a client, named as in [`Files`].
struct Own {
    _folder: TempDir,
    ca: std::path::PathBuf,
    cert: std::path::PathBuf,
    key: std::path::PathBuf,
}

impl Own {
    /// Trusts one authority, has a certificate of another.
    fn new(trusted: &Authority, signed_by: &Authority) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let (cert, key) = signed_by.sign("client");
        let (ca, cert, key) = (file("ca", &trusted.pem), file("cert", &cert), file("key", &key));
        Own { _folder: folder, ca, cert, key }
    }

    fn tls(&self, shows: bool) -> Security {
        let (cert, key) = (Some(&*self.cert), Some(&*self.key));
        let (cert, key) = if shows { (cert, key) } else { (None, None) };
        let tls = client_config(Files { ca: Some(&self.ca), cert, key }).unwrap();
        Security { tls: Some(tls), sasl: None }
    }
}

/// Speaks nothing but the handshake, so that a client that gets there says so.
const GREETS: Says = |key, _, _| (key == ApiKey::ApiVersions).then(|| versions(&[]));

/// What a client is told that connects to this host and port.
async fn connect(host: &str, port: u16, security: Security) -> KafkaError {
    let config = crate::ClientConfig {
        security,
        request_timeout: Duration::from_secs(5),
        ..crate::ClientConfig::default()
    };
    Client::connect(&[format!("{host}:{port}")], config).await.map(drop).unwrap_err()
}

/// It got through the handshakes: what it asks next is not spoken.
fn is_let_in(error: &KafkaError) -> bool {
    error.to_string().contains("speaks Metadata not at all")
}

#[tokio::test]
async fn a_broker_whose_certificate_verifies_is_spoken_to() {
    let authority = Authority::new();
    let server = authority.server(authority.sign("localhost"), false);
    let port = broker(Some(server), GREETS).await;
    let error = connect("localhost", port, Own::new(&authority, &authority).tls(false)).await;
    assert!(is_let_in(&error), "{error}");
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_is_refused_in_one_line_that_says_what_to_do() {
    let (authority, other) = (Authority::new(), Authority::new());
    for (certificate, trusted, host, said) in [
        (authority.sign("localhost"), &other, "localhost", "KAFKA_CA_FILE"),
        (authority.signed("localhost", true), &authority, "localhost", "has expired"),
        (
            authority.sign("broker.example"),
            &authority,
            "localhost",
            "is for broker.example, not for localhost",
        ),
        (
            authority.sign("localhost"),
            &authority,
            "127.0.0.1",
            "is for localhost, not for 127.0.0.1",
        ),
    ] {
        let port = broker(Some(authority.server(certificate, false)), GREETS).await;
        let error = connect(host, port, Own::new(trusted, &other).tls(false)).await;
        let text = error.to_string();
        assert!(error.is_denied() && !error.is_transient(), "{text}");
        assert!(text.contains(&format!("{host}:{port}")) && text.contains(said), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
    // No file at all: the public authorities.
    let port = broker(Some(authority.server(authority.sign("localhost"), false)), GREETS).await;
    let tls = Some(client_config(Files::default()).unwrap());
    let error = connect("localhost", port, Security { tls, sasl: None }).await;
    assert!(error.to_string().contains("KAFKA_CA_FILE"), "{error}");
}

#[tokio::test]
async fn a_broker_that_asks_for_our_certificate_gets_it_and_a_missing_or_foreign_one_is_said() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = authority.server(authority.sign("localhost"), true);
    let port = broker(Some(server), GREETS).await;
    let own = Own::new(&authority, &authority);
    let error = connect("localhost", port, own.tls(true)).await;
    assert!(is_let_in(&error), "{error}");
    let error = connect("localhost", port, own.tls(false)).await;
    assert!(error.is_denied() && error.to_string().contains("KAFKA_CERT_FILE"), "{error}");
    let error = connect("localhost", port, Own::new(&authority, &other).tls(true)).await;
    let text = error.to_string();
    assert!(error.is_denied() && text.contains("does not take our certificate"), "{text}");
}

#[tokio::test]
async fn tls_at_a_plain_port_and_plain_text_at_a_tls_port_are_told() {
    let authority = Authority::new();
    // Kafka hangs up on what is no request: that may be anything, so it is a hint.
    let plain = broker(None, GREETS).await;
    let tls = Own::new(&authority, &authority).tls(false);
    let error = connect("localhost", plain, tls.clone()).await;
    assert!(error.is_transient() && error.to_string().contains("leave KAFKA_TLS out"), "{error}");
    // A peer that answers otherwise is none that speaks TLS.
    let web = crate::testing::peer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = connect("localhost", web, tls).await;
    assert!(error.is_denied() && error.to_string().contains("is not TLS"), "{error}");

    // A TLS library says so, or the broker hangs up.
    let server = authority.server(authority.sign("localhost"), false);
    let secured = broker(Some(server), GREETS).await;
    let error = connect("localhost", secured, Security::default()).await;
    assert!(error.to_string().contains("set KAFKA_TLS=true"), "{error}");
    let alert = crate::testing::peer(&[0x15, 3, 3, 0, 2, 2, 80]).await;
    let error = connect("localhost", alert, Security::default()).await;
    assert!(error.is_denied() && error.to_string().contains("KAFKA_TLS=true"), "{error}");
}
