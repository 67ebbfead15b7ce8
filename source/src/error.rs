//! What stops a source, and the exit code that says so to whoever started it.
//!
//! What can be retried never becomes a [`SourceError`]: it is logged once where it happens, and
//! tried again there.

use std::path::PathBuf;

/// Why a source can't start or can't go on. Each is one line for a person: what failed, on what,
/// what to do. None holds the API key.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A setting has a value that can't be used.
    #[error("{name}: {problem}")]
    Setting {
        /// The flag or variable, as the user wrote it.
        name: &'static str,
        /// What is wrong with it, without its value where that is secret.
        problem: String,
    },
    /// The vendor refused the key. Trying again would not help, and might get the account blocked.
    #[error(
        "the vendor refused the API key: {info}; check CRYPTOCOMPARE_API_KEY (environment or .env) or --api-key-file"
    )]
    Unauthorized {
        /// The vendor's own words.
        info: String,
    },
    /// The raw topic is not there. A source does not create it, because its partition count must be
    /// that of the transform's output topics, which is the operator's choice.
    #[error(
        "topic {topic} does not exist on {brokers}: create it first, with as many partitions as the transform's output topics (rpk topic create {topic} -p N)"
    )]
    TopicMissing {
        /// The raw topic.
        topic: String,
        /// The brokers asked.
        brokers: String,
    },
    /// The brokers refuse us, or we them: a certificate, a name or a password is not what it must be.
    #[error("{0}")]
    Denied(String),
    /// The run ledger can't be written.
    #[error("run ledger {}: {error}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The spool can't be opened, or a lane of it not made.
    #[error("spool {}: {error}", path.display())]
    Spool {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A backfill ended, and not everything came that it was asked for.
    #[error("backfill: {what}")]
    Incomplete {
        /// What is missing, why, and what to do.
        what: String,
    },
    /// A file in the state folder can't be read or written. Nothing is guessed: a command would run
    /// twice, a gap or a history be forgotten.
    #[error(
        "state file {}: {error}; mend it, or move it away and what it remembers is forgotten",
        path.display()
    )]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: std::io::Error,
    },
    /// The HTTP client can't be made.
    #[error("HTTP client: {0}")]
    HttpClient(reqwest::Error),
    /// A part of the source ended that never should.
    #[error("internal: {0}")]
    Internal(String),
}

impl From<tickpanda_program::BadSetting> for SourceError {
    fn from(bad: tickpanda_program::BadSetting) -> Self {
        Self::Setting { name: bad.name, problem: bad.problem }
    }
}

impl From<tickpanda_kafka::settings::BadSetting> for SourceError {
    fn from(bad: tickpanda_kafka::settings::BadSetting) -> Self {
        Self::Setting { name: bad.name, problem: bad.problem }
    }
}

impl SourceError {
    /// Whether the same source with the same settings may well succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::TopicMissing { .. })
    }

    /// Exit code of the program: 2 settings (also those that brokers refuse), 3 key refused, 4 topic missing, 1 everything
    /// else.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Setting { .. } | Self::Denied(_) => 2,
            Self::Unauthorized { .. } => 3,
            Self::TopicMissing { .. } => 4,
            Self::Ledger { .. }
            | Self::Spool { .. }
            | Self::State { .. }
            | Self::Incomplete { .. }
            | Self::HttpClient(_)
            | Self::Internal(_) => 1,
        }
    }
}
