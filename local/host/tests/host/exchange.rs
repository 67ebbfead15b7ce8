//! Records in, records out: what is shown to the guest, and the codes it is answered with.

use super::*;
use tickpanda_host::BatchHeader;

#[test]
fn records_pass_through_the_identity_verbatim_and_in_order() {
    let mut vm = start(&compile(IDENTITY).unwrap());
    let mut out = Outputs::default();
    for round in [b"1", b"2", b"3"] {
        let records = [
            Record::new(Some(b"key"), Some(round)).header("h", Some(b"v")).header("null", None),
            Record::new(None, None),
            Record::new(Some(b""), Some(b"")),
        ];
        let mut builder = Batch::builder();
        for record in &records {
            builder = builder.record(1, record);
        }
        vm.transform(&builder.build().unwrap(), &mut out).unwrap();
        assert_eq!(out.iter().map(|o| o.record()).collect::<Vec<_>>(), records);
        assert!(out.iter().all(|o| o.topic == 0));
    }
}

#[test]
fn the_header_reaches_the_guest_field_by_field() {
    // It writes the 56 bytes that `read_batch_header` filled, for its one record.
    let mut vm = start(&guest("", "(call $emit (i32.const 0) (i32.const 56))"));
    let header = BatchHeader {
        base_offset: 0x0102_0304_0506,
        record_count: 1,
        partition_leader_epoch: 9,
        attributes: 0b1_0100,
        last_offset_delta: 0,
        base_timestamp: 1_111_111_111_111,
        max_timestamp: 2_222_222_222_222,
        producer_id: 77,
        producer_epoch: 5,
        base_sequence: 6,
    };
    let record = [14u8, 0, 0, 0, 1, 2, b'x', 0];
    let values = run(&mut vm, &Batch::new(header, record.to_vec()).unwrap()).unwrap();
    let mut expected = Vec::new();
    expected.extend(header.base_offset.to_le_bytes());
    expected.extend(1i32.to_le_bytes());
    expected.extend(9i32.to_le_bytes());
    expected.extend(0b1_0000i16.to_le_bytes()); // what was compressed no longer is
    expected.extend([0; 2]); // padding of the test's layout
    expected.extend(0i32.to_le_bytes());
    expected.extend(header.base_timestamp.to_le_bytes());
    expected.extend(header.max_timestamp.to_le_bytes());
    expected.extend(77i64.to_le_bytes());
    expected.extend(5i16.to_le_bytes());
    expected.extend([0; 2]);
    expected.extend(6i32.to_le_bytes());
    assert_eq!(values, [expected]);
}

#[test]
fn a_record_has_its_absolute_offset_and_time() {
    let mut vm = start(&guest("", "(call $emit (i32.const 64) (i32.const 16))"));
    let batch = Batch::builder()
        .base_offset(100)
        .record(1_000, &Record::value(b"a"))
        .record(990, &Record::value(b"b"))
        .build()
        .unwrap();
    let told = |time: i64, offset: i64| [time.to_le_bytes(), offset.to_le_bytes()].concat();
    assert_eq!(run(&mut vm, &batch).unwrap(), [told(1_000, 100), told(990, 101)]);
}

#[test]
fn the_header_says_how_large_the_largest_record_is() {
    let module = raw_guest(
        "",
        "(local $size i32)
        (loop $batches
          (local.set $size (call $next_batch))
          (call $emit_i32 (local.get $size))
          (call $emit_i32 (call $next_record (local.get $size)))
          (call $emit_i32 (call $next_record (local.get $size)))
          (br $batches))",
    );
    // Null key, length, bytes, no headers.
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"abc", b"abcdef"])), [9, 6, 9]);
}

#[test]
fn a_buffer_too_small_does_not_consume_the_record() {
    let module = raw_guest(
        "",
        "
        (loop $batches
          (drop (call $next_batch))
          (call $emit_i32 (call $next_record (i32.const 5)))
          (call $emit_i32 (call $next_record (i32.const 6)))
          (call $emit_i32 (call $next_record (i32.const 32768)))
          (br $batches))",
    );
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"abc"])), [-2, 6, -1]);
}

#[test]
fn records_left_unread_are_dropped() {
    let module = raw_guest(
        "",
        "
        (loop $batches
          (drop (call $next_batch))
          (drop (call $next_record (i32.const 32768)))
          (call $emit (i32.const 4098) (i32.const 1))
          (br $batches))",
    );
    let mut vm = start(&module);
    assert_eq!(run(&mut vm, &batch(&[b"a", b"b"])).unwrap(), [b"a"]);
    assert_eq!(run(&mut vm, &batch(&[b"c"])).unwrap(), [b"c"]);
}

#[test]
fn outside_a_batch_reads_and_writes_are_refused() {
    let module = guest_with(
        "(global $read (mut i32) (i32.const 0)) (global $written (mut i32) (i32.const 0))",
        "(global.set $read (call $next_record (i32.const 100)))
         (global.set $written (call $write_record (i32.const 0) (i32.const 0)))",
        "(call $emit_i32 (global.get $read)) (call $emit_i32 (global.get $written))",
    );
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [-1, -1]);
}

