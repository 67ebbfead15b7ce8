//! Stand-ins for the vendor in this crate's tests, over real sockets: each test decides frame by
//! frame and answer by answer what the vendor does. (The whole vendor is `local/exchange`.)

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use crate::api_key::ApiKey;
use crate::backoff::Bounds;
use crate::settings::Rules;
use crate::spool::{Lane, Limits, Request as Taken, Spool, TopicId};

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
        ..Rules::default()
    }
}

/// What left through a lane, in order: key, value, headers as text, receive time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) received_at: i64,
}

impl Sent {
    /// `name=value` of each header, with spaces between them.
    pub(crate) fn headers(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}={value}"));
        headers.collect::<Vec<_>>().join(" ")
    }
}

/// What a request brings to the broker.
pub(crate) fn sent(request: &Taken) -> Vec<Sent> {
    let mut encoder = tickpanda_kafka::BatchEncoder::default();
    request.encode(&mut encoder);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let batches = tickpanda_kafka::decode::Batches::new(encoder.finish());
    let records = batches.flat_map(|batch| batch.unwrap().records().unwrap());
    let sent = records.map(|record| {
        let record = record.unwrap();
        let headers = record.headers.iter();
        Sent {
            key: text(&record.key.unwrap()),
            value: record.value.unwrap().to_vec(),
            headers: headers.map(|(name, v)| (text(name), text(v.as_ref().unwrap()))).collect(),
            received_at: record.timestamp_ms,
        }
    });
    sent.collect()
}

/// The publisher's end of a spool of one lane.
pub(crate) struct Taker {
    spool: Arc<Spool>,
    lane: Arc<Lane>,
    _folder: tempfile::TempDir,
}

impl Taker {
    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.spool.waiting() == 0
    }
}

pub(crate) async fn receive(taker: &mut Taker, count: usize) -> Vec<Sent> {
    let mut taken = Vec::new();
    let mut request = Taken::default();
    while taken.len() < count {
        while taker.is_empty() {
            in_time(taker.lane.ready.notified()).await;
        }
        // One at a time, so that no more are taken than were asked for.
        taker.lane.read(&mut request, 1).unwrap();
        assert!(taker.lane.acknowledge(&request));
        taken.extend(sent(&request));
    }
    taken
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

/// A spool of one lane, for run 1, with who takes from it.
pub(crate) fn spool() -> (Arc<Spool>, TopicId, Taker) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _) = Spool::open(folder.path(), Limits::default(), 1).unwrap();
    let topic = spool.topic("raw", &[0], true).unwrap();
    let lane = spool.lanes().remove(0);
    (Arc::clone(&spool), topic, Taker { spool, lane, _folder: folder })
}
