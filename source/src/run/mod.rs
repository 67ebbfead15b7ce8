//! A source from start to stop: what an earlier run left, the topic, the tasks, watching and draining
//! them.
//!
//! ```text
//!  sockets ──frames──▶ ┌───────┐ ──▶ publishers ──▶ broker
//!  history ──bodies──▶ │ spool │
//!  gaps, replies ────▶ └───────┘
//!     ▲  events, effects
//!  state machine ◀── orders ◀── control topic
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`backfill`] | the command of that name, from start to stop |
//! | `begin` | what an earlier run left, and the raw topic |
//! | `tell` | gaps to `gap-events` and to the history |
//! | `past` | the history at work: bodies to the spool, progress to its file |
//! | `orders` | what operators' commands ask for |
//! | `create` | topics being created |
//! | `sight` | what the source shows of itself |

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tickpanda_program::http::Beat;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, interval_at, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::{Clock, now_ms};
use crate::control;
use crate::counters::{Counters, Summary};
use crate::driver::{Driver, Inboxes};
use crate::error::SourceError;
use crate::gaps::{Gaps, Notice, Signs};
use crate::history::client::Client;
use crate::ledger::Ledger;
use crate::machine::{State, streaming, topics};
use crate::publish::{Cluster, Publishers};
use crate::settings::Settings;
use crate::spool::Spool;
use crate::stream::{Links, Stream};

pub mod backfill;
mod begin;
mod create;
mod orders;
mod past;
mod sight;
mod tell;

use begin::Begun;

/// How often a summary is logged.
const SUMMARY_EVERY: Duration = Duration::from_secs(10);
/// Wishes for history that may wait for its task; more are refused by name.
const WISHES: usize = 20_000;

