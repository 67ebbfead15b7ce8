//! One socket's task: one WebSocket after the other, from each every data frame to the spool as it
//! came. What to send and when to leave is decided by the state machine
//! ([`crate::machine::streaming`]); this module does the I/O between them.
//!
//! ```text
//!  vendor ─▶ read ─▶ classify ─┬─ data ───▶ burst ─▶ spool
//!                              │    └─────▶ watch ──▶ alarms, what is covered, what is missing
//!                              └─ control ▶ machine ▶ SubAdd, reconnect, …
//! ```
//!
//! It never waits for the broker; for the disk only as long as that takes a write.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api_key::ApiKey;
use crate::classify::{Class, Control, Data, classify};
use crate::clock::now_ms;
use crate::counters::Counters;
use crate::coverage::Reason;
use crate::driver::{Driver, Inbox, say};
use crate::error::SourceError;
use crate::gaps::{Notice, Signs};
use crate::machine::streaming::{Cause, CauseKind, Effect, Event};
use crate::machine::{self, Level};
use crate::routes::{Known, Routes};
use crate::spool::{Burst, Spool, TopicId};
use crate::sub::{Kind, Sub};
use crate::vendor::{clean, said};
use crate::watch::{Patience, Revived, Watch};

/// A peer that does not take our few bytes in this time is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A burst is handed on when it holds this much, whatever else is waiting in the socket.
const BURST_FRAMES: usize = 1024;
const BURST_BYTES: usize = 256 * 1024;
/// No vendor message is known to be larger than some hundred kilobytes.
const MAX_MESSAGE: usize = 16 << 20;
/// What tungstenite reads from the socket at once.
const READ_BUFFER: usize = 64 * 1024;
/// How long a polite end may take.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);
/// How often silence and missing numbers are looked for.
const CHECK_EVERY: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Opening = Pin<Box<dyn Future<Output = Result<Socket, Cause>> + Send>>;

/// A socket's task.
#[derive(Debug)]
pub struct Stream {
    /// Its number.
    pub socket: usize,
    /// The numbers of the other sockets with the same key.
    pub peers: Vec<usize>,
    /// `ws://` or `wss://` address of the streamer.
    pub url: String,
    /// Sent in the `authorization` header.
    pub api_key: ApiKey,
    /// TCP, TLS and upgrade together.
    pub connect_timeout: Duration,
    /// See [`Patience`].
    pub patience: Patience,
    /// The state machine.
    pub driver: Arc<Driver>,
    /// Where data frames go.
    pub spool: Arc<Spool>,
    /// To which topics.
    pub routes: watch::Receiver<Arc<Routes<TopicId>>>,
    /// What others hear of it.
    pub links: Links,
}

/// What the sockets tell others.
#[derive(Clone, Debug)]
pub struct Links {
    /// The keeper of gaps.
    pub gaps: mpsc::UnboundedSender<Notice>,
    /// Who waits for the vendor's answer to a subscription.
    pub answers: mpsc::UnboundedSender<SubAnswer>,
    /// When frames came, and there were sockets.
    pub signs: Arc<Signs>,
    /// Where it is counted.
    pub counters: Arc<Counters>,
    /// By socket, when data of each sub came last; refreshed every second.
    pub ages: Arc<Mutex<Vec<Vec<SubAge>>>>,
}

/// A sub, when data of it came last (milliseconds since the epoch), and whether it is silent against its
/// rhythm.
pub type SubAge = (Sub, Option<i64>, bool);

/// The vendor's answer to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAnswer {
    /// The sub.
    pub sub: Sub,
    /// Why it is refused, if it is.
    pub refused: Option<String>,
}

/// What there is of a connection.
enum Link {
    None,
    Opening(Opening),
    Open(Box<Socket>),
}

/// What the other side does.
enum Happened {
    Opened(Result<Box<Socket>, Cause>),
    Received(Received),
}

