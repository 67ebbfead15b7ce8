//! `wasm/tests/wasm_transform_test.cc`: what a transform reads, writes and says.

use tickpanda_host::{LogLevel, Record, Vm};

use crate::fixture::{batch, config, execute, listening, module, payload, start, transform};

#[test]
fn the_identity_gives_the_records_that_it_got() {
    let long = vec![b'x'; 20_000];
    let records = [
        Record::new(Some(b"key"), Some(b"value")),
        Record::new(None, None),
        Record::new(Some(b""), Some(b"")),
        Record::value(&long),
        Record::new(Some(b"\xff\0"), None)
            .header("a", Some(b"1"))
            .header("a", Some(b"2"))
            .header("null", None)
            .header("", Some(b"")),
    ];
    let given = transform(&mut start("identity"), &batch(&records)).unwrap();
    assert_eq!(given, records.iter().map(payload).collect::<Vec<_>>());
}

#[test]
fn what_a_transform_prints_is_one_line_with_exactly_its_text() {
    let (config, lines) = listening(config());
    let mut vm = Vm::start(&module("dynamic"), config).unwrap();
    assert_eq!(execute(&mut vm, "print", b"hello, world\n\ttwo \xc3\xbc").unwrap(), 0);
    let expected = (LogLevel::Warn, "hello, world\n\ttwo ü".to_owned());
    assert_eq!(*lines.lock().unwrap(), [expected]);
}

#[test]
fn every_command_of_the_dynamic_guest_does_what_it_says() {
    let (config, lines) = listening(config());
    let mut vm = Vm::start(&module("dynamic"), config).unwrap();
    for (command, records) in [("zero", 0), ("mirror", 1), ("double", 2), ("dance", 0)] {
        assert_eq!(execute(&mut vm, command, b"value").unwrap(), records, "{command}");
    }
    let expected = (LogLevel::Warn, "unknown record: dance".to_owned());
    assert_eq!(*lines.lock().unwrap(), [expected], "and says nothing else");
}
