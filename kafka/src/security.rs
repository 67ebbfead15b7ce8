//! Where a cluster is and what it asks of who connects: addresses, TLS, a name and a password.
//!
//! No `Debug` and no `Display` here shows a password or a key.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A cluster, by some of its brokers, and how to be let in.
#[derive(Clone, Debug)]
pub struct Brokers {
    /// `host:port` each; any that answers will do.
    pub addresses: Vec<String>,
    /// The same for all of them.
    pub security: Security,
}

impl Brokers {
    /// In plain text, without a password.
    pub fn plain(addresses: Vec<String>) -> Self {
        Brokers { addresses, security: Security::default() }
    }
}

impl fmt::Display for Brokers {
    /// The addresses, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.addresses.join(","))
    }
}

/// How to be let in. By default in plain text and as nobody.
#[derive(Clone, Default)]
pub struct Security {
    /// TLS, with whom to trust and our own certificate.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Who we are.
    pub sasl: Option<Sasl>,
}

impl Security {
    /// Whether we have a certificate of our own to show.
    pub(crate) fn has_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_auth_cert_resolver.has_certs())
    }
}

impl fmt::Display for Security {
    /// For people: `TLS, SCRAM-SHA-256 as alice`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (&self.tls, self.has_certificate()) {
            (None, _) => "no TLS",
            (Some(_), false) => "TLS",
            (Some(_), true) => "TLS with a certificate of our own",
        })?;
        match &self.sasl {
            None => Ok(()),
            Some(sasl) => write!(f, ", {} as {}", sasl.mechanism, sasl.username),
        }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Security({self})")
    }
}

/// A name and its password, and how they are shown to the broker.
#[derive(Clone, PartialEq, Eq)]
pub struct Sasl {
    /// How.
    pub mechanism: Mechanism,
    /// The name.
    pub username: String,
    /// Its password; it is in no `Debug`.
    pub password: String,
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Sasl");
        shown.field("mechanism", &self.mechanism).field("username", &self.username);
        shown.finish_non_exhaustive()
    }
}

/// How a password is shown: as it is, or by proving that one knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616: the password itself. Without TLS everybody on the way reads it.
    Plain,
    /// RFC 7677.
    ScramSha256,
    /// The same with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// All of them.
    pub const ALL: [Mechanism; 3] =
        [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512];

    /// Its registered name.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mechanism {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Mechanism::ALL.into_iter().find(|one| one.name().eq_ignore_ascii_case(text));
        found.ok_or("it is PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_printing_shows_the_password() {
        for mechanism in Mechanism::ALL {
            let (username, password) = ("alice".to_owned(), "hunter2".to_owned());
            let sasl = Sasl { mechanism, username, password };
            let security = Security { tls: None, sasl: Some(sasl.clone()) };
            let brokers = Brokers { addresses: vec!["b:1".into()], security: security.clone() };
            let config = crate::ClientConfig { security: security.clone(), ..Default::default() };
            let shown =
                format!("{sasl:?} {security:?} {security} {brokers:?} {brokers} {config:?}");
            assert!(shown.contains("alice") && shown.contains(mechanism.name()), "{shown}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn mechanisms_have_the_names_that_kafka_gives_them() {
        for mechanism in Mechanism::ALL {
            assert_eq!(mechanism.name().parse(), Ok(mechanism));
        }
        assert_eq!("scram-sha-512".parse(), Ok(Mechanism::ScramSha512));
        assert!("GSSAPI".parse::<Mechanism>().is_err());
    }
}