/// How a reading ended.
enum Received {
    /// There may be more.
    Frames,
    /// There is no more.
    Closed(String),
}

/// Buffers that live as long as the task.
struct Buffers {
    burst: Burst,
    controls: Vec<(Control, Bytes)>,
    key: Vec<u8>,
    routes: Arc<Routes<TopicId>>,
    known: Known<TopicId>,
    notices: Vec<Notice>,
}

struct Running {
    stream: Stream,
    link: Link,
    watch: Watch,
    buffers: Buffers,
}

impl Stream {
    /// Keeps a connection while subs are wanted, until told to stop; all frames received are then in
    /// the spool.
    ///
    /// # Errors
    /// [`SourceError::Unauthorized`] once no socket is left whose key the vendor takes.
    pub async fn run(
        self,
        mut inbox: Inbox<Effect>,
        stop: CancellationToken,
    ) -> Result<(), SourceError> {
        let buffers = Buffers {
            burst: Burst::new(&self.spool),
            controls: Vec::new(),
            key: Vec::new(),
            routes: Arc::clone(&self.routes.borrow()),
            known: Known::default(),
            notices: Vec::new(),
        };
        let mut running =
            Running { stream: self, link: Link::None, watch: Watch::default(), buffers };
        running.rewatch();
        let mut check = interval(CHECK_EVERY);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let wake = running.wake();
            let event = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    running.step(Event::Stop).await?;
                    return Ok(());
                }
                Some(effects) = inbox.recv() => {
                    running.rewatch();
                    running.act(effects).await?;
                    continue;
                }
                () = sleep_until(wake) => Event::Tick,
                _ = check.tick() => {
                    running.check().await?;
                    continue;
                }
                happened = running.happens() => match happened {
                    Happened::Received(received) => {
                        running.received(received).await?;
                        continue;
                    }
                    Happened::Opened(Ok(socket)) => {
                        running.link = Link::Open(socket);
                        Event::Opened
                    }
                    Happened::Opened(Err(cause)) => {
                        running.link = Link::None;
                        Event::Ended(cause)
                    }
                },
            };
            running.step(event).await?;
        }
    }

    /// Whether this is no data but an answer that nobody knows, and repeats the key it was shown. Then it
    /// goes nowhere, and is counted.
    fn is_to_be_withheld(&self, data: Data, frame: &[u8]) -> bool {
        // Of what is known to be data there is far too much to look into.
        let withheld = Kind::of(data.channel) == Kind::Other && self.api_key.is_in(frame);
        if withheld {
            if self.links.counters.withheld.get() == 0 {
                warn!(
                    "a frame is not published, because the API key is in it; further ones are counted"
                );
            }
            self.links.counters.withheld.add(1);
        }
        withheld
    }

    /// A socket, or why there is none.
    fn connect(&self) -> Opening {
        let (url, key, limit) = (self.url.clone(), self.api_key.clone(), self.connect_timeout);
        Box::pin(async move {
            let failed = |text: String| Cause { kind: CauseKind::ConnectFailed, text };
            let request = url.as_str().into_client_request();
            let mut request = request.map_err(|error| failed(error.to_string()))?;
            request.headers_mut().insert(AUTHORIZATION, key.authorization());
            let config = WebSocketConfig::default()
                .read_buffer_size(READ_BUFFER)
                .max_message_size(Some(MAX_MESSAGE))
                .max_frame_size(Some(MAX_MESSAGE));
            let connecting = connect_async_with_config(request, Some(config), true);
            match timeout(limit, connecting).await {
                Ok(Ok((socket, _))) => Ok(socket),
                Err(_) => Err(failed(format!("no answer within {} s", limit.as_secs_f32()))),
                Ok(Err(WsError::Http(response))) => Err(match response.status() {
                    StatusCode::UNAUTHORIZED => Cause {
                        kind: CauseKind::Unauthorized,
                        text: "HTTP 401 at the upgrade".to_owned(),
                    },
                    StatusCode::TOO_MANY_REQUESTS => {
                        Cause { kind: CauseKind::Crowded, text: "HTTP 429".to_owned() }
                    }
                    status => failed(format!("HTTP {status}")),
                }),
                Ok(Err(error)) => Err(failed(format!("cannot connect: {error}"))),
            }
        })
    }
}

