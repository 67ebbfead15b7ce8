//! Whether the transform survives a record in a given memory, whatever came before it. Used by the
//! tests that hold the promises, and by the example `transform-memory`, which measures the limits.
//!
//! What a record needs depends on those before it, because the SDK's buffers grow by doubling and
//! what stays allocated lies where it happened to be put. So each record is tried behind several
//! histories, among them the ones that leave the largest buffers.

use std::sync::OnceLock;

use tickpanda_host::{Batch, BatchHeader, HostError, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_model::topic;
use tickpanda_transform::LONGEST_NAME;

use crate::hostile::{payload, put_varint, records};
use crate::wasm;

/// What the broker gives a transform by default.
pub const DEFAULT_MEMORY: usize = 2 << 20;

const RECEIVED: i64 = 1_753_190_418_708;

/// A kind of record, of which one can be made in any size.
pub struct Kind {
    /// In words, for the table and for failures.
    pub name: &'static str,
    /// The payload (key, value, headers as the protocol frames them) of about this many bytes.
    pub payload: fn(usize) -> Vec<u8>,
}

/// Every kind that a producer can make larger and larger.
pub const KINDS: &[Kind] = &[
    Kind { name: "REST body, rows of 17-digit numbers", payload: |size| rest(size, "") },
    Kind { name: "REST body, cut off: a dead letter", payload: |size| rest(size, "x") },
    Kind { name: "REST body, every row bad", payload: |size| body(size, "\"no price\"", "") },
    Kind { name: "garbage", payload: |size| headers(size, 0, &[]) },
    Kind { name: "one long text with escapes", payload: escapes },
    Kind { name: "a key as large as the value", payload: large_key },
    Kind { name: "garbage with 1,000 headers", payload: |size| headers(size, 1_000, &[]) },
    Kind { name: "garbage with 5,000 headers", payload: |size| headers(size, 5_000, &[]) },
    Kind { name: "1,000 header keys not UTF-8", payload: |size| headers(size, 1_000, b"\xff") },
    Kind { name: "5,000 header keys not UTF-8", payload: |size| headers(size, 5_000, b"\xff") },
    Kind { name: "one long header key not UTF-8", payload: long_key },
    Kind { name: "REST body, shortest rows under the longest names", payload: short_rows },
];

/// Whether the module, with so many bytes of memory, transforms this record in a fresh VM and after
/// the worst that may have come before it.
pub fn survives(memory: usize, record: &[u8]) -> bool {
    let records = [record.to_vec()];
    histories(record.len()).iter().all(|history| {
        let mut vm = start(memory);
        let mut history = history.chunks(1);
        history.all(|earlier| transform(&mut vm, earlier).is_ok())
            && transform(&mut vm, &records).is_ok()
    })
}

/// A VM with the broker's limits but for its memory.
pub fn start(memory: usize) -> Vm {
    let mut config = VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS);
    config.limits.memory = memory;
    Vm::start(module(), config).expect("the module starts")
}

/// Transforms one batch of these payloads; returns topic and payload of what came out.
///
/// # Errors
/// The trap.
pub fn transform(vm: &mut Vm, payloads: &[Vec<u8>]) -> Result<Vec<(usize, Vec<u8>)>, HostError> {
    let mut outputs = Outputs::default();
    vm.transform(&batch(payloads), &mut outputs)?;
    Ok(outputs.iter().map(|output| (output.topic, output.payload.to_vec())).collect())
}

/// Records before one of `size` bytes, none of them larger than it.
fn histories(size: usize) -> Vec<Vec<Vec<u8>>> {
    // A buffer of one byte less than needed is doubled, and so is the largest that there can be.
    let least = size.saturating_sub(1);
    let step = |divisor: usize| size / divisor + 1;
    let garbage = |size| headers(size, 0, &[]);
    let some = |count: usize| headers(size.min(64 * 1024), count, &[]);
    vec![
        vec![],
        vec![garbage(least)],
        vec![rest(least, "")],
        vec![garbage(step(4)), garbage(step(2)), garbage(least)],
        vec![garbage(step(2)), rest(least, "")],
        // Lists of headers take the place that small buffers should have.
        vec![some(4_000), wide_trade(), garbage(least)],
        vec![garbage(100), some(3_000), rest(step(3), ""), rest(least, "x")],
        vec![wide_trade_with_headers(3_500), garbage(step(2)), garbage(least)],
        vec![garbage(100), wide_body(3_500), garbage(step(2)), garbage(least)],
    ]
}

fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::compile(wasm::transform()).expect("the module compiles"))
}

/// A batch of payloads that need not be well-formed, as those of a compressed batch, into which no
/// broker looks.
fn batch(payloads: &[Vec<u8>]) -> Batch {
    let record_count = i32::try_from(payloads.len()).expect("a batch's count");
    let header = BatchHeader {
        base_offset: 0,
        record_count,
        partition_leader_epoch: 0,
        attributes: 0,
        last_offset_delta: record_count - 1,
        base_timestamp: RECEIVED,
        max_timestamp: RECEIVED,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
    };
    Batch::new(header, records(payloads)).expect("its framing is right")
}

/// Headers of a REST body of minute candles.
pub const REST: &[(&[u8], Option<&[u8]>)] = &[
    (b"feed", Some(b"rest")),
    (b"market", Some(b"CCCAGG")),
    (b"base", Some(b"ETH")),
    (b"quote", Some(b"BTC")),
    (b"interval", Some(b"1m")),
];
/// Key, headers and framing of a REST body.
const ABOUT: usize = 100;

