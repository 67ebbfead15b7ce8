//! The ends of a guest: how they are told, and that a new one starts afresh.

use super::*;

#[test]
fn a_start_that_returns_is_an_error() {
    let error = Vm::start(&raw_guest("", "(call $check_abi)"), config()).unwrap_err();
    assert_eq!(error.to_string(), "transform test failed at start: vm has exited");
    assert!(error.is_transient());
}

#[test]
fn a_start_that_traps_tells_where() {
    let module = raw_guest("(func $setup (unreachable))", "(call $setup)");
    let error = Vm::start(&module, config()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "transform test failed at start: wasm trap: wasm `unreachable` instruction executed \
         (code UNREACHABLE_CODE_REACHED)\n  guest::setup\n  guest::main"
    );
}

#[test]
fn returning_after_the_start_fails_the_batch() {
    let module = raw_guest("", "(drop (call $next_batch))");
    let error = run(&mut start(&module), &batch(&[b"x"])).unwrap_err();
    assert_eq!(error.to_string(), "transform test failed: vm has exited");
}

#[test]
fn exit_is_a_trap_even_with_code_zero() {
    for code in [0, 3] {
        let exit = format!("(call $proc_exit (i32.const {code}))");
        let error = run(&mut start(&guest("", &exit)), &batch(&[b"x"])).unwrap_err();
        let expected = format!(
            "transform test failed: failure executing host function: exited with code: {code}\n  guest::transform\n  guest::main"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_bad_pointer_is_a_trap_not_a_code() {
    for call in [
        "(call $write_record (i32.const 65535) (i32.const 2))",
        "(call $write_record (i32.const -1) (i32.const -1))",
        "(call $write_record_with_options (i32.const 0) (i32.const 0) (i32.const 65536) (i32.const 1))",
        "(call $read_next_record (i32.const 65536) (i32.const 64) (i32.const 72) (i32.const 4096) (i32.const 9))",
        "(call $read_next_record (i32.const 56) (i32.const 65529) (i32.const 72) (i32.const 4096) (i32.const 9))",
        "(call $read_next_record (i32.const 56) (i32.const 64) (i32.const 72) (i32.const 4096) (i32.const -1))",
        "(call $read_batch_header (i32.const 65529) (i32.const 8) (i32.const 12) (i32.const 16) (i32.const 20)
           (i32.const 24) (i32.const 32) (i32.const 40) (i32.const 48) (i32.const 52))",
        "(call $clock_time_get (i32.const 0) (i64.const 1) (i32.const 65530))",
        "(call $random_get (i32.const 0) (i32.const 65537))",
        "(call $fd_write (i32.const 1) (i32.const 65532) (i32.const 1) (i32.const 0))",
        "(call $fd_write (i32.const 1) (i32.const 4096) (i32.const -1) (i32.const 0))",
        "(call $fd_read (i32.const 0) (i32.const 65532) (i32.const 1) (i32.const 0))",
        "(call $poll_oneoff (i32.const 65500) (i32.const 0) (i32.const 1) (i32.const 0))",
        "(call $get_schema_definition_len (i32.const 1) (i32.const 65533))",
    ] {
        let module = guest("", &format!("(drop {call})"));
        let error = run(&mut start(&module), &batch(&[b"x"])).unwrap_err().to_string();
        let text = "failure executing host function: Out of bounds memory access in FFI: ";
        assert!(error.contains(text), "{call}: {error}");
    }
}

#[test]
fn a_bad_length_inside_options_is_a_trap() {
    let module = guest_with(
        r#"(data (i32.const 2000) "\01\0cout")"#,
        "",
        "(drop (call $write_record_with_options (i32.const 4096) (local.get $len) (i32.const 2000) (i32.const 5)))",
    );
    let error = run(&mut start(&module), &batch(&[b"x"])).unwrap_err().to_string();
    assert!(error.contains("failure executing host function: a topic name of 6 bytes"), "{error}");
}

/// Writes each record's first byte, traps on `!`.
fn poisonable() -> Module {
    guest_with(
        "(global $count (mut i32) (i32.const 0))",
        "",
        "(global.set $count (i32.add (global.get $count) (i32.const 1)))
         (if (i32.eq (i32.load8_u (i32.const 4098)) (i32.const 33)) (then (unreachable)))
         (call $emit_i32 (global.get $count))",
    )
}

#[test]
fn after_a_trap_the_vm_is_dead_and_a_new_one_starts_afresh() {
    let module = poisonable();
    let mut vm = start(&module);
    assert_eq!(run_i32(&mut vm, &batch(&[b"a"])), [1]);

    let poison = batch(&[b"a", b"!", b"b"]);
    let mut out = Outputs::default();
    let error = vm.transform(&poison, &mut out).unwrap_err();
    assert!(matches!(error, HostError::Trap { .. }));
    assert_eq!(out.len(), 1, "what it wrote before the poison can be seen");

    let error = vm.transform(&batch(&[b"a"]), &mut out).unwrap_err();
    assert_eq!(error.to_string(), "transform test: this VM has ended, start a new one");
    assert!(out.is_empty());

    let mut vm = start(&module);
    assert_eq!(run_i32(&mut vm, &batch(&[b"a"])), [1], "its memory is new");
    assert!(run(&mut vm, &poison).is_err(), "and the poison is as deadly as before");
}

#[test]
fn dropping_a_vm_ends_its_thread() {
    struct Flag(std::sync::mpsc::Sender<()>);
    impl Drop for Flag {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (sender, dropped) = std::sync::mpsc::channel();
    let flag = Flag(sender);
    let config = config().log(move |_| {
        let _ = &flag;
    });
    let vm = Vm::start(&compile(IDENTITY).unwrap(), config).unwrap();
    assert!(dropped.try_recv().is_err());
    drop(vm);
    assert!(dropped.try_recv().is_ok(), "drop waits for the thread, which owned the callback");
}

#[test]
fn a_panic_in_the_log_callback_is_an_error() {
    let module = guest(
        "",
        "(drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 2000)))",
    );
    let mut vm = Vm::start(&module, config().log(|_| panic!("on purpose"))).unwrap();
    let error = run(&mut vm, &batch(&[b"x"])).unwrap_err();
    assert!(error.to_string().contains("has panicked"), "{error}");
    assert!(matches!(run(&mut vm, &batch(&[b"x"])), Err(HostError::Ended { .. })));
}

#[test]
fn a_config_that_the_broker_refuses_is_refused() {
    let module = compile(IDENTITY).unwrap();
    let topics = |topics: &[&str]| VmConfig::new("test", "in", topics.iter().copied());
    let env =
        |key: &str, value: &str| VmConfig { env: vec![(key.into(), value.into())], ..config() };
    let many = vec![("KEY".to_owned(), "value".to_owned()); 129];
    for (config, part) in [
        (topics(&[]), "it has 0 output topics"),
        (topics(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]), "it has 9 output topics"),
        (topics(&["a", "a"]), "named twice"),
        (topics(&["in"]), "input topic in is also an output topic"),
        (VmConfig::new("", "in", ["out"]), "its name needs 1 to 128 bytes"),
        (VmConfig::new("nul\0", "in", ["out"]), "transform nul\\0: its name needs"),
        (VmConfig { env: many, ..config() }, "it has 129 environment variables"),
        (env("", "x"), "its name has 0 bytes"),
        (env("KEY", ""), "its value has 0 bytes"),
        (env("KEY", &"x".repeat(2_049)), "its value has 2049 bytes"),
        (env("KEY", "a\tb"), "\"KEY\": it has a control character"),
        (env("A=B", "x"), "has a ="),
        (env("REDPANDA_X", "x"), "are the broker's own"),
    ] {
        let error = Vm::start(&module, config).unwrap_err();
        assert!(matches!(error, HostError::Config { .. }));
        assert!(error.to_string().contains(part), "{error}");
    }
}
