//! Connections to the Admin API: so many at once, each for one request and no longer than its life.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Connections at once; the next ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// A module of some megabytes comes in, and a transform ends its batch.
const LIFE: Duration = Duration::from_secs(120);
/// The pause after the system refused to accept a connection (no more file descriptors).
const REFUSED: Duration = Duration::from_millis(100);

/// Accepts them.
pub(super) struct Bounded {
    listener: TcpListener,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Bounded {
    pub(super) fn new(listener: TcpListener, stop: CancellationToken) -> Self {
        Self { listener, room: Arc::new(Semaphore::new(CONNECTIONS)), stop }
    }
}

impl axum::serve::Listener for Bounded {
    type Io = Brief;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else {
                return std::future::pending().await; // nobody closes it
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let end = Box::pin(tokio::time::sleep(LIFE));
                    let stop = Box::pin(self.stop.clone().cancelled_owned());
                    return (Brief { stream, end, stop, _room: room }, from);
                }
                Err(error) => {
                    tracing::warn!(%error, "the Admin API cannot accept a connection, trying again");
                    tokio::time::sleep(REFUSED).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that ends with the broker, or when its time is over, however slowly the other side reads or writes.
pub(super) struct Brief {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    stop: Pin<Box<WaitForCancellationFutureOwned>>,
    _room: OwnedSemaphorePermit,
}

impl Brief {
    fn over(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.stop.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
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
