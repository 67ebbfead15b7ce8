//! Stand-ins for the vendor in this crate's tests, over real sockets: each test decides frame by
//! frame and answer by answer what the vendor does. (The whole vendor is `local/exchange`.)

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::api_key::ApiKey;
use crate::backoff::Bounds;
use crate::outbox::Lane;
use crate::settings::Rules;

pub(crate) mod vendor;

/// Longer than anything here takes; what waits for so long has failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it takes too long")
}

pub(crate) fn key() -> ApiKey {
    ApiKey::new("s3cret").unwrap()
}

/// The vendor's rules in compressed time.
pub(crate) fn rules() -> Rules {
    let bounds = |floor, ceiling| Bounds {
        floor: Duration::from_millis(floor),
        ceiling: Duration::from_millis(ceiling),
    };
    Rules {
        reconnect: bounds(50, 400),
        crowded: bounds(300, 600),
        silence: Duration::from_secs(10),
        rest_pause: Duration::from_millis(1),
        rest_retry: bounds(1, 5),
        rest_attempts: 4,
        ..Rules::default()
    }
}

/// What left through a lane, in order: key, value, headers as text, receive time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: String,
    pub(crate) received_at: i64,
}

pub(crate) async fn receive(lane: &mut Lane, count: usize) -> Vec<Sent> {
    let mut sent = Vec::new();
    while sent.len() < count {
        let batch = in_time(lane.recv()).await.expect("the lane is closed");
        sent.extend(batch.records(1).map(|record| {
            Sent {
                key: String::from_utf8(record.key.unwrap()).unwrap(),
                value: record.value.unwrap(),
                headers: (record.headers.into_iter())
                    .map(|(name, value)| format!("{name}={}", String::from_utf8(value).unwrap()))
                    .collect::<Vec<_>>()
                    .join(" "),
                received_at: record.timestamp.timestamp_millis(),
            }
        }));
    }
    assert_eq!(sent.len(), count);
    sent
}

/// The vendor's streamer.
pub(crate) struct Streamer {
    listener: TcpListener,
    pub(crate) url: String,
}

impl Streamer {
    pub(crate) async fn bind() -> Self {
        Self::at("127.0.0.1:0").await
    }

    pub(crate) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let url = format!("ws://{}/v2", listener.local_addr().unwrap());
        Streamer { listener, url }
    }

    /// The next connection, upgraded if it brings the key.
    #[allow(clippy::result_large_err)] // the callback's type is tungstenite's
    pub(crate) async fn accept(&self) -> Option<WebSocketStream<TcpStream>> {
        let (socket, _) = in_time(self.listener.accept()).await.unwrap();
        let check = |request: &Request, response: Response| {
            let key = request.headers().get("authorization").map(|value| value.as_bytes().to_vec());
            if request.uri().path() == "/v2" && key.as_deref() == Some(b"Apikey s3cret") {
                return Ok(response);
            }
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::UNAUTHORIZED;
            Err(refusal)
        };
        in_time(tokio_tungstenite::accept_hdr_async(socket, check)).await.ok()
    }
}

/// An outbox of one lane.
pub(crate) fn outbox(capacity: u32) -> (Arc<crate::outbox::Outbox>, Lane) {
    let (outbox, mut lanes) = crate::outbox::Outbox::new(1, capacity);
    (Arc::new(outbox), lanes.remove(0))
}
