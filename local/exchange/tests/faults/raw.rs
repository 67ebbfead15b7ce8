//! A client that sees WebSocket frames as they are on the wire.

use bytes::{Buf, BytesMut};
use tickpanda_exchange::Exchange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{DEADLINE, KEY};

pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    /// How often something was read.
    pub(crate) reads: usize,
}

/// A frame: whether it is the last of its message, its opcode, what it holds.
pub(crate) type Frame = (bool, u8, Vec<u8>);

impl Raw {
    /// Connects and asks for the upgrade.
    pub(crate) async fn ask(exchange: &Exchange) -> Raw {
        let mut stream = TcpStream::connect(exchange.address()).await.expect("connects");
        let request = format!(
            "GET /v2 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nAuthorization: Apikey {KEY}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("asks");
        Raw { stream, buffer: BytesMut::new(), reads: 0 }
    }

    /// The same, and reads the answer.
    pub(crate) async fn connect(exchange: &Exchange) -> Raw {
        let mut raw = Raw::ask(exchange).await;
        loop {
            if let Some(end) = raw.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                assert!(raw.buffer.starts_with(b"HTTP/1.1 101"), "{:?}", raw.buffer);
                raw.buffer.advance(end + 4);
                return raw;
            }
            assert!(raw.read().await, "the upgrade is answered");
        }
    }

    /// Whether there was something before the end.
    async fn read(&mut self) -> bool {
        self.reads += 1;
        let read = timeout(DEADLINE, self.stream.read_buf(&mut self.buffer));
        read.await.expect("bytes in time").is_ok_and(|n| n > 0)
    }

    /// The next frame, or what is left when the connection ends.
    pub(crate) async fn frame(&mut self) -> Result<Frame, Vec<u8>> {
        loop {
            if let Some(frame) = self.cut() {
                return Ok(frame);
            }
            if !self.read().await {
                return Err(self.buffer.to_vec());
            }
        }
    }

    fn cut(&mut self) -> Option<Frame> {
        let (&first, &second) = (self.buffer.first()?, self.buffer.get(1)?);
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let (head, length) = match second {
            126 => (4, u16::from_be_bytes(self.buffer.get(2..4)?.try_into().unwrap()).into()),
            127 => (10, u64::from_be_bytes(self.buffer.get(2..10)?.try_into().unwrap())),
            short => (2, u64::from(short)),
        };
        let length = usize::try_from(length).unwrap();
        if self.buffer.len() < head + length {
            return None;
        }
        self.buffer.advance(head);
        Some((first & 0x80 != 0, first & 0x0f, self.buffer.split_to(length).to_vec()))
    }

    /// Sends a text, masked with zeros, of at most 125 bytes.
    pub(crate) async fn send(&mut self, text: &str) {
        let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0];
        frame.extend(text.as_bytes());
        self.stream.write_all(&frame).await.expect("sends");
    }
}