impl Running {
    /// What the other side does next; for ever, where there is none. Cancel-safe.
    async fn happens(&mut self) -> Happened {
        match &mut self.link {
            Link::None => std::future::pending().await,
            Link::Opening(opening) => Happened::Opened(opening.as_mut().await.map(Box::new)),
            Link::Open(_) => Happened::Received(poll_fn(|cx| self.poll_read(cx)).await),
        }
    }

    /// When the machine wants to be woken; far away where it does not.
    fn wake(&self) -> Instant {
        let driver = &self.stream.driver;
        let region = |state: &machine::State| state.streaming.get(self.stream.socket)?.wake();
        let ms = driver.look(region);
        driver.clock().at(ms.unwrap_or(i64::MAX))
    }

    /// Follows what is wanted now.
    fn rewatch(&mut self) {
        let socket = self.stream.socket;
        let wanted = |state: &machine::State| {
            state.streaming.get(socket).map(|region| region.wanted().clone())
        };
        let wanted = self.stream.driver.look(wanted).unwrap_or_default();
        self.watch.want(&wanted);
    }

    /// One event of this socket's, and all that comes of it.
    async fn step(&mut self, event: Event) -> Result<(), SourceError> {
        let effects = self.own(event);
        self.act(effects).await
    }

    fn own(&self, event: Event) -> Vec<Effect> {
        let effects = self.stream.driver.own(machine::Event::Streaming(self.stream.socket, event));
        let own = effects.into_iter().filter_map(|effect| match effect {
            machine::Effect::Streaming(socket, effect) if socket == self.stream.socket => {
                Some(effect)
            }
            _ => None,
        });
        own.collect()
    }

    /// Does these, and what they lead to.
    async fn act(&mut self, effects: Vec<Effect>) -> Result<(), SourceError> {
        let mut todo = std::collections::VecDeque::from(effects);
        while let Some(effect) = todo.pop_front() {
            if let Some(event) = self.perform(effect).await? {
                // Nothing more can be sent on it, and nothing is asked for by what could not be sent.
                todo.retain(|left| !matches!(left, Effect::Send(_) | Effect::Asked(_)));
                todo.extend(self.own(event));
            }
        }
        Ok(())
    }

