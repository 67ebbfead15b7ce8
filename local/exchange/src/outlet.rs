//! One socket's sending side, as faults leave it: messages whole or in fragments, and past the library what the library
//! refuses to send.

use axum::extract::ws::{Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::sink::Feed;
use futures_util::{SinkExt, StreamExt};

use crate::faults::Extra;
use crate::raw::{self, Opcode};
use crate::wire::Line;

/// See the module's head.
pub(crate) struct Outlet {
    socket: WebSocket,
    line: Line,
    /// Parts of a message, where it is to have several.
    pub(crate) fragments: Option<usize>,
}

impl Outlet {
    pub(crate) fn new(socket: WebSocket, line: Line) -> Self {
        Outlet { socket, line, fragments: None }
    }

    /// The TCP connection below.
    pub(crate) fn line(&self) -> &Line {
        &self.line
    }

    /// The client's next message.
    pub(crate) async fn next(&mut self) -> Option<Result<Message, axum::Error>> {
        self.socket.next().await
    }

    /// Hands a text over as it is: the way of nearly every frame there is.
    pub(crate) fn whole(&mut self, text: Utf8Bytes) -> Feed<'_, WebSocket, Message> {
        self.socket.feed(Message::Text(text))
    }

    /// Hands a text over, which leaves with the next flush at the latest.
    ///
    /// # Errors
    /// The socket's; so do the others here.
    pub(crate) async fn text(&mut self, text: Utf8Bytes) -> Result<(), axum::Error> {
        match self.fragments {
            None => self.whole(text).await,
            Some(parts) => self.raw(&raw::fragments(&text, parts)).await,
        }
    }

    /// Hands over what nobody asked for.
    pub(crate) async fn extra(&mut self, extra: Extra) -> Result<(), axum::Error> {
        match extra {
            Extra::Text(text) => self.text(text).await,
            Extra::Binary(bytes) => self.socket.feed(Message::Binary(bytes)).await,
            Extra::BadText(bytes) => self.raw(&raw::frame(Opcode::Text, true, &bytes)).await,
        }
    }

    /// A text, now.
    pub(crate) async fn send(&mut self, text: impl Into<Utf8Bytes>) -> Result<(), axum::Error> {
        self.text(text.into()).await?;
        self.flush().await
    }

    pub(crate) async fn ping(&mut self) -> Result<(), axum::Error> {
        self.socket.send(Message::Ping(Bytes::new())).await
    }

    /// Bytes past the library, between two frames of its own.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> Result<(), axum::Error> {
        self.flush().await?;
        self.line.write_all(bytes).await.map_err(axum::Error::new)
    }

    pub(crate) async fn flush(&mut self) -> Result<(), axum::Error> {
        self.socket.flush().await
    }

    /// Says goodbye and waits for the client to do so; whoever calls it sets a limit to that.
    pub(crate) async fn farewell(&mut self) {
        let _ = self.socket.send(Message::Close(None)).await;
        while let Some(Ok(_)) = self.socket.next().await {}
    }
}
