//! A vendor that costs next to nothing: one WebSocket at a time, its frames laid out for the wire
//! beforehand, so that what is measured is who reads them.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

const WELCOME: &str = r#"{"TYPE":"20","MESSAGE":"STREAMERWELCOME","SOCKETS_REMAINING":0}"#;
/// What is written at once.
const CHUNK: usize = 256 * 1024;

/// Frames as they go over the wire, and where each ends.
pub(crate) struct Frames {
    wire: Vec<u8>,
    ends: Vec<usize>,
    /// What a client subscribes to for them.
    pub(crate) subs: String,
}

impl Frames {
    /// This many distinct trades.
    pub(crate) fn trades(count: u64) -> Self {
        let mut lines = Vec::new();
        tickpanda_exchange::make_trades(count, 11, &mut lines).expect("trades");
        let (mut wire, mut ends) = (Vec::with_capacity(lines.len()), Vec::new());
        let mut subs = std::collections::BTreeSet::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            // A final text frame of a server: no mask (RFC 6455, 5.2).
            wire.push(0x81);
            match u8::try_from(line.len()) {
                Ok(short @ 0..126) => wire.push(short),
                _ => {
                    let length = u16::try_from(line.len()).expect("a trade is short");
                    wire.push(126);
                    wire.extend(length.to_be_bytes());
                }
            }
            wire.extend_from_slice(line);
            ends.push(wire.len());
            if subs.len() < 600 {
                let trade: serde_json::Value = serde_json::from_slice(line).expect("JSON");
                let part = |name: &str| trade[name].as_str().expect("text").to_owned();
                subs.insert(format!("0~{}~{}~{}", part("M"), part("FSYM"), part("TSYM")));
            }
        }
        let subs = subs.into_iter().collect::<Vec<_>>().join(",");
        Frames { wire, ends, subs }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }
}

/// Waits for clients, one after the other.
pub(crate) struct Feeder {
    listener: TcpListener,
}

impl Feeder {
    pub(crate) async fn bind() -> Self {
        Feeder { listener: TcpListener::bind("127.0.0.1:0").await.expect("a port") }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v2", self.listener.local_addr().expect("an address"))
    }

    /// A client that has been welcomed and, where it does, has subscribed.
    pub(crate) async fn accept(&self, subscribes: bool) -> TcpStream {
        let (socket, _) = self.listener.accept().await.expect("a client");
        socket.set_nodelay(true).expect("an option");
        let mut socket = tokio_tungstenite::accept_async(socket).await.expect("an upgrade");
        socket.send(Message::text(WELCOME)).await.expect("it listens");
        if subscribes {
            socket.next().await.expect("it subscribes").expect("a message");
        }
        socket.into_inner()
    }
}

/// All frames, as fast as the other side takes them.
pub(crate) async fn send_all(socket: &mut TcpStream, frames: &Frames) {
    for chunk in frames.wire.chunks(CHUNK) {
        socket.write_all(chunk).await.expect("it reads");
    }
}

/// Frames from number `from` on at this rate for so long; the number after the last.
pub(crate) async fn send_paced(
    socket: &mut TcpStream,
    frames: &Frames,
    from: usize,
    per_second: u32,
    lasts: Duration,
) -> usize {
    let started = Instant::now();
    let mut sent = from;
    while started.elapsed() < lasts && sent < frames.len() {
        let due = from
            + usize::try_from(started.elapsed().as_micros() * u128::from(per_second) / 1_000_000)
                .unwrap_or(usize::MAX - from);
        let due = due.min(frames.len());
        if due > sent {
            let start = if sent == 0 { 0 } else { frames.ends[sent - 1] };
            socket.write_all(&frames.wire[start..frames.ends[due - 1]]).await.expect("it reads");
            sent = due;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sent
}
