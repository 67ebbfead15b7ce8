//! Brokers, clients and raw connections for the tests.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ProduceRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use rskafka::BackoffConfig;
use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::partition::{PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};
use rskafka::record::{Record, RecordAndOffset};
use tickpanda_broker::{Broker, BrokerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn start(dir: &Path) -> Broker {
    Broker::start(BrokerConfig::new(dir)).await.expect("the broker starts")
}

pub(crate) async fn client(addr: SocketAddr) -> Client {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(10),
        max_backoff: Duration::from_millis(100),
        base: 2.0,
        deadline: Some(PATIENCE),
    };
    ClientBuilder::new(vec![addr.to_string()])
        .backoff_config(backoff)
        .build()
        .await
        .expect("the client connects")
}

pub(crate) async fn partition(addr: SocketAddr, topic: &str, index: i32) -> PartitionClient {
    let client = client(addr).await;
    client
        .partition_client(topic, index, UnknownTopicHandling::Error)
        .await
        .expect("the partition is there")
}

/// A record with this value, at `ms` since the epoch.
pub(crate) fn record_at(value: &[u8], ms: i64) -> Record {
    Record {
        key: None,
        value: Some(value.to_vec()),
        headers: BTreeMap::from([("h".to_owned(), b"v".to_vec())]),
        timestamp: Utc.timestamp_millis_opt(ms).unwrap(),
    }
}

pub(crate) fn record(value: impl AsRef<[u8]>) -> Record {
    record_at(value.as_ref(), 1_700_000_000_000)
}

pub(crate) fn value(record: &RecordAndOffset) -> &[u8] {
    record.record.value.as_deref().expect("a value")
}

/// All records from `offset` to the end, asking for at most `max` bytes at a time.
pub(crate) async fn read_from(
    partition: &PartitionClient,
    mut offset: i64,
    max: i32,
) -> Vec<RecordAndOffset> {
    let mut all = Vec::new();
    loop {
        let (records, end) = partition.fetch_records(offset, 1..max, 0).await.expect("a fetch");
        match records.last() {
            Some(last) => offset = last.offset + 1,
            None => assert!(offset >= end, "nothing came at {offset} before the end, {end}"),
        }
        all.extend(records);
        if offset >= end {
            return all;
        }
    }
}

/// Waits until `done` says so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut done: impl FnMut() -> F) {
    let start = Instant::now();
    while !done().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Copies a folder as it is now: what a crash at this moment would leave.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A connection on which any request can be sent.
pub(crate) struct Raw(TcpStream);

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self(TcpStream::connect(addr).await.expect("a connection"))
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the bytes go out");
    }

    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16, correlation: i32) {
        let mut out = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(correlation);
        header.encode(&mut out, R::header_version(version)).unwrap();
        request.encode(&mut out, version).unwrap();
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(out.len()).unwrap());
        frame.extend_from_slice(&out);
        self.send_bytes(&frame).await;
    }

    pub(crate) async fn receive<R: Request>(&mut self, version: i16) -> (i32, R::Response) {
        let size = self.0.read_u32().await.expect("a response");
        let mut frame = vec![0; usize::try_from(size).unwrap()];
        self.0.read_exact(&mut frame).await.unwrap();
        let mut frame = Bytes::from(frame);
        let header =
            ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        let response = R::Response::decode(&mut frame, version).unwrap();
        assert!(!frame.has_remaining(), "{} bytes too many", frame.remaining());
        (header.correlation_id, response)
    }

    pub(crate) async fn call<R: Request>(&mut self, request: &R, version: i16) -> R::Response {
        self.send(request, version, 7).await;
        let (correlation, response) = self.receive::<R>(version).await;
        assert_eq!(correlation, 7);
        response
    }

    /// Whether the broker closes the connection, having sent nothing more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(PATIENCE, self.0.read_u8()).await.expect("an end in time");
        read.is_err()
    }

    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        index: i32,
        records: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(topic, index, records, -1);
        let response = self.call(&request, 8).await;
        response.responses[0].partition_responses[0].clone()
    }
}

pub(crate) fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

pub(crate) fn produce_request(
    topic: &str,
    index: i32,
    records: Bytes,
    acks: i16,
) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_index(index).with_records(Some(records));
    let topic =
        TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![topic])
}

/// The sum by which batches are checked.
pub(crate) fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// A batch of records with these values, without keys and headers, all at `ms`.
pub(crate) fn batch_at(values: &[&[u8]], ms: i64) -> Bytes {
    let mut records = Vec::new();
    for (i, value) in values.iter().enumerate() {
        assert!(value.len() < 8000 && i < 64, "two-byte lengths and one-byte deltas only");
        let mut body = vec![0, 0, u8::try_from(2 * i).unwrap(), 1];
        put_len(&mut body, value.len());
        body.extend_from_slice(value);
        body.push(0);
        put_len(&mut records, body.len());
        records.extend_from_slice(&body);
    }
    let count = i32::try_from(values.len()).unwrap();
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(49 + records.len()).unwrap());
    batch.put_i32(-1);
    batch.put_i8(2);
    batch.put_u32(0);
    batch.put_i16(0);
    batch.put_i32(count - 1);
    batch.put_i64(ms);
    batch.put_i64(ms);
    batch.put_i64(-1);
    batch.put_i16(-1);
    batch.put_i32(-1);
    batch.put_i32(count);
    batch.extend_from_slice(&records);
    seal(&mut batch);
    batch.freeze()
}

pub(crate) fn batch(values: &[&[u8]]) -> Bytes {
    batch_at(values, 1_700_000_000_000)
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    let zigzag = len * 2;
    if zigzag < 128 {
        out.push(u8::try_from(zigzag).unwrap());
    } else {
        out.push(u8::try_from(zigzag % 128).unwrap() | 0x80);
        out.push(u8::try_from(zigzag / 128).unwrap());
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970");
    i64::try_from(since.as_millis()).unwrap()
}