    /// Does one; what it leads to, if that is known at once.
    async fn perform(&mut self, effect: Effect) -> Result<Option<Event>, SourceError> {
        let links = &self.stream.links;
        let now = self.stream.driver.clock().ms();
        match effect {
            Effect::Connect => {
                links.signs.sockets.store(now_ms(), Ordering::Relaxed);
                // Written down at once: killed in the next moment, it must not be called again so soon.
                let _ = links.gaps.send(Notice::Ended(now_ms()));
                self.link = Link::Opening(self.stream.connect());
            }
            Effect::Send(text) => {
                if let Link::Open(socket) = &mut self.link {
                    let sent = timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await;
                    let problem = match sent {
                        Ok(Ok(())) => return Ok(None),
                        Ok(Err(error)) => error.to_string(),
                        Err(_) => format!("not taken within {} s", SEND_TIMEOUT.as_secs()),
                    };
                    // What came before it broke is read first: behind a welcome that can't be answered
                    // there may be the refusal that closed the socket.
                    self.drain();
                    self.publish().await?;
                    let controls = std::mem::take(&mut self.buffers.controls);
                    let mut effects = Vec::new();
                    for (control, frame) in controls {
                        effects.extend(self.own(Event::Said(said(control, &frame))));
                    }
                    let effects = effects.into_iter().filter(|e| !matches!(e, Effect::Send(_)));
                    Box::pin(self.act(effects.collect())).await?;
                    let text = format!("cannot subscribe: {problem}");
                    return Ok(Some(Event::Ended(Cause { kind: CauseKind::Closed, text })));
                }
            }
            Effect::Close => self.close().await,
            Effect::Publish => self.publish().await?,
            Effect::Asked(subs) => subs.iter().for_each(|sub| self.watch.asked(sub, now)),
            Effect::Unasked(sub) => self.watch.unasked(Some(&sub)),
            Effect::Covered(sub) => {
                self.watch.confirmed(&sub);
                let _ = links.answers.send(SubAnswer { sub: sub.clone(), refused: None });
                let _ = links.gaps.send(Notice::Covered(sub, self.wall(now), false));
            }
            Effect::Lost { reason: Reason::Silent, last } => {
                self.watch.unasked(None);
                for (sub, last_data, _) in self.watch.ages() {
                    let since = self.wall(last_data.unwrap_or(last));
                    let lost = Notice::Lost(vec![sub.clone()], since, Reason::Silent);
                    let _ = links.gaps.send(lost);
                }
                let _ = links.gaps.send(Notice::Ended(self.wall(now)));
            }
            Effect::Lost { last, reason } => {
                self.watch.unasked(None);
                let subs: Vec<Sub> = self.watch.ages().map(|(sub, ..)| sub.clone()).collect();
                let _ = links.gaps.send(Notice::Lost(subs, self.wall(last), reason));
                let _ = links.gaps.send(Notice::Ended(self.wall(now)));
            }
            Effect::Dropped { sub, why } => {
                let _ = links.answers.send(SubAnswer { sub, refused: Some(why) });
            }
            Effect::Reconnecting(kind) => {
                links.counters.ends.add([kind.as_str()]);
                if kind == CauseKind::Silent {
                    links.counters.alarms.add(["socket"]);
                }
                let _ = links.gaps.send(Notice::Ended(self.wall(now)));
            }
            Effect::Room(room) => {
                for peer in &self.stream.peers {
                    let event = machine::Event::Streaming(*peer, Event::Room(room));
                    self.stream.driver.others(event);
                }
            }
            Effect::Hold(until) => {
                for peer in &self.stream.peers {
                    let event = machine::Event::Streaming(*peer, Event::Hold(until));
                    self.stream.driver.others(event);
                }
            }
            Effect::Unauthorized(info) => {
                let none_left = self.stream.driver.look(|state| {
                    let mut used = state.streaming.iter().filter(|r| !r.wanted().is_empty());
                    used.all(machine::streaming::Region::is_refused)
                });
                // Once it has worked, a refusal may be the vendor's mistake: it is asked again in an hour.
                if none_left && links.counters.frames.get() == 0 {
                    return Err(SourceError::Unauthorized { info });
                }
                warn!(
                    socket = self.stream.socket,
                    "the vendor refused this socket's API key: {info}; this socket tries again in an hour, or on RETRY; others go on"
                );
            }
            Effect::Say(level, text) => {
                let text = match self.stream.peers.is_empty() && self.stream.socket == 0 {
                    true => text,
                    false => format!("socket {}: {text}", self.stream.socket),
                };
                say(level, &text);
            }
        }
        Ok(None)
    }

    /// A moment of the machine's clock by the wall clock, which gaps and records are told by.
    fn wall(&self, ms: i64) -> i64 {
        now_ms() - (self.stream.driver.clock().ms() - ms)
    }

    /// A polite end; whether it arrives does not matter.
    async fn close(&mut self) {
        if !matches!(self.link, Link::None) {
            let _ = self.stream.links.gaps.send(Notice::Ended(now_ms()));
        }
        if let Link::Open(mut socket) = std::mem::replace(&mut self.link, Link::None) {
            let _ = timeout(CLOSE_TIMEOUT, WebSocketStream::close(&mut socket, None)).await;
        }
    }

