//! `transform/logging/tests`: what becomes of the messages that a transform prints.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tickpanda_host::{LogBuffer, LogDrop, LogEvent, LogLevel, LogLine, Record, Vm};

use crate::fixture::{batch, config, execute, listening, module, transform};

/// The broker's buffer (`data_transforms_logging_buffer_capacity_bytes`).
const BUFFER: usize = 500 << 10;
/// And its longest message (`data_transforms_logging_line_max_bytes`).
const LINE: usize = 1 << 10;
const FLUSH: Duration = Duration::from_millis(500);

fn push(buffer: &mut LogBuffer, text: &str, now: Instant) {
    let line = LogLine { level: LogLevel::Info, text: Ok(text), cut: false };
    buffer.push("name", line, now, 7, 0.0);
}

/// What becomes of a message that a guest prints.
fn printed(message: &[u8]) -> Result<String, LogDrop> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let config = config().log(move |line| sink.lock().unwrap().push(line.text.map(str::to_owned)));
    let mut vm = Vm::start(&module("dynamic"), config).unwrap();
    execute(&mut vm, "print", message).unwrap();
    let mut lines = lines.lock().unwrap();
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

#[test]
fn messages_go_out_half_a_second_later_in_their_order() {
    let (mut buffer, now) = (LogBuffer::default(), Instant::now());
    push(&mut buffer, "Hello from some test code!", now);
    push(&mut buffer, "Hello again!", now + FLUSH / 2);
    assert_eq!(buffer.due(), Some(now + FLUSH));
    let texts: Vec<String> = buffer.flush().into_iter().map(|event| event.text).collect();
    assert_eq!(texts, ["Hello from some test code!", "Hello again!"]);
    assert_eq!(buffer.due(), None);
}

#[test]
fn what_a_full_buffer_does_not_take_is_dropped_and_counted_until_it_has_gone_out() {
    let (mut buffer, now, line) = (LogBuffer::default(), Instant::now(), "x".repeat(LINE));
    for round in 1..3 {
        for _ in 0..2 * BUFFER / LINE {
            push(&mut buffer, &line, now);
        }
        assert_eq!(buffer.dropped().full, round * (BUFFER / LINE) as u64);
        assert_eq!(buffer.flush().len(), BUFFER / LINE, "as many as fit");
    }
}

#[test]
fn a_buffer_that_is_nearly_full_goes_out_at_once() {
    let (mut buffer, now) = (LogBuffer::default(), Instant::now());
    let line = "x".repeat(LINE);
    for _ in 0..BUFFER / LINE * 8 / 10 {
        push(&mut buffer, &line, now);
    }
    assert_eq!(buffer.due(), Some(now + FLUSH), "80 % may wait");
    for _ in 0..BUFFER / LINE * 12 / 100 {
        push(&mut buffer, &line, now);
    }
    assert_eq!(buffer.due(), Some(now), "92 % may not");
}

#[test]
fn a_long_message_is_cut() {
    assert_eq!(printed(&[b'x'; 2 * LINE]), Ok("x".repeat(LINE)));
    assert_eq!(printed(&[b'x'; LINE]), Ok("x".repeat(LINE)));
}

#[test]
fn what_is_no_text_or_has_control_characters_is_dropped_whole() {
    assert_eq!(printed(b"FOO\xc3\x28"), Err(LogDrop::NotUtf8));
    assert_eq!(printed(b"foo\x01\x02\x03\x04"), Err(LogDrop::ControlCharacter));
    assert_eq!(printed(b"\x1b[31mred"), Err(LogDrop::ControlCharacter));
    assert_eq!(printed(b"dos\r\n"), Err(LogDrop::ControlCharacter));
    assert_eq!(printed(b"\tunix\n"), Ok("\tunix\n".to_owned()));
    // A character that lies across the cut costs the message.
    let across = format!("{}ü", "x".repeat(LINE - 1));
    assert_eq!(printed(across.as_bytes()), Err(LogDrop::NotUtf8));
}

#[test]
fn a_thousand_records_are_a_thousand_messages() {
    let (config, lines) = listening(config());
    let mut vm = Vm::start(&module("logging"), config).unwrap();
    let values: Vec<String> = (0..1_000).map(|n: u32| n.to_string()).collect();
    let records: Vec<Record<'_>> = values.iter().map(|v| Record::value(v.as_bytes())).collect();
    transform(&mut vm, &batch(&records)).unwrap();
    let lines = lines.lock().unwrap();
    assert_eq!(lines.len(), values.len());
    for (value, (level, text)) in values.iter().zip(lines.iter()) {
        assert_eq!((*level, text), (LogLevel::Warn, &format!(":{value}\n")));
    }
}

#[test]
fn an_event_is_a_log_record_of_opentelemetry() {
    for (level, severity) in [(LogLevel::Info, 9), (LogLevel::Warn, 13)] {
        let event = LogEvent {
            transform: "dummy".to_owned(),
            level,
            text: "Hello \"ü\"\n\\".to_owned(),
            unix_nanos: 1_700_000_000_123_456_789,
        };
        let json: Value = serde_json::from_str(&event.otel_json(0)).unwrap();
        let expected = json!({
            "body": {"stringValue": "Hello \"ü\"\n\\"},
            "timeUnixNano": 1_700_000_000_123_456_789_u64,
            "severityNumber": severity,
            "attributes": [
                {"key": "transform_name", "value": {"stringValue": "dummy"}},
                {"key": "node", "value": {"intValue": 0}},
            ],
        });
        assert_eq!(json, expected);
    }
}
