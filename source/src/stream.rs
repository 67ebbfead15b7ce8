//! The live stream: one WebSocket after the other, from each every data frame to the spool as it
//! came. What to answer and when to leave is decided by [`Session`], how long to wait by
//! [`Backoff`]; this module does the I/O between them.
//!
//! It never waits for the broker, only for a disk that can't be written.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::StatusCode;
use tokio_tungstenite::tungstenite::http::header::AUTHORIZATION;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::api_key::ApiKey;
use crate::backoff::Backoff;
use crate::classify::{Class, Control, classify};
use crate::clock::now_ms;
use crate::counters::Counters;
use crate::error::SourceError;
use crate::session::{Action, Cause, Session};
use crate::settings::Rules;
use crate::spool::{Burst, Spool, TopicId};

/// TCP, TLS and upgrade together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// A peer that does not take our few bytes in this time is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// A burst is handed on when it holds this much, whatever else is waiting in the socket.
const BURST_FRAMES: usize = 1024;
const BURST_BYTES: usize = 256 * 1024;
/// No vendor message is known to be larger than some hundred kilobytes.
const MAX_MESSAGE: usize = 16 << 20;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The WebSocket side of a source.
#[derive(Debug)]
pub struct Stream {
    /// `ws://` or `wss://` address of the streamer.
    pub url: String,
    /// Sent in the `authorization` header.
    pub api_key: ApiKey,
    /// What to subscribe to on every connection.
    pub subs: Vec<String>,
    /// Waits and limits.
    pub rules: Rules,
    /// Where data frames go.
    pub spool: Arc<Spool>,
    /// For which topic.
    pub topic: TopicId,
    /// Where they are counted.
    pub counters: Arc<Counters>,
}

/// How a connection ended, short of an error that ends the source.
enum End {
    Shutdown,
    Lost(Cause),
}

/// How a reading ended.
enum Received {
    /// There may be more.
    Frames,
    /// There is no more.
    Closed(String),
}

#[derive(Default)]
struct Waits {
    ordinary: Backoff,
    crowded: Backoff,
}

/// Buffers that live as long as the stream.
struct Inbox {
    burst: Burst,
    controls: Vec<(Control, Bytes)>,
    key: Vec<u8>,
}

impl Stream {
    /// Keeps a connection until told to shut down; all frames received are then in the spool.
    ///
    /// # Errors
    /// [`SourceError::Unauthorized`], at once: no other key is going to come.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SourceError> {
        let mut waits = Waits::default();
        let mut last_cause = None;
        let burst = Burst::new(&self.spool);
        let mut inbox = Inbox { burst, controls: Vec::new(), key: Vec::new() };
        let mut sockets = 0;
        loop {
            let end = match shutdown.run_until_cancelled(self.connect()).await {
                None => return Ok(()),
                Some(Err(end)) => end?,
                Some(Ok(socket)) => {
                    info!(url = %self.url, subs = self.subs.len(), "connected");
                    last_cause = None;
                    self.counters.reconnects.add(usize::from(sockets > 0));
                    sockets += 1;
                    self.serve(socket, &mut inbox, &mut waits, &shutdown).await?
                }
            };
            let End::Lost(cause) = end else { return Ok(()) };
            let wait = waits.next(&cause, &self.rules);
            let (Cause::Ordinary(text) | Cause::Crowded(text)) = &cause;
            let (url, wait_s) = (&self.url, wait.as_secs_f32());
            if last_cause.as_ref() == Some(&cause) {
                debug!(%url, wait_s, "no stream: {text}");
            } else {
                warn!(%url, wait_s, "no stream: {text}; trying again, and again until it works");
            }
            last_cause = Some(cause);
            if shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }

