//! TLS to a broker: whom to trust, our own certificate, and what a failed handshake means in words.
//!
//! A handshake fails in a handful of ways that no waiting mends, and libraries name them after their own
//! parts. Here each is said by what a person can do about it. Everything else that goes wrong under TLS
//! (a connection cut, a damaged record) is an outage like any other.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};

/// Files in PEM, as settings name them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// Authorities to trust; without it, the public ones.
    pub ca: Option<&'a Path>,
    /// Our own certificate, followed by those that lead to its authority.
    pub cert: Option<&'a Path>,
    /// Its private key, not encrypted.
    pub key: Option<&'a Path>,
}

/// Which file can't be used, and why. Never with anything of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadFile {
    /// The file's part in it.
    pub which: Which,
    /// What is wrong.
    pub problem: String,
}

/// One of [`Files`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// [`Files::ca`].
    Ca,
    /// [`Files::cert`].
    Cert,
    /// [`Files::key`].
    Key,
}

/// TLS 1.2 and 1.3 with these files.
///
/// # Errors
/// [`BadFile`].
pub fn client_config(files: Files<'_>) -> Result<Arc<ClientConfig>, BadFile> {
    let mut roots = RootCertStore::empty();
    match files.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let refuse = |problem| BadFile { which: Which::Ca, problem };
            for found in certificates(path).map_err(refuse)? {
                let added = roots.add(found);
                added.map_err(|error| refuse(format!("{}: {error}", path.display())))?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    // The provider has what both versions need.
    let config =
        config.map_err(|error| BadFile { which: Which::Ca, problem: error.to_string() })?;
    let config = config.with_root_certificates(roots);
    let (Some(cert), Some(key)) = (files.cert, files.key) else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let chain = certificates(cert).map_err(|problem| BadFile { which: Which::Cert, problem })?;
    let refuse = |problem| BadFile { which: Which::Key, problem };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| {
        let nothing = "no private key in PEM; one that is encrypted can't be read here, `openssl pkey` decrypts it";
        refuse(unreadable(key, error, nothing))
    })?;
    let config = config.with_client_auth_cert(chain, private);
    let config = config.map_err(|error| {
        let (key, cert) = (key.display(), cert.display());
        refuse(match error {
            Error::InconsistentKeys(_) => format!("{key} is not the key of {cert}"),
            error => format!("{key}: {error}"),
        })
    })?;
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = read.and_then(|found| match found.is_empty() {
        true => Err(pem::Error::NoItemsFound),
        false => Ok(found),
    });
    found.map_err(|error| unreadable(path, error, "no certificate in PEM"))
}

fn unreadable(path: &Path, error: pem::Error, nothing: &str) -> String {
    let path = path.display();
    match error {
        pem::Error::NoItemsFound => format!("{path} holds {nothing}"),
        pem::Error::Io(error) => format!("cannot read {path}: {error}"),
        // Its other texts quote the file.
        _ => format!("{path} is damaged: not every block of it is PEM"),
    }
}

/// The host of `host:port`, by which the broker's certificate is judged.
pub(crate) fn server_name(broker: &str) -> io::Result<ServerName<'static>> {
    let host = broker.rsplit_once(':').map_or(broker, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// When in a connection's life something failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handshake itself.
    Handshake,
    /// After it: a broker may say only then what it thinks of our certificate.
    After,
}

/// What is wrong between us and a broker about TLS, where no waiting mends it; `None`: an outage.
pub(crate) fn problem(error: &io::Error, phase: Phase, has_certificate: bool) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    match error {
        Error::InvalidCertificate(error) => Some(of_certificate(error)),
        Error::AlertReceived(alert) => of_alert(*alert, has_certificate),
        Error::InvalidMessage(_) if phase == Phase::Handshake => Some(
            "what it answers is not TLS; is this its listener for plain text? Check the port in KAFKA_BROKERS, or leave KAFKA_TLS out"
                .to_owned(),
        ),
        Error::PeerIncompatible(_) | Error::NoCertificatesPresented => Some(format!(
            "{error}; it must speak TLS 1.2 or 1.3 with a certificate"
        )),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        // A signature is wrong where another authority has the same name.
        E::UnknownIssuer | E::BadSignature => format!(
            "its certificate is signed by an authority that is not trusted here ({error:?}); name the authority's PEM file in KAFKA_CA_FILE"
        ),
        E::Expired | E::ExpiredContext { .. } => {
            "its certificate has expired; it must be renewed there (or this machine's clock is wrong)".to_owned()
        }
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "its certificate is not valid yet; is this machine's clock right?".to_owned()
        }
        E::NotValidForNameContext { expected, presented } => format!(
            "its certificate is for {}, not for {}; name the broker so in KAFKA_BROKERS and in its own advertised address, or give it a certificate for that name",
            names(presented),
            expected.to_str()
        ),
        E::NotValidForName => {
            "its certificate is for another name than the one in KAFKA_BROKERS or in its advertised address".to_owned()
        }
        error => format!("its certificate does not verify: {error}"),
    }
}

/// Names as rustls gives them: `DnsName("broker.example")`.
fn names(presented: &[String]) -> String {
    let bare = |name: &String| name.split('"').nth(1).unwrap_or(name).to_owned();
    match presented {
        [] => "no name at all".to_owned(),
        names => names.iter().map(bare).collect::<Vec<_>>().join(", "),
    }
}

fn of_alert(alert: AlertDescription, has_certificate: bool) -> Option<String> {
    use AlertDescription as A;
    match alert {
        // Java's answer to none at all is bad_certificate, in TLS 1.2 handshake_failure.
        A::CertificateRequired
        | A::NoCertificate
        | A::BadCertificate
        | A::CertificateUnknown
        | A::HandshakeFailure
        | A::AccessDenied
            if !has_certificate =>
        {
            Some(format!(
                "it has ended the handshake ({alert:?}), as brokers do that ask for a certificate of ours; give KAFKA_CERT_FILE and KAFKA_KEY_FILE"
            ))
        }
        A::NoCertificate
        | A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA
        | A::AccessDenied
        | A::CertificateRequired
        | A::DecryptError => Some(format!(
            "it does not take our certificate ({alert:?}); KAFKA_CERT_FILE must be valid now and signed by an authority that the broker trusts"
        )),
        A::HandshakeFailure | A::ProtocolVersion | A::InsufficientSecurity => Some(format!(
            "it ended the handshake ({alert:?}); it must speak TLS 1.2 or 1.3"
        )),
        A::UnrecognisedName => Some(
            "it does not know the name that it was called by; name it in KAFKA_BROKERS as its certificate does".to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
