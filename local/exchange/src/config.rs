//! What an exchange is started with.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::faults::Scenario;
use crate::market::Pair;
use crate::pacing::Rate;
use crate::quota::Limits;
use crate::replay::ReplayScan;

/// Everything that can be chosen. Start from [`ExchangeConfig::new`].
#[derive(Clone)]
pub struct ExchangeConfig {
    /// Where to listen; port 0 takes a free one. Default `127.0.0.1:0`.
    pub listen: SocketAddr,
    /// The only valid key.
    pub api_key: String,
    /// What is sent.
    pub feed: Feed,
    /// How fast. For the synthetic market: events a second over all of its channels, the same ones for
    /// every client, of which a client gets those it subscribes to. Default 1,000 a second.
    pub rate: Rate,
    /// What time it is, for the synthetic market and all frames.
    pub clock: Clock,
    /// Sockets open at once; one more gets 429. Default 1, as for a free key.
    pub max_sockets: usize,
    /// Subscriptions per socket. Default 600, as for a free key; a replay takes 50,000.
    pub max_subs: usize,
    /// Socket openings. Default [`Limits::SOCKETS`].
    pub socket_limits: Limits,
    /// REST calls. Default [`Limits::REST`].
    pub rest_limits: Limits,
    /// Between two heartbeats (TYPE 999). Default 30 s.
    pub heartbeat: Duration,
    /// Between two WebSocket pings; a peer that leaves two in a row unanswered is disconnected. Default 30 s.
    pub ping: Duration,
    /// Whether `/control/…` on the same port takes orders for faults, from anybody who reaches it. Default no.
    pub control: bool,
    /// Faults that come by themselves, counted from the start.
    pub scenario: Option<Scenario>,
    /// Heartbeats, pings and the scenario go so many times as fast; the market, the quotas and orders from elsewhere
    /// keep their time. Default 1.
    pub time_scale: NonZeroU32,
    /// Where to write what was handed to sockets, see [`read_journal`](crate::read_journal). A file that is there
    /// is replaced.
    pub journal: Option<PathBuf>,
}

impl ExchangeConfig {
    /// The vendor's rules for a free key, on a free port of the loopback interface.
    #[must_use]
    pub fn new(api_key: impl Into<String>, feed: Feed) -> Self {
        ExchangeConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            api_key: api_key.into(),
            feed,
            rate: Rate::PerSecond(const { NonZeroU32::new(1000).unwrap() }),
            clock: Clock::system(),
            max_sockets: 1,
            max_subs: 600,
            socket_limits: Limits::SOCKETS,
            rest_limits: Limits::REST,
            heartbeat: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            control: false,
            scenario: None,
            time_scale: NonZeroU32::MIN,
            journal: None,
        }
    }
}

impl ExchangeConfig {
    /// How long something takes that the time scale is for.
    pub(crate) fn scaled(&self, period: Duration) -> Duration {
        // A timer must not be without a period.
        (period / self.time_scale.get()).max(Duration::from_nanos(1))
    }
}

/// Where frames come from.
#[derive(Debug, Clone)]
pub enum Feed {
    /// A made-up market, fully determined by seed, pairs, rate and time.
    Synthetic {
        /// Another seed, other prices.
        seed: u64,
        /// What is traded, e.g. [`Pair::catalogue`]; an index (CCCAGG) comes with each base and quote.
        pairs: Vec<Pair>,
    },
    /// A recording, sent in order to one connection, once its first SubAdd is answered. REST then answers
    /// from a synthetic market with seed 0.
    Replay(ReplayScan),
}

/// A wall clock that can be replaced in tests.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Duration + Send + Sync>);

impl Clock {
    /// The machine's.
    #[must_use]
    pub fn system() -> Self {
        Clock::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
    }

    /// Any function that gives the time since the Unix epoch.
    #[must_use]
    pub fn new(now: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Clock(Arc::new(now))
    }

    pub(crate) fn seconds(&self) -> u64 {
        (self.0)().as_secs()
    }

    pub(crate) fn millis(&self) -> u64 {
        u64::try_from((self.0)().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn nanos(&self) -> u64 {
        u64::try_from((self.0)().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

impl fmt::Debug for ExchangeConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeConfig")
            .field("listen", &self.listen)
            .field("feed", &self.feed)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
