//! The exact module that a cluster would run, in the host, with the broker's limits: it gives what
//! `normalize` gives natively, byte for byte, and nothing makes it trap.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, OnceLock};

use tickpanda_host::{Batch, HostError, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_model::topic;
use tickpanda_tests::memory::REST;
use tickpanda_tests::wasm;
use tickpanda_transform::{DeadLetter, Emit, Outcome, RawRecord, normalize};

const RECEIVED: i64 = 1_753_190_418_708;
const TICKS: usize = 0;
const CANDLES: usize = 1;
const DEAD_LETTERS: usize = 2;

fn module() -> &'static Module {
    static MODULE: OnceLock<Module> = OnceLock::new();
    MODULE.get_or_init(|| Module::compile(wasm::transform()).unwrap())
}

/// A VM with the broker's default limits: 2 MiB of memory, 64 KiB of stack.
fn start() -> Vm {
    Vm::start(module(), VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS)).unwrap()
}

/// Topic and payload of everything that a record gave.
type Written = Vec<(usize, Vec<u8>)>;

fn in_wasm(vm: &mut Vm, timestamp: i64, record: &Record<'_>) -> Written {
    let batch = Batch::builder().record(timestamp, record).build().unwrap();
    let mut outputs = Outputs::default();
    vm.transform(&batch, &mut outputs).unwrap_or_else(|error| {
        let value = record.value.unwrap_or_default();
        let shown = String::from_utf8_lossy(&value[..value.len().min(80)]);
        panic!("{error} at {} bytes with {} headers: {shown}", value.len(), record.headers.len())
    });
    outputs.iter().map(|output| (output.topic, output.payload.to_vec())).collect()
}

/// Frames what `normalize` emits as the module's output would be.
#[derive(Default)]
struct Framed(Written);

impl Framed {
    fn put(&mut self, topic: usize, record: &Record<'_>) -> Result<(), Infallible> {
        let mut payload = Vec::new();
        record.encode(&mut payload);
        self.0.push((topic, payload));
        Ok(())
    }
}

impl Emit for Framed {
    type Error = Infallible;

    fn tick(&mut self, key: &[u8], json: &[u8]) -> Result<(), Infallible> {
        self.put(TICKS, &Record::new(Some(key), Some(json)))
    }

    fn candle(&mut self, key: &[u8], json: &[u8]) -> Result<(), Infallible> {
        self.put(CANDLES, &Record::new(Some(key), Some(json)))
    }

    fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Infallible> {
        let headers = letter.headers.iter().map(|(key, value)| (*key, Some(*value))).collect();
        self.put(DEAD_LETTERS, &Record { key: letter.key, value: letter.value, headers })
    }
}

fn natively(timestamp_ms: i64, record: &Record<'_>) -> (Outcome, Written) {
    let Record { key, value, .. } = *record;
    let raw = RawRecord { key, value, headers: &record.headers.as_slice(), timestamp_ms };
    let mut framed = Framed::default();
    let Ok(outcome) = normalize(&raw, &mut framed);
    (outcome, framed.0)
}

/// Runs a record both ways and returns the one result.
fn both(vm: &mut Vm, timestamp: i64, record: &Record<'_>) -> (Outcome, Written) {
    let (outcome, written) = natively(timestamp, record);
    assert_eq!(in_wasm(vm, timestamp, record), written);
    (outcome, written)
}

fn rest(body: &str) -> Record<'_> {
    Record { key: Some(b"CCCAGG~ETH~BTC"), value: Some(body.as_bytes()), headers: REST.to_vec() }
}

#[test]
fn it_starts_with_two_pages_whatever_rpk_does_to_the_linkers_flags() {
    // With Rust's own stack of 1 MiB it would need 17 of the broker's 32.
    let mut config = VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS);
    config.limits.memory = 2 * 64 * 1024;
    let mut vm = Vm::start(module(), config).unwrap();
    assert!(in_wasm(&mut vm, RECEIVED, &Record::value(b"{}")).is_empty());
}

#[test]
fn every_frame_has_the_outcome_that_the_contract_says() {
    let mut vm = start();
    for line in wasm::data("frames.jsonl").lines() {
        let frame: serde_json::Value = serde_json::from_str(line).unwrap();
        let raw = frame["raw"].as_str().unwrap();
        let (outcome, written) = both(&mut vm, RECEIVED, &Record::value(raw.as_bytes()));
        match frame["type"].as_str().unwrap() {
            "0" | "2" | "5" => {
                assert_eq!(outcome, Outcome::Rows { ticks: 1, candles: 0, bad_rows: false });
                assert_eq!((written.len(), written[0].0), (1, TICKS));
            }
            _ => assert_eq!((outcome, written.len()), (Outcome::Nothing, 0)),
        }
    }
    for line in wasm::data("trades-eth-usdt-40.jsonl").lines() {
        assert_eq!(both(&mut vm, RECEIVED, &Record::value(line.as_bytes())).1.len(), 1);
    }
}

