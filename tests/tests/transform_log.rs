//! What the module writes to the transform's log: nothing for any record, and where it can't go on,
//! only what the broker keeps. The broker makes a log record of each write, cuts it at 1,024 bytes and
//! drops it for a control character (Redpanda's source, `transform/logging/log_manager.cc`).

use std::sync::{Arc, Mutex};

use tickpanda_host::{Batch, LogLevel, MAX_LOG_BYTES, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_model::topic;
use tickpanda_tests::memory::{lying_count, transform};
use tickpanda_tests::wasm;

/// Level and text of each message.
type Lines = Arc<Mutex<Vec<(LogLevel, String)>>>;

/// A VM whose messages are kept; one that the broker would drop fails the test.
fn start() -> (Vm, Lines) {
    let lines = Lines::default();
    let log = Arc::clone(&lines);
    let module = Module::compile(wasm::transform()).unwrap();
    let config =
        VmConfig::new("tickpanda-transform", topic::RAW, topic::OUTPUTS).log(move |line| {
            let text = line.text.map(str::to_owned);
            log.lock()
                .unwrap()
                .push((line.level, text.unwrap_or_else(|dropped| format!("DROPPED: {dropped}"))));
        });
    (Vm::start(&module, config).unwrap(), lines)
}

fn give(
    vm: &mut Vm,
    timestamp: i64,
    record: &Record<'_>,
) -> Result<usize, tickpanda_host::HostError> {
    let batch = Batch::builder().record(timestamp, record).build().unwrap();
    let mut outputs = Outputs::default();
    vm.transform(&batch, &mut outputs).map(|()| outputs.len())
}

#[test]
fn no_record_makes_the_module_print() {
    let (mut vm, lines) = start();
    let body = wasm::data("histominute-2001.json");
    let frames = wasm::data("frames.jsonl");
    let deep = "[".repeat(400_000);
    let controls: String = (0..32u8).map(char::from).collect();
    for value in [
        &body[..],
        &body[..300_000],
        &frames, // many objects, and so not one
        &deep,
        "",
        "{}",
        &controls,
        "\u{1b}[31mred\r\n",
        r#"{"TYPE":"\u001b[31m\u0000"}"#,
        r#"{"TYPE":"0","M":"\u0000","FSYM":"\r","TSYM":"\n","P":1,"TS":1618335982}"#,
        r#"{"Response":"Error","Message":"\u001b[31mred\u0000\r\n"}"#,
    ] {
        let plain = Record::value(value.as_bytes());
        let rest = Record::value(value.as_bytes())
            .header("feed", Some(b"rest"))
            .header("market", Some(b"\x1b"))
            .header("base", None)
            .header("quote", Some(b"\xff"))
            .header("interval", Some(b"\r\n"));
        for (timestamp, record) in [(1_753_190_418_708, &plain), (-1, &plain), (0, &rest)] {
            give(&mut vm, timestamp, record).unwrap();
        }
    }
    give(&mut vm, 0, &Record::new(None, None)).unwrap();
    assert_eq!(*lines.lock().unwrap(), []);
}

#[test]
fn what_it_prints_when_its_memory_ends_is_kept_by_the_broker() {
    let (mut vm, lines) = start();
    let large = vec![b'x'; 3 << 20]; // more than the broker's 2 MiB, so it can't even be read
    give(&mut vm, 0, &Record::value(&large)).unwrap_err();
    let lines = lines.lock().unwrap();
    assert!((1..=4).contains(&lines.len()), "{lines:?}");
    for (level, text) in lines.iter() {
        assert_eq!(*level, LogLevel::Warn);
        assert!(!text.starts_with("DROPPED") && text.len() <= MAX_LOG_BYTES, "{text:?}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }
}

/// The SDK panics at a record whose framing is broken, as it does at a refused write. Rust's own words
/// for that are several records, with a path of the machine that built the module.
#[test]
fn where_the_sdk_gives_up_it_prints_one_line_without_a_path() {
    let (mut vm, lines) = start();
    transform(&mut vm, &[lying_count(1)]).unwrap_err();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let (level, text) = &lines[0];
    assert_eq!(*level, LogLevel::Warn);
    assert!(text.contains("deserializing record failed"), "{text:?}");
    assert!(!text.contains(['/', '\\']) && !text.contains(char::is_control), "{text:?}");
}
