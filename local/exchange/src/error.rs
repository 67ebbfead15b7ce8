//! Why an exchange does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// See the variants.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExchangeError {
    /// The address is taken or not this machine's.
    #[error("the exchange can't listen on {listen}: {source}")]
    Listen {
        /// The address asked for.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The recording was there when it was checked, and is no longer.
    #[error("can't open the recording {path}: {source}")]
    Recording {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The journal can't be begun.
    #[error("can't write the journal {path}: {source}")]
    Journal {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A pair that can't be traded.
    #[error("the pair {pair} can't be traded: {problem}")]
    Pair {
        /// `{market}~{base}~{quote}`.
        pair: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting that makes no sense.
    #[error("{0}")]
    Setting(&'static str),
}

impl ExchangeError {
    /// Whether the same start may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, ExchangeError::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}