/// Runs a source until `shutdown` is cancelled, then publishes what it holds, as far as that goes at once,
/// and returns what it has done. All of its tasks have ended when it returns; what is not published waits
/// in the spool for the next start.
///
/// # Errors
/// What can't be retried: see [`SourceError`].
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<Summary, SourceError> {
    // An error means that somebody in this process has chosen a provider already: as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let run: u64 = rand::rng().random();
    info!(run = format!("{run:016x}"), %settings, "source starts");
    let Some(begun) = Begun::begin(&settings, run, &shutdown).await? else {
        return Ok(Summary { run, ..Summary::default() });
    };
    let (mut source, mut ledger) = Running::start(settings, run, begun, &shutdown).await?;
    let failure = source.watch(&mut ledger).await.err();
    let (counters, spool) = (Arc::clone(&source.counters), Arc::clone(&source.spool));
    let waiting = source.drain().await;
    begin::note_ended_runs(&spool, &mut ledger)?;
    let summary = counters.summary(run, spool.meter());
    if spool.unsettled() == 0 {
        ledger.ended(run, now_ms(), spool.drawn())?;
    }
    if waiting > 0 {
        warn!(
            records = waiting,
            "the broker did not take them in time: they are in the spool, and the next start publishes them"
        );
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    info!(frames = summary.frames, published = summary.published, "source stopped");
    Ok(summary)
}

/// The tasks of a source.
struct Running {
    run: u64,
    drain: Duration,
    counters: Arc<Counters>,
    spool: Arc<Spool>,
    gaps: mpsc::UnboundedSender<Notice>,
    /// Topics that hold no data of the vendor's.
    ours: [String; 2],
    beat: Arc<Beat>,
    /// Sockets and whoever else brings data.
    receivers: JoinSet<Result<(), SourceError>>,
    /// HTTP.
    extras: JoinSet<()>,
    /// The keeper of gaps ends after them: it hears from them to the last.
    keeper: tokio::task::JoinHandle<()>,
    publishers: Publishers,
    /// Receivers end.
    stop: CancellationToken,
    /// The keeper ends.
    stop_keeper: CancellationToken,
}

impl Running {
    #[allow(clippy::too_many_lines)] // one part after the other, each a few lines
    async fn start(
        settings: Settings,
        run: u64,
        begun: Begun,
        shutdown: &CancellationToken,
    ) -> Result<(Self, Ledger), SourceError> {
        let Begun { mut ledger, spool, recovered, raw, partitions, broker } = begun;
        // What can keep it from starting comes before anything is opened at the vendor's.
        let server = match settings.http {
            Some(address) => Some(crate::http::bind(address).await?),
            None => None,
        };
        ledger.started(run, now_ms())?;
        let stop = shutdown.child_token();
        let counters = Arc::new(Counters::default());
        let settings = Arc::new(settings);
        let clock = Clock::start();

        // What is wanted: the settings' subs and what operators have changed.
        let (task, handle, effects) = control::Task::load(
            orders::base(&settings),
            &settings.state_dir,
            Arc::clone(&counters.commands),
        )?;
        let wanted = task.commands().routes();
        let known = recovered.topics.clone();
        let mut desk = orders::Desk::new(&settings, &spool, raw, partitions.clone(), known);
        let (routes, _) = desk.settle(&wanted);
        let (routes_sender, routes_receiver) = watch::channel(Arc::new(routes));

        // What the last run covered, and how its candles are fetched.
        let sockets = settings.api_keys.len() * settings.sockets;
        let signs = Arc::new(Signs::new(sockets));
        let (notices, heard) = mpsc::unbounded_channel();
        let (wishes, wished) = mpsc::channel(WISHES);
        let gap_topic = spool.topic(&settings.topics.gaps, &[0], false)?;
        // What waits for topics that nobody asks for any more is published all the same.
        let ours = [settings.topics.gaps.clone(), settings.topics.replies.clone()];
        for (name, partitions) in &recovered.topics {
            if *name != settings.raw_topic {
                spool.topic(name, partitions, !ours.contains(name))?;
            }
        }
        let repairer = settings.repair.then(|| wishes.clone());
        let teller = tell::Teller::new(&spool, gap_topic, repairer, &counters);
        let (keeper, before) =
            Gaps::open(&settings.state_dir, recovered.last_frame_ms, Arc::clone(&signs), teller)
                .map_err(|error| SourceError::State { path: settings.state_dir.clone(), error })?;
        let not_before = match before.ended_at {
            0 => 0,
            // Bounded, should the clock have been ahead then.
            ended => ended.min(clock.ms()) + millis(settings.rules.reconnect.floor),
        };

        // The state machine.
        let keys = crate::allocation::keys_of(settings.api_keys.len(), settings.sockets);
        let rules = settings.rules.streaming();
        let moment = clock.moment();
        let streaming = (keys.keys())
            .map(|socket| {
                let first = *socket < settings.api_keys.len();
                let wanted = desk.allocation().of(*socket).clone();
                streaming::Region::new(rules, wanted, not_before, first, moment)
            })
            .collect();
        let history = past::load(&settings, clock.ms())?;
        let state = State { streaming, history, topics: topics::Region::default() };
        let (driver, inboxes) = Driver::new(clock.clone(), state);
        let driver = Arc::new(driver);
        let Inboxes { streaming: socket_inboxes, history: past_inbox, topics: create_inbox } =
            inboxes;

        let mut receivers = JoinSet::new();
        let stop_keeper = CancellationToken::new();
        let _ = notices.send(Notice::Wanted(desk.subs(), now_ms()));
        let keeper = tokio::spawn(keeper.run(heard, stop_keeper.clone()));

        // Sockets.
        let (answers, answered) = mpsc::unbounded_channel();
        let links = Links {
            gaps: notices.clone(),
            answers,
            signs,
            counters: Arc::clone(&counters),
            ages: Arc::new(std::sync::Mutex::new(vec![vec![]; keys.len()])),
        };
        for ((socket, key), inbox) in keys.iter().zip(socket_inboxes) {
            let peers = keys.iter().filter(|(peer, of)| *of == key && *peer != socket);
            let stream = Stream {
                socket: *socket,
                peers: peers.map(|(peer, _)| *peer).collect(),
                url: settings.ws_url.to_string(),
                api_key: settings.api_keys[*key].clone(),
                connect_timeout: settings.rules.connect,
                patience: settings.rules.patience,
                driver: Arc::clone(&driver),
                spool: Arc::clone(&spool),
                routes: routes_receiver.clone(),
                links: links.clone(),
            };
            receivers.spawn(stream.run(inbox, stop.clone()));
        }

        // History.
        let (rest_url, api_key) = (settings.rest_url.clone(), settings.api_key.clone());
        let client = Client::with_timeout(rest_url, api_key, settings.rules.request)?;
        let out = past::PastOut::new(&settings, &spool, raw, &counters, handle.clone(), &notices);
        let home = past::Shared::new(Arc::clone(&driver), past_inbox);
        receivers.spawn(past::work(home, client, out, wished, stop.clone()));
        past::wish_start_up(&settings, &desk, &wishes, clock.ms());

        // Topics, commands.
        let create = create::Create::new(&settings, Arc::clone(&driver), handle.clone());
        receivers.spawn(create.run(create_inbox, stop.clone()));
        let orders = orders::Orders {
            desk,
            driver: Arc::clone(&driver),
            routes: routes_sender,
            wishes: wishes.clone(),
            gaps: notices.clone(),
            handle: handle.clone(),
        };
        let control_view = orders::run_control(&settings, &spool, task, orders, effects, answered)?;
        receivers.spawn(control_view.run(stop.clone()));

        let cluster = Cluster { brokers: settings.brokers.clone().into() };
        let publishers = Publishers::start(&spool, cluster, settings.linger);
        receivers.spawn(begin::look_after_partitions(
            broker,
            Arc::clone(&spool),
            (settings.raw_topic.clone(), partitions),
            stop.clone(),
        ));

        let beat = Arc::<Beat>::default();
        let mut extras = JoinSet::new();
        if let Some(server) = server {
            let sight = sight::Sight {
                settings: Arc::clone(&settings),
                run,
                started: now_ms(),
                driver: Arc::clone(&driver),
                spool: Arc::clone(&spool),
                counters: Arc::clone(&counters),
                outages: Arc::clone(publishers.outages()),
                links: links.clone(),
                handle,
            };
            let serve =
                crate::http::serve(server, sight, Arc::clone(&beat), settings.ready, stop.clone());
            // Streaming goes on without it: who watches the source finds that nobody answers.
            extras.spawn(serve);
        }
        let running = Running {
            run,
            drain: settings.rules.drain,
            counters,
            spool,
            gaps: notices,
            ours,
            beat,
            receivers,
            extras,
            keeper,
            publishers,
            stop,
            stop_keeper,
        };
        Ok((running, ledger))
    }

    /// Returns when it is time to stop, with the reason if it is an error.
    async fn watch(&mut self, ledger: &mut Ledger) -> Result<(), SourceError> {
        let mut every = interval_at(Instant::now() + SUMMARY_EVERY, SUMMARY_EVERY);
        let beat = Arc::clone(&self.beat);
        let beating = beat.beat();
        tokio::pin!(beating);
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                Some(ended) = self.receivers.join_next() => {
                    ended.map_err(broken)??;
                    if self.stop.is_cancelled() {
                        return Ok(());
                    }
                    return Err(SourceError::Internal("a part of it ended before its time".into()));
                }
                ended = &mut self.keeper => {
                    ended.map_err(broken)?;
                    return Err(SourceError::Internal("the keeper of gaps ended".into()));
                }
                error = self.publishers.broken() => return Err(error),
                () = self.spool.news() => {
                    begin::note_ended_runs(&self.spool, ledger)?;
                    self.tell_lost().await;
                }
                () = &mut beating => {}
                _ = every.tick() => {
                    let now = self.counters.summary(self.run, self.spool.meter());
                    info!(
                        frames = now.frames,
                        bytes = now.bytes,
                        bodies = now.bodies,
                        published = now.published,
                        too_large = now.too_large,
                        reconnects = now.reconnects,
                        publish_retries = now.publish_retries,
                        waiting = self.spool.waiting(),
                        "so far"
                    );
                }
            }
        }
    }

    /// What a full spool had to let go becomes gaps; the spool forgets it when they are told.
    async fn tell_lost(&self) {
        let lost = self.spool.take_lost();
        if lost.is_empty() {
            return;
        }
        for lost in lost {
            let crate::spool::Lost { topic, key, kind, count, first_ms, last_ms } = lost;
            if self.ours.contains(&topic) {
                continue; // no data: it is counted, and that is all
            }
            let _ = self.gaps.send(Notice::Spool(key, kind, count, first_ms, last_ms));
        }
        let (told, heard) = oneshot::channel();
        let _ = self.gaps.send(Notice::Told(told));
        if heard.await.is_ok() {
            self.spool.lost_told();
        }
    }

    /// Ends every task: first who receives, then the keeper of gaps, then, when all is published or the
    /// time is over, who publishes. Returns how many records wait in the spool.
    async fn drain(mut self) -> u64 {
        self.stop.cancel();
        let at = Instant::now() + self.drain;
        let received =
            timeout(self.drain, async { while self.receivers.join_next().await.is_some() {} });
        if received.await.is_err() {
            self.receivers.shutdown().await;
        }
        let _ = tokio::time::timeout_at(at, self.tell_lost()).await;
        self.stop_keeper.cancel();
        if tokio::time::timeout_at(at, &mut self.keeper).await.is_err() {
            self.keeper.abort();
        }
        self.extras.shutdown().await;
        self.publishers.stop(at.saturating_duration_since(Instant::now())).await
    }
}

fn broken(error: JoinError) -> SourceError {
    SourceError::Internal(format!("a task broke: {error}"))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}
