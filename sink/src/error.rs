//! What can go wrong, and what to do about it.
//!
//! The database's errors are classed by SQLSTATE, never by their text: a connection that is gone is
//! waited for, a row that the database refuses is isolated, a schema that is not ours stops the sink.

use std::fmt;

use sqlx::migrate::MigrateError;

/// Why the sink ended.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// A setting has a wrong value. Named as the user knows it.
    #[error("{name}: {problem}")]
    Setting {
        /// Environment variable or flag.
        name: &'static str,
        /// What is wrong with it, without the value where that is secret.
        problem: String,
    },
    /// The brokers refuse us, or we them: a certificate, a name or a password is not what it must be.
    #[error("{0}")]
    Denied(String),
    /// The database answered with an error that waiting does not mend.
    #[error("the database refused to {doing}: {source} (SQLSTATE {})", state(source))]
    Database {
        /// What was attempted, after "refused to".
        doing: String,
        /// The driver's error.
        source: sqlx::Error,
    },
    /// No TLS with the database: a certificate that does not verify, or TLS wanted and not had.
    #[error(
        "no TLS with the database: {problem}. See TIMESCALEDB_SSLMODE, _SSLROOTCERT, _SSLCERT and \
         _SSLKEY, or the sslmode of DATABASE_URL"
    )]
    Tls {
        /// What the handshake failed on.
        problem: String,
    },
    /// The schema could not be brought up to date.
    #[error("the database's tables could not be brought up to date: {0}")]
    Migrate(#[from] MigrateError),
    /// It should have ended when it had caught up.
    #[error(
        "stopped before all that was on the topics is written; what is written stays, run it again"
    )]
    Stopped,
    /// A task of the sink panicked: a bug, and its message is on stderr.
    #[error("a task of the sink ended by a panic: {0}")]
    Panic(String),
    /// The process could not be set up (signal handlers, runtime).
    #[error("the process could not be set up: {0}")]
    Process(#[from] std::io::Error),
}

impl From<tickpanda_kafka::settings::BadSetting> for SinkError {
    fn from(bad: tickpanda_kafka::settings::BadSetting) -> Self {
        SinkError::Setting { name: bad.name, problem: bad.problem }
    }
}

impl SinkError {
    /// An error of the database that waiting does not mend, met while `doing`.
    pub fn of_database(doing: &str, source: sqlx::Error) -> Self {
        match tls_problem(&source) {
            Some(problem) => SinkError::Tls { problem },
            None => SinkError::Database { doing: doing.to_owned(), source },
        }
    }

    /// Whether trying again later, with nothing changed here, can succeed.
    pub fn is_transient(&self) -> bool {
        match self {
            SinkError::Database { source, .. } => class(source) == Class::Transient,
            SinkError::Migrate(
                MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _),
            ) => class(source) == Class::Transient,
            _ => false,
        }
    }

    /// The process's exit code: 2 for a wrong setting (also one that brokers refuse), 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, SinkError::Setting { .. } | SinkError::Denied(_)) { 2 } else { 1 }
    }
}

/// What an error of the database asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Connection, resources, serialization: wait and try again.
    Transient,
    /// A row breaks a rule of the data: find the row, leave it out.
    Data,
    /// Schema, privilege, a feature that is not there: stop and say so.
    Permanent,
}

/// The class of a driver's error.
pub fn class(error: &sqlx::Error) -> Class {
    use sqlx::Error::*;
    match error {
        _ if tls_problem(error).is_some() => Class::Permanent,
        Database(error) => error.code().map_or(Class::Transient, |code| class_of_state(&code)),
        Io(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed | BeginFailed => {
            Class::Transient
        }
        Encode(_) | InvalidArgument(_) => Class::Data,
        _ => Class::Permanent,
    }
}

/// The class of a SQLSTATE. Source: PostgreSQL, appendix A, "PostgreSQL Error Codes".
///
/// What is not listed is waited out: an internal error (`XX`) would otherwise send every good row to
/// the dead letters.
fn class_of_state(state: &str) -> Class {
    match state.get(..2).unwrap_or_default() {
        // data exception, constraint, check option, cardinality; program limit (54): a text too
        // long for an index row
        "21" | "22" | "23" | "44" | "54" => Class::Data,
        // feature, authorization, catalog, schema, syntax or access rule
        "0A" | "0L" | "0P" | "26" | "28" | "34" | "3B" | "3D" | "3F" | "42" => Class::Permanent,
        // 08 connection, 25 read-only after a failover, 40 rollback, 53 resources, 55 locks,
        // 57 operator, 58 system, XX internal
        _ => Class::Transient,
    }
}

/// What is wrong between us and the database about TLS, where no waiting mends it: what one side asks
/// for the other side does not have. Anything else that goes wrong under TLS (a connection cut, a
/// damaged record) is an outage like any other.
///
/// sqlx 0.9.0 reports a handshake's failure as an I/O error around rustls' own, and `Error::Tls` only
/// for what it finds before that.
fn tls_problem(error: &sqlx::Error) -> Option<String> {
    use rustls::{AlertDescription as Alert, Error as Tls};
    match error {
        sqlx::Error::Tls(problem) => Some(problem.to_string()),
        sqlx::Error::Io(error) => {
            let tls = error.get_ref()?.downcast_ref::<Tls>()?;
            let ours = match tls {
                Tls::InvalidCertificate(_)
                | Tls::InvalidCertRevocationList(_)
                | Tls::NoCertificatesPresented
                | Tls::UnsupportedNameType
                | Tls::PeerIncompatible(_) => true,
                Tls::AlertReceived(alert) => matches!(
                    alert,
                    Alert::NoCertificate
                        | Alert::BadCertificate
                        | Alert::UnsupportedCertificate
                        | Alert::CertificateRevoked
                        | Alert::CertificateExpired
                        | Alert::CertificateUnknown
                        | Alert::UnknownCA
                        | Alert::DecryptError // a signature that is wrong, not a damaged record
                        | Alert::AccessDenied
                        | Alert::CertificateRequired
                        | Alert::HandshakeFailure
                        | Alert::ProtocolVersion
                        | Alert::InsufficientSecurity
                ),
                _ => false,
            };
            ours.then(|| tls.to_string())
        }
        _ => None,
    }
}

/// Why a try on the database failed, as a label of the metric `retries`: a fixed set.
pub(crate) fn cause(error: &sqlx::Error) -> &'static str {
    use sqlx::Error::*;
    match error {
        Database(error) => error.code().map_or("other", |code| cause_of_state(&code)),
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => "connection",
        _ => "other",
    }
}

