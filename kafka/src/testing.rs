//! What the tests of this crate need: an authority and what it signs, and a broker that says what it is
//! told to.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority of the tests");
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// Certificate and key for a host or a client, in PEM.
    pub(crate) fn sign(&self, name: &str) -> (String, String) {
        self.signed(name, false)
    }

    /// The same; `expired`: it was good until some years ago.
    pub(crate) fn signed(&self, name: &str, expired: bool) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if expired {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        }
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// TLS of a broker with this certificate, which asks clients for one of this authority's if wanted.
    pub(crate) fn server(&self, (cert, key): (String, String), asks: bool) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            config.with_no_client_auth()
        };
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Arc::new(config.with_single_cert(chain, key).unwrap())
    }
}

/// What a broker says to a request: the body of its answer; `None`: it hangs up.
pub(crate) type Says = fn(ApiKey, i16, Bytes) -> Option<Bytes>;

/// A broker on a free port of `localhost`, for as many connections as come; its port.
pub(crate) async fn broker(tls: Option<Arc<ServerConfig>>, says: Says) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => serve(stream, says).await,
                    Some(tls) => {
                        // A handshake that fails is the client's to tell.
                        if let Ok(stream) = TlsAcceptor::from(tls).accept(stream).await {
                            serve(stream, says).await;
                        }
                    }
                }
            });
        }
    });
    port
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, says: Says) {
    while let Ok(length) = stream.read_u32().await {
        // As Kafka does with what is no request.
        if length > 1 << 20 {
            return;
        }
        let mut request = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let mut request = Bytes::from(request);
        let (key, version) = (
            ApiKey::try_from(i16::from_be_bytes([request[0], request[1]])).unwrap(),
            i16::from_be_bytes([request[2], request[3]]),
        );
        let header = RequestHeader::decode(&mut request, key.request_header_version(version));
        let correlation = header.unwrap().correlation_id;
        let Some(body) = says(key, version, request) else { return };
        let mut answer = BytesMut::new();
        let header = ResponseHeader::default().with_correlation_id(correlation);
        header.encode(&mut answer, key.response_header_version(version)).unwrap();
        answer.extend_from_slice(&body);
        let length = u32::try_from(answer.len()).unwrap();
        if stream.write_u32(length).await.is_err() || stream.write_all(&answer).await.is_err() {
            return;
        }
        let _gone = stream.flush().await;
    }
}

/// A body in a version.
pub(crate) fn body(message: &impl Encodable, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    message.encode(&mut body, version).unwrap();
    body.freeze()
}

/// That it speaks these, in all versions that the codec has.
pub(crate) fn versions(keys: &[ApiKey]) -> Bytes {
    let keys = keys.iter().map(|key| {
        let range = key.valid_versions();
        let speaks = ApiVersion::default().with_api_key(*key as i16);
        speaks.with_min_version(range.min).with_max_version(range.max)
    });
    body(&ApiVersionsResponse::default().with_api_keys(keys.collect()), 0)
}

/// A peer that answers whatever it is sent first with `bytes`, then hangs up; its port.
pub(crate) async fn peer(bytes: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _read = stream.read(&mut request).await;
            let _written = stream.write_all(bytes).await;
            let _ended = stream.shutdown().await;
        }
    });
    port
}