    /// What the burst holds is in the spool when it returns.
    async fn publish(&mut self) -> Result<(), SourceError> {
        let (frames, bytes) = self.buffers.burst.take_counts();
        if frames > 0 {
            let counters = &self.stream.links.counters;
            counters.frames.add(frames);
            counters.bytes.add(bytes);
            self.stream.spool.append(&mut self.buffers.burst).await;
            for notice in self.buffers.notices.drain(..) {
                let _ = self.stream.links.gaps.send(notice);
            }
        }
        Ok(())
    }

    /// What a reading has brought.
    async fn received(&mut self, received: Received) -> Result<(), SourceError> {
        let (frames, _) = self.buffers.burst.counts();
        if frames > 0 {
            self.step(Event::PublishMessage { frames }).await?;
        } else if self.buffers.controls.is_empty() && matches!(received, Received::Frames) {
            // An end is no sign of life: it may be found out long after the last frame.
            self.step(Event::Alive).await?;
        }
        // All of them before anything is done: a 401 behind a welcome that can't be answered any more
        // decides what follows.
        let mut effects = Vec::new();
        for (control, frame) in std::mem::take(&mut self.buffers.controls) {
            effects.extend(self.own(Event::Said(said(control, &frame))));
        }
        self.act(effects).await?;
        if let Received::Closed(text) = received {
            self.link = Link::None;
            self.step(Event::Ended(Cause { kind: CauseKind::Closed, text })).await?;
        }
        Ok(())
    }

    /// Silence, and numbers that never came.
    async fn check(&mut self) -> Result<(), SourceError> {
        let now = self.stream.driver.clock().ms();
        let findings = self.watch.check(now, self.stream.patience);
        let links = &self.stream.links;
        if !matches!(self.link, Link::None) {
            links.signs.sockets.store(now_ms(), Ordering::Relaxed);
        }
        for (key, missing) in findings.missing {
            let _ = links.gaps.send(self.missing(key, missing));
        }
        let mut subs = Vec::new();
        for alarm in findings.alarms {
            links.counters.alarms.add([if alarm.from_the_start { "from_start" } else { "data" }]);
            let silent_since = self.wall(alarm.silent_since);
            if alarm.before == 0 {
                let seconds = (now - alarm.silent_since) / 1000;
                let since = if alarm.from_the_start { "from the start" } else { "silent" };
                say(
                    Level::Warn,
                    &format!(
                        "no data of {} for {seconds} s ({since}), though the socket lives: subscribing again",
                        alarm.sub
                    ),
                );
            }
            let lost = Notice::Lost(vec![alarm.sub.clone()], silent_since, Reason::Silent);
            let _ = links.gaps.send(lost);
            subs.push(alarm.sub);
        }
        if let Ok(mut ages) = links.ages.lock()
            && let Some(of_socket) = ages.get_mut(self.stream.socket)
        {
            of_socket.clear();
            let offset = now_ms() - now;
            let wall = |last: Option<i64>| last.map(|last| last + offset);
            let ages = self.watch.ages();
            of_socket.extend(ages.map(|(sub, last, silent)| (sub.clone(), wall(last), silent)));
        }
        if findings.useless {
            return self.step(Event::NoData).await;
        }
        for sub in subs {
            self.step(Event::Silent(sub)).await?;
        }
        Ok(())
    }

    fn missing(&self, key: String, missing: crate::watch::Missing) -> Notice {
        let offset = self.wall(0);
        let sub = Sub::parse(&format!("0~{key}"));
        let (from, to) = (missing.from + offset, missing.to + offset);
        let missing = crate::watch::Missing { from, to, ..missing };
        match sub {
            Ok(sub) => Notice::Missing(sub, key, missing),
            // A key that can be no sub's: it is told of all the same, by its name.
            Err(_) => Notice::Spool(key, crate::sub::Kind::Trade, missing.count, from, to),
        }
    }