fn cause_of_state(state: &str) -> &'static str {
    match state.get(..2).unwrap_or_default() {
        "08" | "57" => "connection", // also a server that shuts down or starts up
        "25" => "read_only",
        "40" => "serialization",
        "53" => "resources",
        "55" => "locks",
        "58" | "XX" => "internal",
        _ => "other",
    }
}

/// Whether the server ran out of something that a smaller transaction needs less of: locks, above all, of
/// which ticks of two thousand different days take one for each day's chunk and index.
pub(crate) fn is_too_much(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("53200" | "53400"))
}

fn state(error: &sqlx::Error) -> impl fmt::Display {
    let code = error.as_database_error().and_then(|error| error.code());
    code.map_or_else(|| "none".to_owned(), |code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake(error: rustls::Error) -> sqlx::Error {
        sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, error))
    }

    #[test]
    fn a_certificate_that_does_not_verify_ends_the_sink_and_a_cut_connection_does_not() {
        use rustls::{AlertDescription, CertificateError, Error as Tls};
        for error in [
            Tls::InvalidCertificate(CertificateError::UnknownIssuer),
            Tls::InvalidCertificate(CertificateError::Expired),
            Tls::InvalidCertificate(CertificateError::NotValidForName),
            Tls::AlertReceived(AlertDescription::UnknownCA),
            Tls::AlertReceived(AlertDescription::DecryptError),
        ] {
            let error = handshake(error);
            assert_eq!(class(&error), Class::Permanent, "{error}");
            assert!(matches!(SinkError::of_database("read", error), SinkError::Tls { .. }));
        }
        for error in [
            Tls::AlertReceived(AlertDescription::InternalError),
            Tls::AlertReceived(AlertDescription::CloseNotify),
            Tls::DecryptError,
        ] {
            assert_eq!(class(&handshake(error)), Class::Transient);
        }
        assert_eq!(
            class(&sqlx::Error::Tls("server does not support TLS".into())),
            Class::Permanent
        );
        let cut = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert_eq!(class(&cut), Class::Transient);
    }

    #[test]
    fn retries_are_counted_under_a_fixed_set_of_causes() {
        for (state, expected) in [
            ("08006", "connection"),
            ("57P03", "connection"),
            ("25006", "read_only"),
            ("40001", "serialization"),
            ("53100", "resources"),
            ("55P03", "locks"),
            ("XX000", "internal"),
            ("99999", "other"),
            ("", "other"),
        ] {
            assert_eq!(cause_of_state(state), expected, "{state}");
        }
        assert_eq!(cause(&sqlx::Error::PoolTimedOut), "connection");
    }

    #[test]
    fn sqlstates_are_waited_out_isolated_or_final() {
        for (state, expected) in [
            ("08006", Class::Transient), // connection failure
            ("25006", Class::Transient), // read-only: a standby not yet promoted
            ("40001", Class::Transient), // serialization failure
            ("40P01", Class::Transient), // deadlock
            ("53100", Class::Transient), // disk full
            ("53300", Class::Transient), // too many connections
            ("57P01", Class::Transient), // shutdown
            ("57P03", Class::Transient), // starting up
            ("58030", Class::Transient), // I/O error
            ("XX000", Class::Transient), // internal error
            ("22021", Class::Data),      // NUL in a text
            ("22008", Class::Data),      // time out of range
            ("23505", Class::Data),      // duplicate key
            ("23502", Class::Data),      // null
            ("54000", Class::Data),      // index row too long
            ("42P01", Class::Permanent), // no such table
            ("42501", Class::Permanent), // no privilege
            ("28P01", Class::Permanent), // wrong password
            ("3D000", Class::Permanent), // no such database
            ("0A000", Class::Permanent), // not in this edition
            ("", Class::Transient),
        ] {
            assert_eq!(class_of_state(state), expected, "{state}");
        }
        assert_eq!(class(&sqlx::Error::PoolTimedOut), Class::Transient);
        let lost = MigrateError::ExecuteMigration(sqlx::Error::WorkerCrashed, 1);
        assert!(SinkError::Migrate(lost).is_transient(), "a connection lost in a migration");
    }
}
