//! The TCP connections under the exchange, which can be spoiled: writes cut short, reads held back, the connection dropped
//! or reset. While nothing is ordered they cost one look at a flag a call.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustix::net::{Shutdown, shutdown};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// What a client sends while it is not listened to is kept up to here; then TCP holds it up.
const MAX_HELD_BYTES: usize = 256 * 1024;

/// Accepts connections.
#[derive(Debug)]
pub(crate) struct WireListener(pub(crate) TcpListener);

impl Listener for WireListener {
    type Io = Wire;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Wire, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.0).await;
        // Frames leave when they are flushed, not when the kernel thinks that more may come.
        let _ = stream.set_nodelay(true);
        (Wire { line: Line(Arc::new(Inner::new(stream))), paused: false }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A connection, as the HTTP server has it.
#[derive(Debug)]
pub(crate) struct Wire {
    line: Line,
    /// The last write was cut short: others get a turn before the next one.
    paused: bool,
}

/// The same connection, for the one who spoils it.
#[derive(Debug, Clone)]
pub(crate) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    stream: TcpStream,
    /// Bytes of a write at most; 0 means no limit.
    chop: AtomicUsize,
    dropped: AtomicBool,
    /// Something is in `held`.
    holds: AtomicBool,
    held: Mutex<Vec<u8>>,
}

impl Inner {
    fn new(stream: TcpStream) -> Self {
        Inner {
            stream,
            chop: AtomicUsize::new(0),
            dropped: AtomicBool::new(false),
            holds: AtomicBool::new(false),
            held: Mutex::default(),
        }
    }
}

impl Connected<IncomingStream<'_, WireListener>> for Line {
    fn connect_info(stream: IncomingStream<'_, WireListener>) -> Self {
        stream.io().line.clone()
    }
}

impl Line {
    /// Writes have at most so many bytes from now on; `None` lifts that.
    pub(crate) fn chop(&self, bytes: Option<usize>) {
        self.0.chop.store(bytes.unwrap_or(0), Ordering::Relaxed);
    }

    /// From now on every read and write fails, so that the server closes the connection.
    pub(crate) fn drop_it(&self) {
        self.0.dropped.store(true, Ordering::Release);
    }

    /// When it is closed, it is reset.
    pub(crate) fn reset_on_close(&self) {
        let _ = self.0.stream.set_zero_linger();
    }

    /// Writes past the WebSocket, which must have been flushed.
    ///
    /// # Errors
    /// The connection's.
    pub(crate) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.stream.writable().await?;
            let chop = self.0.chop.load(Ordering::Relaxed);
            match self.0.stream.try_write(cut(bytes, chop)) {
                Ok(n) => bytes = &bytes[n..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            if chop > 0 {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Until the client has left. What it sends meanwhile waits for the next read; once there is much of it, its leaving
    /// is no longer noticed.
    pub(crate) async fn gone(&self) {
        let mut chunk = [0; 4096];
        loop {
            if self.held().len() >= MAX_HELD_BYTES {
                std::future::pending::<()>().await;
            }
            if self.0.stream.readable().await.is_err() {
                return;
            }
            match self.0.stream.try_read(&mut chunk) {
                Ok(0) => return,
                Ok(n) => {
                    self.held().extend_from_slice(&chunk[..n]);
                    self.0.holds.store(true, Ordering::Release);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self) -> io::Result<()> {
        if self.0.dropped.load(Ordering::Acquire) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl Wire {
    /// How many bytes may be written now; pending where others are to have a turn first.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.line.check()?;
        let chop = self.line.0.chop.load(Ordering::Relaxed);
        if chop > 0 && !self.paused {
            self.paused = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.paused = false;
        Poll::Ready(Ok(chop))
    }
}

/// The first `chop` bytes; 0 means all.
fn cut(bytes: &[u8], chop: usize) -> &[u8] {
    if chop > 0 { &bytes[..bytes.len().min(chop)] } else { bytes }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let inner = &self.line.0;
        self.line.check()?;
        if inner.holds.load(Ordering::Acquire) {
            let mut held = self.line.held();
            let n = held.len().min(buffer.remaining());
            buffer.put_slice(&held[..n]);
            held.drain(..n);
            inner.holds.store(!held.is_empty(), Ordering::Release);
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(inner.stream.poll_read_ready(cx))?;
            match inner.stream.try_read(buffer.initialize_unfilled()) {
                Ok(n) => {
                    buffer.advance(n);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let chop = ready!(self.poll_turn(cx))?;
        poll_try(&self.line.0.stream, cx, |stream| stream.try_write(cut(bytes, chop)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let chop = ready!(self.poll_turn(cx))?;
        poll_try(&self.line.0.stream, cx, |stream| match slices.iter().find(|it| !it.is_empty()) {
            Some(first) if chop > 0 => stream.try_write(cut(first, chop)),
            _ => stream.try_write_vectored(slices),
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // TCP keeps nothing back.
        Poll::Ready(self.line.check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The stream is shared, and tokio's shutdown wants it alone.
        Poll::Ready(shutdown(&self.line.0.stream, Shutdown::Write).map_err(io::Error::from))
    }
}

/// Tries to write as soon as the socket can.
fn poll_try(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    write: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match write(stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}
