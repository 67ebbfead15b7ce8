//! What can go wrong with the broker as a whole. What goes wrong with one request is a Kafka
//! error code in its response, and never leaves the connection.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::engine::Refusal;

/// An error of the broker, with what it concerns.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// A file or folder of the data directory could not be read or written.
    #[error("cannot {what} {path}: {source}", path = path.display())]
    Io {
        /// What was being done, as a verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another broker runs on this data directory.
    #[error("{path} is in use by another broker: stop it, or name another data directory", path = .0.display())]
    Locked(PathBuf),
    /// A file in the data directory is damaged in a way that a crash does not explain.
    #[error("{path} is damaged ({what}): restore it from a copy, or start with another data directory", path = path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The address can't be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody may reach the broker over a network unless told so: it has no authentication.
    #[error("{0} is not a loopback address: allow remote clients explicitly")]
    NotLoopback(SocketAddr),
    /// Clients can't connect to "any address".
    #[error("listening on {0} needs an advertised address that clients can reach")]
    Unadvertised(SocketAddr),
    /// A topic's name is not allowed.
    #[error("topic {0:?}: a name is 1 to 249 of a-z A-Z 0-9 . _ -")]
    InvalidTopic(String),
    /// A topic can't have so many partitions.
    #[error(
        "topic {name:?}: {asked} partitions asked for, between {least} and {most} are possible"
    )]
    InvalidPartitions {
        /// The topic.
        name: String,
        /// How many were asked for.
        asked: i32,
        /// One more than it has.
        least: usize,
        /// How many there is room for.
        most: usize,
    },
    /// A topic's setting is unknown or its value is not allowed.
    #[error("setting {key}={value:?}: {what}")]
    InvalidSetting {
        /// The setting.
        key: String,
        /// Its value.
        value: String,
        /// What would be allowed.
        what: String,
    },
    /// The topic exists with another partition count or other settings.
    #[error("topic {0:?} exists already")]
    TopicExists(String),
    /// There is no such topic.
    #[error("there is no topic {0:?}")]
    UnknownTopic(String),
    /// The topic can't be deleted under a running transform.
    #[error("topic {topic:?} is in use by transform {transform:?}")]
    TopicInUse {
        /// The topic.
        topic: String,
        /// The transform.
        transform: String,
    },
    /// There is no such transform.
    #[error("there is no transform {0:?}")]
    UnknownTransform(String),
    /// A transform's description is not allowed.
    #[error("transform {name:?}: {what}")]
    InvalidTransform {
        /// The transform.
        name: String,
        /// Why, in the broker's classes.
        refusal: Refusal,
        /// What is wrong in particular.
        what: String,
    },
    /// The operating system gave no thread to run a transform on.
    #[error("transform {name:?}: no thread to run it on: {source}")]
    Thread {
        /// The transform.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BrokerError {
    /// Whether the same call can succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Locked(_) | Self::Thread { .. } => true,
            Self::Bind { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Io { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::Interrupted
                    | io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }

    /// For `map_err`: an I/O error with what was done to which path.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { what, path, source }
    }
}