    /// A socket, or how the attempt ended.
    async fn connect(&self) -> Result<Socket, Result<End, SourceError>> {
        let lost = |text: String| Ok(End::Lost(Cause::Ordinary(text)));
        let mut request = (self.url.as_str()).into_client_request().map_err(|error| {
            Err(SourceError::Setting { name: "--ws-url", problem: error.to_string() })
        })?;
        request.headers_mut().insert(AUTHORIZATION, self.api_key.authorization());
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        match timeout(CONNECT_TIMEOUT, connect_async_with_config(request, Some(config), true)).await
        {
            Ok(Ok((socket, _))) => Ok(socket),
            Err(_) => Err(lost(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
            Ok(Err(WsError::Http(response))) => Err(match response.status() {
                StatusCode::UNAUTHORIZED => {
                    Err(SourceError::Unauthorized { info: "HTTP 401 at the upgrade".into() })
                }
                StatusCode::TOO_MANY_REQUESTS => Ok(End::Lost(Cause::Crowded("HTTP 429".into()))),
                status => lost(format!("HTTP {status}")),
            }),
            Ok(Err(error)) => Err(lost(format!("cannot connect: {error}"))),
        }
    }

    /// One connection, until it ends.
    async fn serve(
        &self,
        mut socket: Socket,
        inbox: &mut Inbox,
        waits: &mut Waits,
        shutdown: &CancellationToken,
    ) -> Result<End, SourceError> {
        let mut session = Session::new(&self.subs);
        loop {
            let silence = Instant::now() + self.rules.silence;
            let received = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    close(&mut socket).await;
                    return Ok(End::Shutdown);
                }
                received = timeout_at(silence, self.read(&mut socket, inbox)) => received,
            };
            let (frames, bytes) = inbox.burst.take_counts();
            if frames > 0 {
                *waits = Waits::default();
                self.counters.frames.add(frames);
                self.counters.bytes.add(bytes);
                self.spool.append(&mut inbox.burst).await;
            }
            let mut end = None;
            for (control, frame) in inbox.controls.drain(..) {
                for action in session.on_control(control, &frame) {
                    // All of them: behind a welcome that can't be answered any more there may be the
                    // refusal that closed the socket, and what follows depends on that.
                    if end.is_none() || !matches!(action, Action::Send(_)) {
                        end = act(action, &mut socket).await?.or(end);
                    }
                }
            }
            if let Some(end) = end {
                close(&mut socket).await;
                return Ok(end);
            }
            match received {
                Ok(Received::Frames) => {}
                Ok(Received::Closed(reason)) => return Ok(End::Lost(Cause::Ordinary(reason))),
                Err(_) => {
                    let seconds = self.rules.silence.as_secs_f32();
                    let text = format!("no frame of any kind for {seconds} s");
                    return Ok(End::Lost(Cause::Ordinary(text)));
                }
            }
        }
    }

    /// Waits for a frame, then takes all that have arrived, up to the limits of a burst.
    ///
    /// Cancel-safe: it takes nothing from the socket unless it returns in the same poll.
    async fn read(&self, socket: &mut Socket, inbox: &mut Inbox) -> Received {
        poll_fn(|cx| {
            let mut alive = false;
            let mut now = None;
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
                let frame: Bytes = match message {
                    Message::Text(text) => text.into(),
                    Message::Binary(bytes) => bytes,
                    // Tungstenite answers pings by itself, when it is read from next.
                    Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
                    Message::Close(frame) => {
                        let reason = frame.map(|f| format!(" ({} {})", f.code, f.reason));
                        let reason = reason.unwrap_or_default();
                        return Poll::Ready(Received::Closed(format!(
                            "closed by the vendor{reason}"
                        )));
                    }
                };
                match classify(&frame, &mut inbox.key) {
                    Class::Control(control) => inbox.controls.push((control, frame)),
                    Class::Data(_) => {
                        let now = *now.get_or_insert_with(now_ms);
                        inbox.burst.push(self.topic, &inbox.key, &frame, now, None);
                    }
                }
                let (frames, bytes) = inbox.burst.counts();
                if frames >= BURST_FRAMES
                    || bytes >= BURST_BYTES
                    || inbox.controls.len() >= BURST_FRAMES
                {
                    return Poll::Ready(Received::Frames);
                }
            }
        })
        .await
    }
}

impl Waits {
    fn next(&mut self, cause: &Cause, rules: &Rules) -> Duration {
        match cause {
            Cause::Ordinary(_) => self.ordinary.next(rules.reconnect, &mut rand::rng()),
            Cause::Crowded(_) => self.crowded.next(rules.crowded, &mut rand::rng()),
        }
    }
}

/// Does what the session asks for; returns the connection's end if that is what it asks for.
async fn act(action: Action, socket: &mut Socket) -> Result<Option<End>, SourceError> {
    match action {
        Action::Send(text) => {
            let sent = timeout(SEND_TIMEOUT, socket.send(Message::text(text))).await;
            let problem = match sent {
                Ok(Ok(())) => return Ok(None),
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("not taken within {} s", SEND_TIMEOUT.as_secs()),
            };
            Ok(Some(End::Lost(Cause::Ordinary(format!("cannot subscribe: {problem}")))))
        }
        Action::Inform(text) => {
            info!("{text}");
            Ok(None)
        }
        Action::Warn(text) => {
            warn!("{text}");
            Ok(None)
        }
        Action::Reconnect(cause) => Ok(Some(End::Lost(cause))),
        Action::Stop(info) => Err(SourceError::Unauthorized { info }),
    }
}

/// A polite end; whether it arrives does not matter.
async fn close(socket: &mut Socket) {
    let _ = timeout(Duration::from_millis(500), socket.close(None)).await;
}

#[cfg(test)]
mod tests;
