//! What a guest learns of the world: its name, its environment, the time of its records.

use super::*;
use std::sync::{Arc, Mutex};
use tickpanda_host::{LogDrop, LogLevel};

#[test]
fn the_only_argument_is_the_transforms_name() {
    let module = guest(
        "",
        "(drop (call $args_sizes_get (i32.const 2000) (i32.const 2004)))
         (drop (call $args_get (i32.const 2008) (i32.const 2012)))
         (call $emit (i32.const 2000) (i32.const 17))",
    );
    let mut expected = Vec::new();
    for word in [1u32, 5, 2012] {
        expected.extend(word.to_le_bytes());
    }
    expected.extend(b"test\0");
    assert_eq!(run(&mut start(&module), &batch(&[b"x"])).unwrap(), [expected]);
}

#[test]
fn the_environment_is_the_users_and_the_topics() {
    let module = guest(
        "",
        "(drop (call $environ_sizes_get (i32.const 2000) (i32.const 2004)))
         (drop (call $environ_get (i32.const 2008) (i32.const 2100)))
         (call $emit (i32.const 2000) (i32.const 8))
         (call $emit (i32.load (i32.const 2008)) (i32.const 5))
         (call $emit (i32.load (i32.const 2012)) (i32.const 24))
         (call $emit (i32.load (i32.const 2016)) (i32.const 30))
         (call $emit (i32.load (i32.const 2020)) (i32.const 31))",
    );
    let config = VmConfig { env: vec![("A".into(), "b=c".into())], ..config() };
    let mut vm = Vm::start(&module, config).unwrap();
    let values = run(&mut vm, &batch(&[b"x"])).unwrap();
    let strings: [&[u8]; 4] = [
        b"A=b=c",
        b"REDPANDA_INPUT_TOPIC=in\0",
        b"REDPANDA_OUTPUT_TOPIC_0=first\0",
        b"REDPANDA_OUTPUT_TOPIC_1=second\0",
    ];
    assert_eq!(values[0], [4u32.to_le_bytes(), (6u32 + 24 + 30 + 31).to_le_bytes()].concat());
    assert_eq!(values[1..], strings);
}

/// Writes the eight bytes of a clock.
fn clock(id: i32) -> String {
    format!(
        "(drop (call $clock_time_get (i32.const {id}) (i64.const 1) (i32.const 2000)))
         (call $emit (i32.const 2000) (i32.const 8))"
    )
}

fn as_nanos(values: Vec<Vec<u8>>) -> Vec<u64> {
    values.iter().map(|v| u64::from_le_bytes(v[..].try_into().unwrap())).collect()
}

#[test]
fn the_wall_clock_is_the_batchs_then_each_records_time() {
    let read = "(drop (call $next_record (i32.const 32768)))";
    let module = raw_guest(
        "",
        &format!(
            "(drop (call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 3000)))
             (loop $batches
               (drop (call $next_batch))
               (call $emit (i32.const 3000) (i32.const 8))
               {0} {read} {0} {read} {0}
               (br $batches))",
            clock(0)
        ),
    );
    let records =
        || Batch::builder().record(7, &Record::value(b"a")).record(5, &Record::value(b"b"));
    let batch = records().build().unwrap();
    let times = as_nanos(run(&mut start(&module), &batch).unwrap());
    assert_eq!(times, [0, 7_000_000, 7_000_000, 5_000_000], "0 at start");
    let batch = records().record(9, &Record::value(b"c")).log_append_time().build().unwrap();
    let times = as_nanos(run(&mut start(&module), &batch).unwrap());
    assert_eq!(times, [0, 9_000_000, 9_000_000, 9_000_000], "LogAppendTime: the largest");
}

#[test]
fn the_other_clocks_count_how_often_they_are_asked() {
    let module = guest("", &[clock(1), clock(2), clock(3)].concat());
    let times = as_nanos(run(&mut start(&module), &batch(&[b"x", b"x"])).unwrap());
    assert_eq!(times, [0, 1_000_000, 2_000_000, 3_000_000, 4_000_000, 5_000_000]);
}

#[test]
fn answers_that_are_constant() {
    let module = guest(
        "",
        "(call $emit_i32 (call $clock_time_get (i32.const 4) (i64.const 1) (i32.const 2000)))
         (call $emit_i32 (call $clock_res_get (i32.const 4) (i32.const 2000)))
         (call $emit_i32 (call $clock_res_get (i32.const 0) (i32.const 2000)))
         (call $emit_i32 (i32.load (i32.const 2000)))
         (call $emit_i32 (call $random_get (i32.const 2000) (i32.const 3)))
         (call $emit_i32 (i32.load (i32.const 2000)))
         (call $emit_i32 (call $fd_prestat_get (i32.const 2) (i32.const 2000)))
         (call $emit_i32 (call $fd_prestat_get (i32.const 3) (i32.const 2000)))
         (call $emit_i32 (call $fd_read (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000)))
         (call $emit_i32 (call $fd_write (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 2000)))
         (call $emit_i32 (call $get_schema_definition_len (i32.const 1) (i32.const 2000)))",
    );
    let (inval, nosys, badf, success) = (16, 52, 8, 0);
    assert_eq!(
        run_i32(&mut start(&module), &batch(&[b"x"])),
        [inval, inval, success, 1_000_000, success, 0x0009_0909, nosys, badf, nosys, nosys, -1]
    );
}

