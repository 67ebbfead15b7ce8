//! The exchange as a whole: one port for the WebSocket and REST, started and shut down.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{ConnectInfo, State, WebSocketUpgrade};
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{any, get};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::auth::has_key;
use crate::calls;
use crate::config::{ExchangeConfig, Feed};
use crate::connection;
use crate::console;
use crate::error::ExchangeError;
use crate::faults::{
    Desk, Fault, Moment, Order, OrderError, Player, Scenario, Standing, Timeline, page,
};
use crate::journal::Journal;
use crate::market::{Market, MarketFrame, Pair, frames_between};
use crate::pacing::Rate;
use crate::quota::Quota;
use crate::replay::Recording;
use crate::rest;
use crate::shared::Shared;
use crate::stats::{Counters, KeyShown, Ledger, Report, Stats, Tally, add};
use crate::wire::{Line, WireListener};

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

impl Exchange {
    /// Listens, and serves from then on.
    ///
    /// # Errors
    /// [`ExchangeError`]: the address is taken, the recording is gone, a pair or a setting is bad.
    pub async fn start(config: ExchangeConfig) -> Result<Exchange, ExchangeError> {
        check(&config)?;
        let market = market_of(&config);
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
        let journal = config.journal.as_deref().map(|path| {
            Journal::create(path)
                .map_err(|source| ExchangeError::Journal { path: path.to_owned(), source })
        });
        let journal = journal.transpose()?;
        let listen = |source| ExchangeError::Listen { listen: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let tally = match &config.feed {
            Feed::Synthetic { .. } => Tally::new(market.subs()),
            Feed::Replay(scan) => Tally::new(&scan.subs),
        };
        let scenario = config.scenario.clone();
        let shared = Arc::new(Shared {
            market: Arc::new(market),
            recording,
            slots: Arc::new(Semaphore::new(config.max_sockets)),
            openings: Mutex::new(Quota::new(config.socket_limits)),
            calls: Mutex::new(Quota::new(config.rest_limits)),
            counters: Counters::default(),
            tally,
            ledger: Ledger::default(),
            journal,
            desk: Desk::new(),
            started_ms: config.clock.millis(),
            started_s: config.clock.seconds(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
            config,
        });
        shared.tasks.spawn(serve(listener, Arc::clone(&shared)));
        if let Some(scenario) = scenario {
            let scenario = scenario.faster(shared.config.time_scale.get());
            shared.tasks.spawn(play(scenario, Arc::clone(&shared)));
        }
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
        self.shared.stats()
    }

    /// The counters, and what clients did, one by one.
    #[must_use]
    pub fn report(&self) -> Report {
        self.shared.report()
    }

    /// Orders a fault, which strikes from now on; the order's number. A [`Fault`] is an order for everything.
    ///
    /// # Errors
    /// [`OrderError`]: it can't be carried out.
    pub fn fault(&self, order: impl Into<Order>) -> Result<u64, OrderError> {
        self.shared.desk.give(order.into())
    }

    /// Takes an order back. Whether it stood.
    pub fn clear(&self, id: u64) -> bool {
        self.shared.desk.clear(id)
    }

    /// Takes every order back; how many stood.
    pub fn clear_all(&self) -> usize {
        self.shared.desk.clear_all()
    }

    /// The orders that stand, oldest first.
    #[must_use]
    pub fn faults(&self) -> Vec<Standing> {
        self.shared.desk.standing()
    }

    /// Closes every socket that is open now, with a close frame; how many it were.
    pub fn kick(&self) -> usize {
        self.shared.kick()
    }

    /// See [`market_frames`].
    pub fn market_frames<'a>(
        &self,
        subs: impl IntoIterator<Item = &'a str>,
        from_ms: u64,
        to_ms: u64,
    ) -> Box<dyn Iterator<Item = MarketFrame> + Send> {
        frames_between(Arc::clone(&self.shared.market), subs, from_ms, to_ms)
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

/// The live frames of `subs` that the synthetic market of an exchange with this configuration sends after `from_ms` and not after
/// `to_ms` (milliseconds since the epoch by its clock), in order, whether or not anybody listens: a function of seed, pairs, rate and
/// time. Intervals join without a frame twice or none, so what a client missed is what is in here and not in
/// the [journal](crate::read_journal). Snapshots are not in here; for an exchange at [`Rate::Unlimited`], whose times lag
/// behind its clock, it tells what is due and not yet what was sent.
pub fn market_frames<'a>(
    config: &ExchangeConfig,
    subs: impl IntoIterator<Item = &'a str>,
    from_ms: u64,
    to_ms: u64,
) -> Box<dyn Iterator<Item = MarketFrame> + Send> {
    frames_between(Arc::new(market_of(config)), subs, from_ms, to_ms)
}

/// The market behind the frames, or behind REST only.
fn market_of(config: &ExchangeConfig) -> Market {
    let (seed, pairs) = match &config.feed {
        Feed::Synthetic { seed, pairs } => (*seed, pairs.clone()),
        Feed::Replay(_) => (0, Pair::catalogue()),
    };
    let rate = match config.rate {
        Rate::PerSecond(rate) => u64::from(rate.get()),
        Rate::Unlimited => UNLIMITED_EVENTS,
    };
    Market::new(seed, rate, pairs)
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
    let mut router = Router::new()
        .route("/v2", any(upgrade))
        .route("/data/{name}", get(calls::v1))
        .route("/data/v2/{name}", get(calls::v2))
        .fallback(async || rest::reply(rest::unknown_path()));
    if shared.config.control {
        router = router.merge(console::routes());
    }
    let service =
        router.with_state(Arc::clone(&shared)).into_make_service_with_connect_info::<Line>();
    let stopped = shared.stop.clone().cancelled_owned();
    let serving = axum::serve(WireListener(listener), service).with_graceful_shutdown(stopped);
    if let Err(error) = serving.await {
        tracing::error!(%error, "the exchange no longer accepts connections");
    }
}

async fn upgrade(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(line): ConnectInfo<Line>,
    headers: HeaderMap,
    uri: Uri,
    upgrade: WebSocketUpgrade,
) -> Response {
    let number = shared.ledger.opening(shared.now_ms(), KeyShown::by(&headers, &uri));
    if let Some((id, fault)) = shared.desk.strike_by(Moment::Upgrade { socket: number }) {
        add(&shared.counters.refused_sockets, 1);
        shared.ledger.outcome(number, &fault.name());
        let response = match fault {
            Fault::UpgradeStatus { status } => calls::page(status, "text/html", page(status)),
            Fault::HalfOpen => {
                shared.stop.run_until_cancelled(shared.desk.over(id)).await;
                calls::dropped(&line)
            }
            _ => calls::dropped(&line),
        };
        shared.ledger.ended(number, shared.now_ms());
        return response;
    }
    let has_key = has_key(&headers, &calls::parameters(&uri), &shared.config.api_key);
    let tasks = shared.tasks.clone();
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        // Tracked, so that a shutdown waits for it.
        .on_upgrade(move |socket| async move {
            let _ = tasks.spawn(connection::run(socket, line, shared, number, has_key)).await;
        })
}

/// Carries the scenario out until it is over or the exchange stops.
async fn play(scenario: Scenario, shared: Arc<Shared>) {
    let (mut timeline, mut player) = (Timeline::new(scenario), Player::default());
    while let Some(due) = timeline.due() {
        let wait = tokio::time::sleep_until(shared.desk.instant(due));
        if shared.stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
        if let Some(action) = timeline.pop() {
            player.act(action, &shared.desk);
        }
    }
}
