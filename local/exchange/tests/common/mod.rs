//! A plain client of the exchange, as anybody would write it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Pair};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing here takes this long unless it is broken.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
pub(crate) const KEY: &str = "test-key";

/// A synthetic exchange with the vendor's rules.
pub(crate) fn synthetic(seed: u64) -> ExchangeConfig {
    ExchangeConfig::new(KEY, Feed::Synthetic { seed, pairs: Pair::catalogue() })
}

pub(crate) async fn start(config: ExchangeConfig) -> Exchange {
    Exchange::start(config).await.expect("the exchange starts")
}

pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// Connects with the right key in the header.
    pub(crate) async fn connect(exchange: &Exchange) -> Client {
        Client::connect_with(&exchange.ws_url(), Some(KEY)).await
    }

    pub(crate) async fn connect_with(url: &str, key: Option<&str>) -> Client {
        let mut request = url.into_client_request().expect("a URL");
        if let Some(key) = key {
            let value = format!("Apikey {key}").parse().expect("a header");
            request.headers_mut().insert("authorization", value);
        }
        Client(connect_async(request).await.expect("connects").0)
    }

    /// Why a socket can't be opened.
    pub(crate) async fn refused(exchange: &Exchange) -> Error {
        let mut request = exchange.ws_url().into_client_request().expect("a URL");
        request.headers_mut().insert("authorization", format!("Apikey {KEY}").parse().unwrap());
        let connecting = timeout(DEADLINE, connect_async(request)).await.expect("an end in time");
        connecting.map(|_| ()).expect_err("it is refused")
    }

    /// The next message of any kind, or how the socket ended.
    pub(crate) async fn message(&mut self) -> Option<Result<Message, Error>> {
        timeout(DEADLINE, self.0.next()).await.expect("a message in time")
    }

    /// The stream itself, for what no other client does.
    pub(crate) fn stream(&mut self) -> &mut WebSocketStream<MaybeTlsStream<TcpStream>> {
        &mut self.0
    }

    pub(crate) async fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("sends");
    }

    pub(crate) async fn subscribe(&mut self, subs: &[&str]) {
        self.send(&serde_json::json!({"action": "SubAdd", "subs": subs}).to_string()).await;
    }

    /// The next text frame, or `None` when the exchange has closed the socket.
    pub(crate) async fn next(&mut self) -> Option<String> {
        loop {
            match timeout(DEADLINE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next `n` text frames.
    pub(crate) async fn take(&mut self, n: usize) -> Vec<String> {
        let mut frames = Vec::new();
        while frames.len() < n {
            frames.push(self.next().await.expect("the socket is open"));
        }
        frames
    }

    /// Frames up to and with the first of TYPE `kind`.
    pub(crate) async fn until(&mut self, kind: &str) -> Vec<String> {
        let mut frames = Vec::new();
        loop {
            let frame = self.next().await.expect("the socket is open");
            let found = type_of(&frame) == kind;
            frames.push(frame);
            if found {
                return frames;
            }
        }
    }

    pub(crate) async fn close(mut self) {
        let _ = self.0.close(None).await;
        while self.next().await.is_some() {}
    }
}

/// A frame's TYPE, or nothing for `{}`.
pub(crate) fn type_of(frame: &str) -> String {
    let frame: Value = serde_json::from_str(frame).expect("JSON");
    frame["TYPE"].as_str().unwrap_or_default().to_owned()
}

/// TYPEs in a row, repeated ones once.
pub(crate) fn types(frames: &[String]) -> String {
    let mut types: Vec<String> = frames.iter().map(|frame| type_of(frame)).collect();
    types.dedup();
    types.join(" ")
}

/// Waits for what must come true.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .expect("it comes true in time");
}

/// Waits until the exchange has sent all that the client's socket holds, and returns how many frames
/// that are.
pub(crate) async fn until_it_waits(exchange: &Exchange) -> u64 {
    let (mut last, mut same) = (0, 0);
    eventually(|| {
        let now = exchange.stats().frames;
        same = if now == last && now > 0 { same + 1 } else { 0 };
        last = now;
        same > 100
    })
    .await;
    last
}
