//! What can go wrong between "a database, please" and a running one. The texts are for people and
//! name the way out; none holds a password (a given URL is never printed).

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A variable holds something that can't be used.
    #[error("{name}: {problem}")]
    Setting {
        /// The variable's name.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },

    /// No choice led to a server.
    #[error(
        "no database: {tried}. Choices: set DATABASE_URL (or TIMESCALEDB_HOST, _PORT, _USERNAME, _PASSWORD, \
         _DATABASE) to a running one; run once on a Debian-like machine with network, so that TimescaleDB can be \
         unpacked into the cache; or install PostgreSQL, so that `postgres` and `initdb` are on PATH"
    )]
    NoDatabase {
        /// Why each choice was none.
        tried: String,
    },

    /// None of the folders for the cache can be used.
    #[error("no cache folder can be used ({tried}): set TICKPANDA_CACHE to a folder of yours")]
    Cache {
        /// The folders, each with its reason.
        tried: String,
    },

    /// Fetching or unpacking failed.
    #[error("{doing} failed: {detail}")]
    Provision {
        /// What was to be made.
        doing: String,
        /// The last lines of the script's standard error.
        detail: String,
    },

    /// PostgreSQL refuses to run as root, and the account that would run it can't get in.
    #[error(
        "PostgreSQL does not run as root, and the user `{account}` who would run it may not enter {folder}: \
         allow it (chmod o+x {folder}), choose another folder, or run as an ordinary user"
    )]
    Blocked {
        /// The outermost folder that stops it.
        folder: PathBuf,
        /// The account that was tried.
        account: String,
    },

    /// Another process works on this data folder.
    #[error("{folder} is in use by another run: wait for it to end, or choose another folder")]
    InUse {
        /// The data folder.
        folder: PathBuf,
    },

    /// The server of a killed run has not ended in time.
    #[error(
        "the server of an earlier run on {folder} has not ended after {seconds} s: see server.log there"
    )]
    StillStopping {
        /// The data folder.
        folder: PathBuf,
        /// How long we waited.
        seconds: u64,
    },

    /// A server that we did not start runs on our data.
    #[error("a server that was started by hand (process {pid}) runs on {folder}: stop it first")]
    ForeignServer {
        /// The data directory.
        folder: PathBuf,
        /// Its process id.
        pid: u32,
    },

    /// The data is of another major version.
    #[error(
        "{folder} was made by PostgreSQL {made_by}, but the server at hand is {ours}: choose another folder, or the \
         server that made it (TICKPANDA_DATABASE=trixie, forky or machine)"
    )]
    WrongVersion {
        /// The data directory.
        folder: PathBuf,
        /// The major version in its `PG_VERSION`.
        made_by: String,
        /// The server's major version.
        ours: String,
    },

    /// The data belongs to another user, and we are not root.
    #[error("{folder} belongs to another user: run as that user, or choose another folder")]
    WrongOwner {
        /// The data directory.
        folder: PathBuf,
    },

    /// The server ended, or did not answer, while it started.
    #[error("the database server did not start: {reason}; its log ends with:\n{log}")]
    NotStarted {
        /// What was seen.
        reason: String,
        /// The last lines of its log.
        log: String,
    },

    /// Redis ended, or did not answer, while it started.
    #[error("Redis did not start; its log ends with:\n{log}")]
    RedisNotStarted {
        /// The last lines of its log.
        log: String,
    },

    /// The server has not ended in time.
    #[error("the database server has not ended {seconds} s after it was told to: see {log}")]
    NotStopped {
        /// How long we waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },

    /// A database server did not do what it was asked.
    #[error("cannot {doing}: {source}")]
    Sql {
        /// What it was asked.
        doing: String,
        /// The driver's error.
        source: sqlx::Error,
    },

    /// A file or a program of this machine.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was tried, on what.
        doing: String,
        /// The system's error.
        source: io::Error,
    },
}

impl DatabaseError {
    /// Whether trying again later, with nothing changed, can succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InUse { .. } | Self::StillStopping { .. } | Self::NotStopped { .. } => true,
            Self::Sql { source, .. } => {
                matches!(source, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut)
            }
            _ => false,
        }
    }

    pub(crate) fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let doing = format!("{doing} {}", path.display());
        move |source| Self::Io { doing, source }
    }

    pub(crate) fn sql(doing: impl Into<String>) -> impl FnOnce(sqlx::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Sql { doing, source }
    }
}
