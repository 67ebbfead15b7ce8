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
    /// The database answered with an error that waiting does not mend.
    #[error("the database refused to {doing}: {source} (SQLSTATE {})", state(source))]
    Database {
        /// What was attempted, after "refused to".
        doing: String,
        /// The driver's error.
        source: sqlx::Error,
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

impl SinkError {
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

    /// The process's exit code: 2 for a wrong setting, 1 for everything else.
    pub fn exit_code(&self) -> u8 {
        if matches!(self, SinkError::Setting { .. }) { 2 } else { 1 }
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
        Database(error) => error.code().map_or(Class::Transient, |code| class_of_state(&code)),
        Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed | BeginFailed => {
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

fn state(error: &sqlx::Error) -> impl fmt::Display {
    let code = error.as_database_error().and_then(|error| error.code());
    code.map_or_else(|| "none".to_owned(), |code| code.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

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
