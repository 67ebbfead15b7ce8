//! Record batches made by hand, with what no client library writes: null and repeated header keys,
//! keys that are not UTF-8, counts that lie. And sending them to a broker.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader};
use kafka_protocol::messages::{TopicName, produce_response::PartitionProduceResponse};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tickpanda_host::Record;

/// Kafka's code for a batch above the topic's `max.message.bytes`.
pub const MESSAGE_TOO_LARGE: i16 = 10;
/// The oldest version with an error's text.
const PRODUCE: i16 = 8;

/// The payload of a record: key, value and headers as the protocol frames them.
pub fn payload(record: &Record<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    record.encode(&mut payload);
    payload
}

/// Appends a zig-zag varint.
pub fn put_varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while rest >= 0x80 {
        out.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
        rest >>= 7;
    }
    out.push(u8::try_from(rest).expect("seven bits"));
}

/// The records section of a batch, the payloads as they are.
pub fn records(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut records = Vec::new();
    for (payload, delta) in payloads.iter().zip(0i64..) {
        let mut record = vec![0, 0]; // attributes, timestamp delta
        put_varint(&mut record, delta);
        record.extend_from_slice(payload);
        put_varint(&mut records, i64::try_from(record.len()).expect("it lies in memory"));
        records.extend_from_slice(&record);
    }
    records
}

/// An uncompressed batch, version 2, of records at `timestamp` (ms since the epoch).
pub fn batch(timestamp: i64, payloads: &[Vec<u8>]) -> Bytes {
    let count = i32::try_from(payloads.len()).expect("a batch's count");
    // From the attributes on, which is what the checksum is of.
    let mut body = BytesMut::new();
    body.put_i16(0); // uncompressed, CreateTime
    body.put_i32(count - 1);
    body.put_i64(timestamp);
    body.put_i64(timestamp);
    body.put_i64(-1); // no producer id
    body.put_i16(-1);
    body.put_i32(-1);
    body.put_i32(count);
    body.extend_from_slice(&records(payloads));
    let mut batch = BytesMut::new();
    batch.put_i64(0); // base offset
    batch.put_i32(i32::try_from(body.len()).expect("a small batch") + 4 + 1 + 4);
    batch.put_i32(-1); // leader epoch
    batch.put_i8(2);
    batch.put_u32(crc32c::crc32c(&body));
    batch.extend_from_slice(&body);
    batch.freeze()
}

/// Garbage in a batch of exactly `size` bytes.
pub fn garbage_batch(timestamp: i64, size: usize) -> (Vec<u8>, Bytes) {
    let of = |length| {
        let value = vec![b'x'; length];
        let batch = batch(timestamp, &[payload(&Record::value(&value))]);
        (value, batch)
    };
    let framing = of(size).1.len() - size;
    let made = of(size - framing);
    assert_eq!(made.1.len(), size, "the lengths' lengths are as long as expected");
    made
}

/// Produces one batch to one partition, waits for the broker's answer and returns its error code.
///
/// # Errors
/// Where there is no answer.
pub fn produce(broker: &str, topic: &str, partition: i32, batch: Bytes) -> io::Result<i16> {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(30_000)
        .with_topic_data(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(ProduceRequest::KEY)
        .with_request_api_version(PRODUCE);
    let mut message = BytesMut::new();
    header.encode(&mut message, ProduceRequest::header_version(PRODUCE)).map_err(invalid)?;
    request.encode(&mut message, PRODUCE).map_err(invalid)?;

    let mut socket = TcpStream::connect(broker)?;
    let length = u32::try_from(message.len()).map_err(invalid)?;
    socket.write_all(&length.to_be_bytes())?;
    socket.write_all(&message)?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut answer = vec![0; usize::try_from(u32::from_be_bytes(length)).map_err(invalid)?];
    socket.read_exact(&mut answer)?;
    let mut answer = Bytes::from(answer);
    ResponseHeader::decode(&mut answer, ProduceResponse::header_version(PRODUCE))
        .map_err(invalid)?;
    let answer = ProduceResponse::decode(&mut answer, PRODUCE).map_err(invalid)?;
    let mut partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let code = |answer: PartitionProduceResponse| answer.error_code;
    partitions.next().map(code).ok_or_else(|| invalid("an answer without a partition"))
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