/// A REST body with 17-digit numbers; `more` after its end makes it a dead letter.
fn rest(size: usize, more: &str) -> Vec<u8> {
    body(size, "0.12345678901234567", more)
}

fn body(size: usize, open: &str, more: &str) -> Vec<u8> {
    let size = size.saturating_sub(ABOUT + more.len());
    let mut body = String::from(r#"{"Response":"Success","Data":["#);
    let mut time = 1_510_374_600;
    loop {
        let digits = "0.12345678901234567";
        let row = format!(
            r#"{{"time":{time},"high":{digits},"low":{digits},"open":{open},"volumefrom":{digits},"volumeto":{digits},"close":{digits},"conversionType":"direct","conversionSymbol":""}},"#
        );
        if body.len() + row.len() + 1 > size {
            break;
        }
        body += &row;
        time += 60;
    }
    let trimmed = body.trim_end_matches(',').len();
    body.truncate(trimmed);
    body += "]}";
    body += more;
    body += &" ".repeat(size.saturating_sub(body.len()));
    payload(&Record {
        key: Some(b"CCCAGG~ETH~BTC"),
        value: Some(body.as_bytes()),
        headers: REST.to_vec(),
    })
}

/// Garbage with so many different headers without a value, whose keys begin with `prefix`.
pub fn headers(size: usize, count: usize, prefix: &[u8]) -> Vec<u8> {
    let keys: Vec<Vec<u8>> = (0..count).map(|n| [prefix, &base64(n)].concat()).collect();
    let mut record = Record::value(&[]);
    record.headers = keys.iter().map(|key| (key.as_slice(), None)).collect();
    let value = vec![b'x'; size.saturating_sub(payload(&record).len() + 3)];
    payload(&Record { value: Some(&value), ..record })
}

/// A short distinct text.
fn base64(n: usize) -> [u8; 3] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    [n >> 12, n >> 6, n].map(|n| DIGITS[n & 63])
}

fn escapes(size: usize) -> Vec<u8> {
    let text = "\\u0041".repeat(size.saturating_sub(60) / 6);
    let frame = format!(r#"{{"TYPE":"0","M":"{text}"}}"#);
    payload(&Record::value(frame.as_bytes()))
}

fn large_key(size: usize) -> Vec<u8> {
    let half = vec![b'k'; (size / 2).saturating_sub(8)];
    payload(&Record::new(Some(&half), Some(&half)))
}

fn long_key(size: usize) -> Vec<u8> {
    let mut record = Record::value(b"garbage");
    let key = vec![0xff; size.saturating_sub(20)];
    record.headers = vec![(&key, None)];
    payload(&record)
}

/// A trade whose fields are as long as they may be, so that everything kept for rows grows to its
/// largest.
fn wide_trade() -> Vec<u8> {
    wide_trade_with_headers(0)
}

fn wide_trade_with_headers(count: usize) -> Vec<u8> {
    let (name, wide) = ("\\u0001".repeat(LONGEST_NAME / 6), "\\u0001".repeat(170));
    let frame = format!(
        r#"{{"TYPE":"0","M":"{name}","FSYM":"{name}","TSYM":"{name}","ID":"{wide}","TS":1753190418,"P":1,"Q":2}}"#
    );
    let keys: Vec<_> = (0..count).map(base64).collect();
    let mut record = Record::value(frame.as_bytes());
    record.headers = keys.iter().map(|key| (key.as_slice(), None)).collect();
    payload(&record)
}

/// The shortest rows there are under the longest names, of characters that JSON writes in six bytes:
/// the body that makes the most of its bytes.
pub fn short_rows(size: usize) -> Vec<u8> {
    let wide = [1u8; LONGEST_NAME];
    let about =
        [(&b"market"[..], Some(&wide[..])), (b"base", Some(&wide)), (b"quote", Some(&wide))];
    let headers = [REST, &about].concat();
    let size = size.saturating_sub(ABOUT + 3 * (LONGEST_NAME + 10));
    let (start, end) = (r#"{"Response":"Success","Data":["#, "]}");
    let row = r#"{"time":1510374600,"open":1,"high":1,"low":1,"close":1},"#;
    let rows = row.repeat(size.saturating_sub(start.len() + end.len()) / row.len());
    let mut body = [start, rows.trim_end_matches(','), end].concat();
    body += &" ".repeat(size.saturating_sub(body.len()));
    payload(&Record { key: Some(b"CCCAGG~ETH~BTC"), value: Some(body.as_bytes()), headers })
}

/// A body of one row whose headers are as long as they may be and of characters that JSON writes in
/// six, with so many headers besides.
fn wide_body(count: usize) -> Vec<u8> {
    let wide = [1u8; LONGEST_NAME];
    let body = r#"{"Response":"Success","Data":[{"time":1510374600,"open":1,"high":1,"low":1,"close":1,"volumefrom":1,"volumeto":1}]}"#;
    let keys: Vec<_> = (0..count).map(base64).collect();
    let mut record = Record::value(body.as_bytes());
    record.headers = REST.to_vec();
    for name in [&b"market"[..], b"base", b"quote"] {
        record.headers.push((name, Some(&wide)));
    }
    record.headers.extend(keys.iter().map(|key| (key.as_slice(), None)));
    payload(&record)
}

/// Garbage whose header count is a lie: so many are announced, none is there.
pub fn lying_count(count: i64) -> Vec<u8> {
    let mut payload = vec![1, 2, b'x']; // no key, a value of one byte
    put_varint(&mut payload, count);
    payload
}
