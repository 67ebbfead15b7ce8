//! `GET /live`, `/ready` and `/metrics` over HTTP, where a user asked for it.
//!
//! | path | answer |
//! |---|---|
//! | `/live` | 200, or 503 where the sink's main task hangs: start it again |
//! | `/ready` | 200 where database and broker serve and no partition is behind by more than `--ready-lag`, else 503; as JSON `{"ready":false,"reasons":["…"]}` |
//! | `/metrics` | Prometheus' text format |
//!
//! Off by default: nothing listens that nobody asked for, and several sinks of one machine do not
//! meet on one port. It tells strangers the names of topics and hosts, so it belongs on an address
//! that only operators reach.
//!
//! **Must never** cost the data path more than a few locks: connections are few, short and bounded.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::prometheus_text;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::error::SinkError;
use crate::health::Health;

/// Connections at once; the next ones wait to be accepted.
const CONNECTIONS: usize = 32;
/// A connection's life: one request and its answer.
const LIFE: Duration = Duration::from_secs(10);
/// The pause after the system refused to accept a connection (no more file descriptors).
const REFUSED: Duration = Duration::from_millis(500);

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operations")]
#[allow(missing_docs)]
pub struct HttpSettings {
    /// Serve /live, /ready and /metrics on this address, `127.0.0.1:9190`. Off where it is not set;
    /// each sink of a machine needs a port of its own, and port 0 takes a free one (see the log).
    #[arg(long, env = "SINK_HTTP_LISTEN", value_name = "ADDRESS:PORT")]
    pub http_listen: Option<Listen>,
    /// How far behind in seconds a partition may be for /ready to say yes.
    #[arg(long, env = "SINK_READY_LAG", value_name = "SECONDS", default_value_t = 10,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub ready_lag: u64,
}

impl HttpSettings {
    /// Where to listen, if anywhere.
    pub(crate) fn listen(&self) -> Option<SocketAddr> {
        self.http_listen.and_then(|listen| listen.0)
    }

    /// See [`HttpSettings::ready_lag`].
    pub(crate) fn ready_lag(&self) -> Duration {
        Duration::from_secs(self.ready_lag)
    }
}

/// Where to listen; an empty variable is as good as none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen(Option<SocketAddr>);

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
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    life: Duration,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// [`SinkError::Setting`] where it can't be had.
    pub(crate) async fn bind(address: SocketAddr) -> Result<Self, SinkError> {
        let bound = async {
            let listener = TcpListener::bind(address).await?;
            let address = listener.local_addr()?;
            Ok(Server { listener, address, life: LIFE })
        };
        bound.await.map_err(|error: io::Error| SinkError::Setting {
            name: "SINK_HTTP_LISTEN",
            problem: format!("cannot listen on {address}: {error}"),
        })
    }

    /// Answers until `stop`.
    pub(crate) async fn run(self, health: Arc<Health>, stop: CancellationToken) {
        info!("http://{}/ready, /live and /metrics are served", self.address);
        let routes = Router::new()
            .route("/live", get(live))
            .route("/ready", get(ready))
            .route("/metrics", get(metrics))
            .with_state(health);
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

async fn live(State(health): State<Arc<Health>>) -> Response {
    match health.live() {
        Ok(()) => answer(StatusCode::OK, "text/plain", "live\n".to_owned()),
        Err(why) => answer(StatusCode::SERVICE_UNAVAILABLE, "text/plain", why + "\n"),
    }
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let reasons = health.ready().await;
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
    answer(status, "application/json", body.to_string() + "\n")
}

async fn metrics(State(health): State<Arc<Health>>) -> Response {
    answer(StatusCode::OK, prometheus_text::CONTENT_TYPE, health.metrics())
}

/// One answer a connection, so that a connection's life can be bounded whatever its client does.
fn answer(status: StatusCode, kind: &'static str, body: String) -> Response {
    let headers: [(HeaderName, &str); 3] =
        [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store"), (CONNECTION, "close")];
    (status, headers, body).into_response()
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
mod tests;
