//! The exchange as a whole: one port for the WebSocket and REST, started and shut down.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Query, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{any, get};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::has_key;
use crate::config::{ExchangeConfig, Feed};
use crate::connection;
use crate::error::ExchangeError;
use crate::market::{Market, Pair};
use crate::pacing::Rate;
use crate::quota::Quota;
use crate::replay::Recording;
use crate::rest;
use crate::stats::{Counters, Stats};

/// A SubAdd with as many subs as a recording may need fits; nothing a client sends is larger.
const MAX_MESSAGE_BYTES: usize = 4 << 20;
/// Events a second of a synthetic market that is to be as fast as the client takes: more than one
/// core can make, so that the client's pace decides. Its times then lag behind the clock.
const UNLIMITED_EVENTS: u64 = 1_000_000;

/// A running fake CryptoCompare. Dropped without [`Exchange::shutdown`], it stops as well, but nobody waits.
#[derive(Debug)]
pub struct Exchange {
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What connections and calls have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ExchangeConfig,
    pub(crate) market: Arc<Market>,
    /// Present in a replay.
    pub(crate) recording: Option<Arc<tokio::sync::Mutex<Recording>>>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) openings: Mutex<Quota>,
    pub(crate) calls: Mutex<Quota>,
    pub(crate) counters: Counters,
    pub(crate) started_s: u64,
    pub(crate) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Shared {
    pub(crate) fn open_sockets(&self) -> usize {
        self.config.max_sockets.saturating_sub(self.slots.available_permits())
    }
}

impl Exchange {
    /// Listens, and serves from then on.
    ///
    /// # Errors
    /// [`ExchangeError`]: the address is taken, the recording is gone, a pair or a setting is bad.
    pub async fn start(config: ExchangeConfig) -> Result<Exchange, ExchangeError> {
        check(&config)?;
        let (seed, pairs) = match &config.feed {
            Feed::Synthetic { seed, pairs } => (*seed, pairs.clone()),
            Feed::Replay(_) => (0, Pair::catalogue()),
        };
        let rate = match config.rate {
            Rate::PerSecond(rate) => u64::from(rate.get()),
            Rate::Unlimited => UNLIMITED_EVENTS,
        };
        let recording = match &config.feed {
            Feed::Synthetic { .. } => None,
            Feed::Replay(scan) => {
                let open = Recording::open(scan).await;
                let recording = open.map_err(|source| ExchangeError::Recording {
                    path: scan.path.clone(),
                    source,
                })?;
                Some(Arc::new(tokio::sync::Mutex::new(recording)))
            }
        };
        let listen = |source| ExchangeError::Listen { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Arc::new(Shared {
            market: Arc::new(Market::new(seed, rate, pairs)),
            recording,
            slots: Arc::new(Semaphore::new(config.max_sockets)),
            openings: Mutex::new(Quota::new(config.socket_limits)),
            calls: Mutex::new(Quota::new(config.rest_limits)),
            counters: Counters::default(),
            started_s: config.clock.seconds(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        shared.tasks.spawn(serve(listener, Arc::clone(&shared)));
        Ok(Exchange { address, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The WebSocket's URL, `ws://…/v2`.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}/v2", self.address)
    }

    /// The REST API's base URL, `http://…`; the paths below it are the vendor's, `/data/v2/histohour` and so on.
    #[must_use]
    pub fn rest_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What a client can subscribe to: everything the synthetic market has, or what the recording holds.
    #[must_use]
    pub fn subs(&self) -> &[String] {
        match &self.shared.config.feed {
            Feed::Synthetic { .. } => self.shared.market.subs(),
            Feed::Replay(scan) => &scan.subs,
        }
    }

    /// The counters.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.counters.read(self.shared.open_sockets())
    }

    /// Closes every connection and waits until the last one is gone, a second or two at most.
    pub async fn shutdown(self) {
        self.shared.stop.cancel();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

/// Refuses what would only show later, as frames that never come.
fn check(config: &ExchangeConfig) -> Result<(), ExchangeError> {
    if config.api_key.is_empty() {
        return Err(ExchangeError::Setting("the exchange's API key must not be empty"));
    }
    if config.max_sockets == 0 || config.max_sockets > Semaphore::MAX_PERMITS {
        return Err(ExchangeError::Setting("the exchange must allow at least one socket"));
    }
    if config.heartbeat.is_zero() || config.ping.is_zero() {
        return Err(ExchangeError::Setting("heartbeats and pings must be some time apart"));
    }
    let Feed::Synthetic { pairs, .. } = &config.feed else { return Ok(()) };
    if pairs.is_empty() {
        return Err(ExchangeError::Setting("the synthetic market needs at least one pair"));
    }
    for pair in pairs {
        if let Some(problem) = pair.fault() {
            let pair = format!("{}~{}~{}", pair.market, pair.base, pair.quote);
            return Err(ExchangeError::Pair { pair, problem });
        }
    }
    Ok(())
}

/// Accepts until the exchange stops.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let router = Router::new()
        .route("/v2", any(upgrade))
        .route("/data/{name}", get(v1))
        .route("/data/v2/{name}", get(v2))
        .fallback(async || rest::reply(rest::unknown_path()))
        .with_state(Arc::clone(&shared));
    // Frames leave when they are flushed, not when the kernel thinks that more may come.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let stopped = shared.stop.clone().cancelled_owned();
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        tracing::error!(%error, "the exchange no longer accepts connections");
    }
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let has_key = has_key(&headers, &parameters(&uri), &shared.config.api_key);
    let tasks = shared.tasks.clone();
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        // Tracked, so that a shutdown waits for it.
        .on_upgrade(move |socket| async move {
            let _ = tasks.spawn(connection::run(socket, shared, has_key)).await;
        })
}

async fn v1(state: State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response {
    call(&state, &headers, &uri, rest::Version::V1)
}

async fn v2(state: State<Arc<Shared>>, headers: HeaderMap, uri: Uri) -> Response {
    call(&state, &headers, &uri, rest::Version::V2)
}

fn call(shared: &Shared, headers: &HeaderMap, uri: &Uri, version: rest::Version) -> Response {
    crate::stats::add(&shared.counters.rest_calls, 1);
    let parameters = parameters(uri);
    let now = shared.config.clock.seconds();
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    if !has_key(headers, &parameters, &shared.config.api_key) {
        return rest::reply(rest::no_key());
    }
    {
        let mut calls = shared.calls.lock().unwrap_or_else(PoisonError::into_inner);
        if !calls.call(now) {
            return rest::reply(rest::over_limit(&calls));
        }
    }
    rest::reply(rest::answer(&shared.market, version, name, &parameters, now))
}

/// The query's parameters; of a repeated one the last, of an unreadable query none.
fn parameters(uri: &Uri) -> HashMap<String, String> {
    Query::try_from_uri(uri).map(|Query(parameters)| parameters).unwrap_or_default()
}