    /// Takes what the socket still holds, without waiting.
    fn drain(&mut self) {
        let waker = std::task::Waker::noop();
        let mut cx = std::task::Context::from_waker(waker);
        let _ = self.poll_read(&mut cx);
    }

    /// Takes all frames that have arrived, up to the limits of a burst. It takes nothing from the socket
    /// unless it is ready.
    fn poll_read(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Received> {
        let Running { stream, link, watch, buffers } = self;
        let Link::Open(socket) = link else { return Poll::Pending };
        let mut alive = false;
        // Of a whole burst: it is taken in one go.
        let mut times = None;
        loop {
            let message = match socket.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Received::Closed(format!("connection lost: {error}")));
                }
                Poll::Ready(None) => {
                    return Poll::Ready(Received::Closed("connection closed".into()));
                }
                Poll::Pending if alive => return Poll::Ready(Received::Frames),
                Poll::Pending => return Poll::Pending,
            };
            alive = true;
            let (wall, clock) = *times.get_or_insert_with(|| {
                let wall = now_ms();
                stream.links.signs.frames[stream.socket].store(wall, Ordering::Relaxed);
                buffers.reroute(&mut stream.routes);
                (wall, stream.driver.clock().ms())
            });
            let frame: Bytes = match message {
                Message::Text(text) => text.into(),
                Message::Binary(bytes) => bytes,
                // Tungstenite answers pings by itself, when it is read from next.
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                Message::Close(frame) => {
                    let reason = frame.map(|f| format!(" ({} {})", f.code, clean(&f.reason)));
                    let reason = reason.unwrap_or_default();
                    return Poll::Ready(Received::Closed(format!("closed by the vendor{reason}")));
                }
            };
            match classify(&frame, &mut buffers.key) {
                Class::Control(control) => buffers.controls.push((control, frame)),
                Class::Data(data) if stream.is_to_be_withheld(data, &frame) => {}
                Class::Data(data) => {
                    buffers.data(watch, data, &frame, (wall, clock));
                }
            }
            let (frames, bytes) = buffers.burst.counts();
            if frames >= BURST_FRAMES
                || bytes >= BURST_BYTES
                || buffers.controls.len() >= BURST_FRAMES
            {
                return Poll::Ready(Received::Frames);
            }
        }
    }
}

impl Buffers {
    /// Takes in where frames go now.
    fn reroute(&mut self, routes: &mut watch::Receiver<Arc<Routes<TopicId>>>) {
        if routes.has_changed().unwrap_or(false) {
            self.routes = Arc::clone(&routes.borrow_and_update());
            self.known.forget();
        }
    }

    /// A data frame, whose key has just been found, at this time of the wall's and the machine's clock.
    fn data(&mut self, watch: &mut Watch, data: Data, frame: &[u8], (wall, clock): (i64, i64)) {
        if self.routes.is_plain() {
            self.burst.push(self.routes.raw(), &self.key, frame, wall, None);
        } else {
            for topic in self.routes.topics(data, &self.key, &mut self.known) {
                self.burst.push(*topic, &self.key, frame, wall, None);
            }
        }
        let (revived, missing) = watch.frame(data.channel, &self.key, data.unit, data.ccseq, clock);
        if let Some(Revived { number, live }) = revived
            && let Some(sub) = watch.sub(number)
        {
            self.notices.push(Notice::Covered(sub.clone(), wall, live));
        }
        if let Some(missing) = missing
            && let Ok(key) = std::str::from_utf8(&self.key)
            && let Ok(sub) = Sub::parse(&format!("0~{key}"))
        {
            let offset = wall - clock;
            let (from, to) = (missing.from + offset, missing.to + offset);
            let missing = crate::watch::Missing { from, to, ..missing };
            self.notices.push(Notice::Missing(sub, key.to_owned(), missing));
        }
    }
}

#[cfg(test)]
mod tests;
