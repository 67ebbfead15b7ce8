//! What a broker is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tickpanda_host::{Limits, Profile};

use crate::engine::TransformTiming;

/// Settings of a [`Broker`](crate::Broker).
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Everything it keeps is in here; made if missing. One broker at a time.
    pub data_dir: PathBuf,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the Admin API listens, if anywhere; port 0 takes a free one. With it the topic for what transforms print is
    /// there from the beginning, as in a cluster with transforms enabled.
    pub admin_listen: Option<SocketAddr>,
    /// Whether `listen` and `admin_listen` may be other than a loopback address. The broker has no authentication.
    pub allow_remote: bool,
    /// The host and port that clients are told to connect to, if not `listen`.
    pub advertise: Option<(String, u16)>,
    /// Connections at once; further ones wait.
    pub max_connections: usize,
    /// The largest request taken, in bytes.
    pub max_request_bytes: usize,
    /// Partitions of all topics together: each keeps a file open.
    pub max_partitions: usize,
    /// How often topics' retention is looked after.
    pub retention_interval: Duration,
    /// When the transform engine does things.
    pub transforms: TransformTiming,
    /// What each transform's guest may use.
    pub transform_limits: Limits,
    /// Transforms at most.
    pub max_transforms: usize,
    /// The build of Redpanda's broker whose Wasm is taken.
    pub transform_profile: Profile,
}

impl BrokerConfig {
    /// On a free port of 127.0.0.1, with limits for one machine.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            admin_listen: None,
            allow_remote: false,
            advertise: None,
            max_connections: 1000,
            max_request_bytes: 32 << 20,
            max_partitions: 1000,
            retention_interval: Duration::from_secs(30),
            transforms: TransformTiming::default(),
            transform_limits: Limits::default(),
            // As many heaps as Redpanda reserves by default.
            max_transforms: 10,
            transform_profile: Profile::default(),
        }
    }
}