#[test]
fn a_body_of_2001_rows_gives_its_candles_in_order() {
    let body = wasm::data("histominute-2001.json");
    let mut vm = start();
    let (outcome, written) = both(&mut vm, 1_510_494_630_000, &rest(&body));
    assert_eq!(outcome, Outcome::Rows { ticks: 0, candles: 2001, bad_rows: false });
    for (index, (topic, payload)) in written.iter().enumerate() {
        assert_eq!(*topic, CANDLES);
        let record = Record::decode(payload).unwrap();
        assert_eq!(record.key, Some(&b"CCCAGG~ETH~BTC"[..]));
        let candle: tickpanda_model::candle::OhlcvData<'_> =
            serde_json::from_slice(record.value.unwrap()).unwrap();
        // A minute and the 40 s for which the vendor may repeat an older answer.
        let over = (candle.bucket.seconds() + 100) * 1000 <= 1_510_494_630_000;
        assert_eq!(candle.closed, over, "row {index}");
        assert_eq!(candle.closed, index < 1999);
    }
}

#[test]
fn no_garbage_traps_the_module() {
    let mut vm = start();
    let deep = "[".repeat(150_000);
    let nested = format!(r#"{{"x":{}"#, r#"{"a":"#.repeat(20_000));
    let escaped = format!(r#"{{"TYPE":"0","M":"{}"}}"#, "\\u0041".repeat(20_000));
    let key = format!(r#"{{"{}":1}}"#, "\\u0041".repeat(20_000));
    let digits = format!(r#"{{"TYPE":"0","P":{}}}"#, "9".repeat(150_000));
    let name = format!(r#"{{"TYPE":"2","PRICE":1,"MARKET":"{}"}}"#, "x".repeat(150_000));
    for value in [
        "",
        " ",
        "garbage",
        "\0\0\0",
        "{}",
        "[]",
        "{",
        "\u{feff}{}",
        r#"{"TYPE":"77"}"#,
        &deep,
        &nested,
        &escaped,
        &key,
        &digits,
        &name,
    ] {
        for headers in [&[][..], REST] {
            let record =
                Record { key: None, value: Some(value.as_bytes()), headers: headers.to_vec() };
            let (outcome, written) = both(&mut vm, RECEIVED, &record);
            let expected = usize::from(outcome != Outcome::Nothing);
            assert_eq!(written.len(), expected, "{}", &value[..value.len().min(60)]);
        }
    }
    for value in [None, Some(&[0xff; 1000][..])] {
        assert_eq!(both(&mut vm, RECEIVED, &Record::new(None, value)).1[0].0, DEAD_LETTERS);
    }
    let odd = Record::value(b"garbage")
        .header("null", None)
        .header("twice", Some(b"1"))
        .header("twice", Some(b"2"))
        .header("reason", Some(b"mine"));
    let odd = Record { headers: [&odd.headers[..], &[(b"\xff", None)]].concat(), ..odd };
    let written = both(&mut vm, RECEIVED, &odd).1;
    let letter = Record::decode(&written[0].1).unwrap();
    assert!(letter.headers.iter().all(|(_, value)| value.is_some()));
    assert!(letter.headers.iter().all(|(key, _)| std::str::from_utf8(key).is_ok()));
    // The broker's clock may be anything.
    for timestamp in [i64::MIN, -1, 0, 1, i64::MAX] {
        both(&mut vm, timestamp, &Record::value(br#"{"TYPE":"5","PRICE":1,"MARKET":"a"}"#));
        both(&mut vm, timestamp, &odd);
    }
}

#[test]
fn with_fewer_than_three_output_topics_it_fails_at_its_start_with_one_log_line() {
    for topics in [&topic::OUTPUTS[..1], &topic::OUTPUTS[..2]] {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&lines);
        let config = VmConfig::new("tickpanda-transform", topic::RAW, topics.iter().copied())
            .log(move |line| log.lock().unwrap().push(line.text.unwrap().to_owned()));
        let failed = Vm::start(module(), config);
        assert!(matches!(failed, Err(HostError::Start { .. })), "{failed:?}");
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].contains("three output topics") && lines[0].len() <= 1024);
        assert!(!lines[0].chars().any(char::is_control));
    }
}