#[test]
fn sleeping_takes_no_time_and_files_are_not_there() {
    let module = guest_with(
        r#"(data (i32.const 2000) "\2a\00\00\00\00\00\00\00\00")
           (data (i32.const 2048) "\2b\00\00\00\00\00\00\00\01")"#,
        "",
        "(call $emit_i32 (call $poll_oneoff (i32.const 2000) (i32.const 3000) (i32.const 2) (i32.const 3100)))
         (call $emit_i32 (i32.load (i32.const 3100)))
         (call $emit_i32 (i32.load (i32.const 3000)))
         (call $emit_i32 (i32.load (i32.const 3008)))
         (call $emit_i32 (i32.load (i32.const 3032)))
         (call $emit_i32 (i32.load (i32.const 3040)))
         (i32.store8 (i32.const 2008) (i32.const 3))
         (call $emit_i32 (call $poll_oneoff (i32.const 2000) (i32.const 3000) (i32.const 1) (i32.const 3100)))
         (i32.store8 (i32.const 2008) (i32.const 0))",
    );
    let fd_read_not_supported = 1 << 16 | 52;
    assert_eq!(
        run_i32(&mut start(&module), &batch(&[b"x"])),
        [0, 2, 42, 0, 43, fd_read_not_supported, 52]
    );
}

#[test]
fn what_is_printed_is_one_message_a_call() {
    // Two slices to stdout, one to stderr, one with a carriage return, and one of 1,030 bytes.
    let module = guest_with(
        r#"(data (i32.const 2000) "hello, world\0a" "no\0d")
           (data (i32.const 2100) "\d0\07\00\00\07\00\00\00" "\d7\07\00\00\06\00\00\00")
           (data (i32.const 2116) "\dd\07\00\00\03\00\00\00" "\b8\0b\00\00\06\04\00\00")
           (func $print (param $fd i32) (param $iovecs i32) (param $count i32)
             (drop (call $fd_write (local.get $fd) (local.get $iovecs) (local.get $count) (i32.const 2200)))
             (call $emit_i32 (i32.load (i32.const 2200))))"#,
        "(memory.fill (i32.const 3000) (i32.const 120) (i32.const 1030))",
        "(call $print (i32.const 1) (i32.const 2100) (i32.const 2))
         (call $print (i32.const 2) (i32.const 2100) (i32.const 1))
         (call $print (i32.const 2) (i32.const 2116) (i32.const 1))
         (call $print (i32.const 1) (i32.const 2124) (i32.const 1))",
    );
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let config = config().log(move |line| {
        sink.lock().unwrap().push((line.level, line.text.map(str::to_owned)));
    });
    let mut vm = Vm::start(&module, config).unwrap();
    assert_eq!(run_i32(&mut vm, &batch(&[b"x"])), [13, 7, 3, 1_030], "what was taken");
    assert_eq!(
        *lines.lock().unwrap(),
        [
            (LogLevel::Info, Ok("hello, world\n".into())),
            (LogLevel::Warn, Ok("hello, ".into())),
            (LogLevel::Warn, Err(LogDrop::ControlCharacter)),
            (LogLevel::Info, Ok("x".repeat(1_024))),
        ]
    );
}

#[test]
fn arguments_that_do_not_fit_are_answered_and_nothing_is_written() {
    let module = guest(
        "",
        "(call $emit_i32 (call $args_get (i32.const 2000) (i32.const 65532)))
         (call $emit_i32 (call $args_get (i32.const 65533) (i32.const 2000)))
         (call $emit_i32 (call $environ_get (i32.const 2000) (i32.const 65500)))
         (call $emit_i32 (i32.load (i32.const 2000)))",
    );
    let inval = 16;
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [inval, inval, inval, 0]);
}

#[test]
fn an_event_keeps_what_the_broker_does_not_set() {
    let module = guest_with(
        r#"(data (i32.const 2000) "\2a\00\00\00\00\00\00\00\09")
           (data (i32.const 3000) "................................")"#,
        "",
        "(call $emit_i32 (call $poll_oneoff (i32.const 2000) (i32.const 3000) (i32.const 1) (i32.const 3100)))
         (call $emit (i32.const 3000) (i32.const 32))
         (i32.store8 (i32.const 2008) (i32.const 1))
         (call $emit_i32 (call $poll_oneoff (i32.const 2000) (i32.const 3000) (i32.const 1) (i32.const 3100)))
         (call $emit (i32.const 3000) (i32.const 32))",
    );
    let values = run(&mut start(&module), &batch(&[b"x"])).unwrap();
    let event = |error: &[u8; 2], tag: u8| {
        [b"\x2a\0\0\0\0\0\0\0", &error[..], &[tag], &[b'.'; 21]].concat()
    };
    assert_eq!(values[0], 52i32.to_le_bytes(), "a kind that nobody knows");
    assert_eq!(values[1], event(b"..", 9));
    assert_eq!(values[2], 0i32.to_le_bytes());
    assert_eq!(values[3], event(&[52, 0], 1));
}

#[test]
fn a_pointer_that_nobody_looks_at_may_be_anything() {
    let module = guest(
        "",
        "(call $emit_i32 (call $fd_prestat_get (i32.const 1) (i32.const -1)))
         (call $emit_i32 (call $fd_prestat_get (i32.const 3) (i32.const -1)))",
    );
    let (nosys, badf) = (52, 8);
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [nosys, badf]);
}

#[test]
fn printing_nothing_is_a_message_too() {
    let module = guest(
        "",
        "(call $emit_i32 (call $fd_write (i32.const 2) (i32.const 2000) (i32.const 0) (i32.const 2200)))",
    );
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&lines);
    let config = config().log(move |line| {
        sink.lock().unwrap().push((line.level, line.text.map(str::to_owned)));
    });
    assert_eq!(run_i32(&mut Vm::start(&module, config).unwrap(), &batch(&[b"x"])), [0]);
    assert_eq!(*lines.lock().unwrap(), [(LogLevel::Warn, Ok(String::new()))]);
}
