//! HTTP for operators: a server that answers a few short questions until the program stops, and
//! costs the data path next to nothing whatever its clients do.
//!
//! Off by default: nothing listens that nobody asked for, and several programs of one machine do not
//! meet on one port. What it tells strangers (names of topics and hosts) belongs on an address that
//! only operators reach.
//!
//! **Must never** hold more than a bounded number of connections, or one for longer than its life.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::BadSetting;

/// Connections at once; the next ones wait to be accepted.
pub const CONNECTIONS: usize = 32;
/// A connection's life: one request and its answer.
pub const LIFE: Duration = Duration::from_secs(10);
/// The pause after the system refused to accept a connection (no more file descriptors).
const REFUSED: Duration = Duration::from_millis(500);
/// How often a program's main task shows that it runs.
const BEAT: Duration = Duration::from_millis(500);
/// Silence after which it counts as dead. Whatever it waits for, it waits without blocking.
const DEAD: Duration = Duration::from_secs(10);

/// Where to listen; an empty variable is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(Option<SocketAddr>);

impl Listen {
    /// The address, if there is one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        self.0
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Ok(Listen(None));
        }
        let address = text.parse().map_err(|_| "not of the form 127.0.0.1:9190 or [::1]:9190")?;
        Ok(Listen(Some(address)))
    }
}

/// A server that has its port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    life: Duration,
}

impl Server {
    /// Takes the port. `setting` is the name under which a user knows the address.
    ///
    /// # Errors
    /// It can't be had.
    pub async fn bind(address: SocketAddr, setting: &'static str) -> Result<Self, BadSetting> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Server { listener, address, life: LIFE })
        };
        bound.await.map_err(|error: io::Error| BadSetting {
            name: setting,
            problem: format!("cannot listen on {address}: {error}"),
        })
    }

    /// Where it listens: with the port that the system chose, where 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same server with another life for its connections than [`LIFE`]: for tests.
    #[must_use]
    pub fn with_life(self, life: Duration) -> Self {
        Server { life, ..self }
    }

    /// Answers until `stop`. `paths` are named in the log's line.
    pub async fn run(self, routes: Router, paths: &str, stop: CancellationToken) {
        info!("http://{} serves {paths}", self.address);
        let turns = Arc::new(Semaphore::new(CONNECTIONS));
        let listener = Bounded { listener: self.listener, turns, life: self.life };
        let serving = axum::serve(listener, routes);
        // Dropping it ends it: an answer that is cut off by a stop is no loss.
        tokio::select! {
            ended = serving => if let Err(error) = ended {
                warn!("http is no longer served: {error}");
            },
            () = stop.cancelled() => {}
        }
    }
}

/// `/live`: 200, or 503 with the reason.
#[must_use]
pub fn live(alive: Result<(), String>) -> Response {
    match alive {
        Ok(()) => answer(StatusCode::OK, "text/plain", "live\n".to_owned()),
        Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why + "\n"),
    }
}

/// `/ready`: 200 where there is no reason against it, else 503 with them, as JSON.
#[must_use]
pub fn ready(reasons: &[String]) -> Response {
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer(status, "application/json", body.to_string() + "\n")
}

/// 200 with a body of this content type.
#[must_use]
pub fn found(kind: &'static str, body: String) -> Response {
    answer(StatusCode::OK, kind, body)
}

/// One answer a connection, so that a connection's life can be bounded whatever its client does.
fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (CONNECTION, "close")];
    (status, headers, body).into_response()
}

/// Whether a program's main task runs at all. A task that fails ends the process, so there is nothing
/// else to ask of who only lives.
#[derive(Debug)]
pub struct Beat(Mutex<Instant>);

impl Default for Beat {
    fn default() -> Self {
        Beat(Mutex::new(Instant::now()))
    }
}

impl Beat {
    /// Shows, for ever, that the task that polls this runs.
    pub async fn beat(&self) {
        loop {
            self.set(Instant::now());
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Whether it has been polled lately.
    ///
    /// # Errors
    /// In words, for how long it was not.
    pub fn alive(&self) -> Result<(), String> {
        let silent = self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        if silent > DEAD {
            return Err(format!("the main task has not run for {:.1} s", silent.as_secs_f64()));
        }
        Ok(())
    }

    /// As if the main task had not run for so long: for tests.
    pub fn hang(&self, silence: Duration) {
        if let Some(then) = Instant::now().checked_sub(silence) {
            self.set(then);
        }
    }

    fn set(&self, moment: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = moment;
    }
}

/// Accepts few connections at once, each with a bounded life.
struct Bounded {
    listener: TcpListener,
    turns: Arc<Semaphore>,
    life: Duration,
}

impl axum::serve::Listener for Bounded {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok(turn) = Arc::clone(&self.turns).acquire_owned().await else {
                return std::future::pending().await; // nobody closes it
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let end = Box::pin(tokio::time::sleep(self.life));
                    return (Brief { stream, end, _turn: turn }, from);
                }
                Err(error) => {
                    tracing::debug!("http: {error}");
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its time is over, however slowly the other side reads or writes.
struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _turn: OwnedSemaphorePermit,
}

impl Brief {
    fn over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.end.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::TimedOut.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Brief {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Brief {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.over(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    async fn start(life: Duration) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let any = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(any, "X").await.unwrap().with_life(life);
        let (at, stop) = (server.address(), CancellationToken::new());
        let routes = Router::new().route("/live", get(async || live(Ok(()))));
        let ended = stop.clone();
        (at, stop, tokio::spawn(async move { server.run(routes, "/live", ended).await }))
    }

    #[tokio::test]
    async fn clients_that_say_nothing_keep_nobody_out_for_longer_than_a_connections_life() {
        let (at, _stop, _task) = start(Duration::from_millis(300)).await;
        let mut silent = Vec::new();
        for _ in 0..CONNECTIONS {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        let asked = async {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        let answer = tokio::time::timeout(LIFE, asked).await.expect("one of them is let go");
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("live\n"), "{answer}");
        for mut stream in silent {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "it was closed");
        }
    }

    #[tokio::test]
    async fn the_server_ends_with_the_program_also_while_somebody_is_connected() {
        let (at, stop, task) = start(LIFE).await;
        let _silent = TcpStream::connect(at).await.unwrap();
        stop.cancel();
        tokio::time::timeout(Duration::from_secs(1), task).await.expect("at once").unwrap();
        assert!(TcpStream::connect(at).await.is_err(), "the port is free");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_refused_by_name() {
        let (at, _stop, _task) = start(LIFE).await;
        let error = Server::bind(at, "X_LISTEN").await.unwrap_err().to_string();
        assert!(error.starts_with("X_LISTEN: cannot listen on 127.0.0.1:"), "{error}");
    }

    #[test]
    fn an_address_needs_a_port_and_nothing_is_no_address() {
        assert_eq!("".parse::<Listen>().unwrap().address(), None);
        let at = "[::1]:9190".parse::<Listen>().unwrap().address();
        assert_eq!(at, Some("[::1]:9190".parse().unwrap()));
        for bad in ["9190", "localhost:9190", "127.0.0.1"] {
            assert!(bad.parse::<Listen>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_main_task_that_hangs_is_not_alive_and_one_turn_is_enough_to_live_again() {
        let beat = Beat::default();
        assert_eq!(beat.alive(), Ok(()));
        beat.hang(Duration::from_secs(11));
        assert!(beat.alive().unwrap_err().starts_with("the main task has not run for 11."));
        tokio::select! {
            () = beat.beat() => {}
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(beat.alive(), Ok(()));
    }
}