#[test]
fn options_choose_the_topic_and_are_checked() {
    let module = guest_with(
        r#"(data (i32.const 2000) "\01\0csecond" "\01\06out" "\02\06out" "\01\06out!")
           (func $write_to (param $options i32) (param $options_len i32) (result i32)
             (call $write_record_with_options
               (i32.const 4096) (i32.const 4) (local.get $options) (local.get $options_len)))"#,
        "",
        "(call $emit_i32 (call $write_to (i32.const 2000) (i32.const 8)))
         (call $emit_i32 (call $write_to (i32.const 2008) (i32.const 5)))
         (call $emit_i32 (call $write_to (i32.const 2013) (i32.const 5)))
         (call $emit_i32 (call $write_to (i32.const 2018) (i32.const 6)))
         (call $emit_i32 (call $write_to (i32.const 2000) (i32.const 0)))
         (call $emit_i32 (call $write_record (i32.const 4096) (i32.const 2)))
         (call $emit_i32 (call $write_record (i32.const 4096) (i32.const 5)))",
    );
    let mut out = Outputs::default();
    start(&module).transform(&batch(&[b"x"]), &mut out).unwrap();
    let codes: Vec<i32> = out
        .iter()
        .filter_map(|o| Some(i32::from_le_bytes(o.record().value?.try_into().ok()?)))
        .collect();
    let (written, unknown_topic, invalid) = (4, -3, -2);
    assert_eq!(codes, [written, unknown_topic, invalid, invalid, written, invalid, invalid]);
    let topics: Vec<usize> = out.iter().filter(|o| o.payload.len() == 4).map(|o| o.topic).collect();
    assert_eq!(topics, [1, 0], "by name, and by default");
}

#[test]
fn an_empty_batch_never_reaches_the_guest() {
    let mut vm = start(&guest("", "(unreachable)"));
    assert!(run(&mut vm, &batch(&[])).unwrap().is_empty());
    assert!(run(&mut vm, &batch(&[b"x"])).is_err());
}

#[test]
fn the_guests_memory_lasts_from_batch_to_batch() {
    let module = guest_with(
        "(global $count (mut i32) (i32.const 0))",
        "",
        "(global.set $count (i32.add (global.get $count) (i32.const 1))) (call $emit_i32 (global.get $count))",
    );
    let mut vm = start(&module);
    assert_eq!(run_i32(&mut vm, &batch(&[b"x", b"x"])), [1, 2]);
    assert_eq!(run_i32(&mut vm, &batch(&[b"x"])), [3]);
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [1], "but not from VM to VM");
}

#[test]
fn options_that_are_cut_off_read_as_zeros() {
    // The key alone names the topic "", and a length whose end is missing counts what is there.
    let module = guest_with(
        r#"(data (i32.const 2000) "\01" "\01\80" "\01\00x" "\01\0asecond")
           (func $write_to (param $options i32) (param $options_len i32) (result i32)
             (call $write_record_with_options
               (i32.const 4096) (i32.const 4) (local.get $options) (local.get $options_len)))"#,
        "",
        "(call $emit_i32 (call $write_to (i32.const 2000) (i32.const 1)))
         (call $emit_i32 (call $write_to (i32.const 2001) (i32.const 2)))
         (call $emit_i32 (call $write_to (i32.const 2003) (i32.const 3)))
         (call $emit_i32 (call $write_to (i32.const 2006) (i32.const 8)))",
    );
    let (unknown_topic, invalid) = (-3, -2);
    assert_eq!(
        run_i32(&mut start(&module), &batch(&[b"x"])),
        [unknown_topic, unknown_topic, invalid, invalid]
    );
}

#[test]
fn a_bad_record_is_answered_before_its_options_are_looked_at() {
    // A length beyond the options would be a trap.
    let module = guest_with(
        r#"(data (i32.const 2000) "\01\7e" "\03")
           (global $outside (mut i32) (i32.const 0))"#,
        "(global.set $outside (call $write_record_with_options
           (i32.const 2002) (i32.const 1) (i32.const 2000) (i32.const 2)))",
        "(call $emit_i32 (global.get $outside))
         (call $emit_i32 (call $write_record_with_options
           (i32.const 2002) (i32.const 1) (i32.const 2000) (i32.const 2)))",
    );
    let (no_batch, invalid) = (-1, -2);
    assert_eq!(run_i32(&mut start(&module), &batch(&[b"x"])), [no_batch, invalid]);
}

#[test]
fn a_truncated_record_is_taken_as_the_broker_takes_it() {
    let module = guest("", "(call $emit_i32 (call $write_record (i32.const 4096) (i32.const 0)))");
    let mut out = Outputs::default();
    start(&module).transform(&batch(&[b"x"]), &mut out).unwrap();
    let payloads: Vec<usize> = out.iter().map(|output| output.payload.len()).collect();
    assert_eq!(payloads[0], 0, "quirk: nothing at all is a record");
}
