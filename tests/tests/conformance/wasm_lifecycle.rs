//! `wasm/tests/wasm_lifecycle_test.cc`: how a transform starts, ends and starts again.

use tickpanda_host::{HostError, Vm};

use crate::fixture::{config, execute, listening, module, start, tiny_batch, transform, values};

#[test]
fn a_stopped_transform_works_when_it_is_started_again() {
    drop(start("identity"));
    assert_eq!(transform(&mut start("identity"), &tiny_batch()).unwrap().len(), 1);

    let mut vm = start("counter");
    assert_eq!(values(&mut vm, &tiny_batch()).unwrap(), ["1"]);
    assert_eq!(values(&mut vm, &tiny_batch()).unwrap(), ["2"], "memory stays from batch to batch");
    drop(vm);
    assert_eq!(values(&mut start("counter"), &tiny_batch()).unwrap(), ["1"], "and ends with it");
}

/// The error of a start, and what was printed before it.
fn failing_start(guest: &str) -> (HostError, String) {
    let (config, lines) = listening(config());
    let error = Vm::start(&module(guest), config).unwrap_err();
    assert!(matches!(error, HostError::Start { .. }), "{error}");
    let lines = lines.lock().unwrap();
    (error, lines.iter().map(|(_, text)| text.as_str()).collect())
}

#[test]
fn a_panic_in_main_fails_the_start() {
    let (error, said) = failing_start("setup-panic");
    assert!(error.to_string().contains("(code UNREACHABLE_CODE_REACHED)"), "{error}");
    assert!(said.contains("no setup"), "{said}");
}

#[test]
fn a_main_that_returns_fails_the_start() {
    let (error, said) = failing_start("early-return");
    assert!(error.to_string().ends_with("failed at start: vm has exited"), "{error}");
    assert_eq!(said, "");
}

/// The error of a batch, twice: before and after the transform is started again.
fn failing_twice(guest: &str, message: &str) {
    for _ in 0..2 {
        let (config, lines) = listening(config());
        let mut vm = Vm::start(&module(guest), config).unwrap();
        let error = transform(&mut vm, &tiny_batch()).unwrap_err();
        assert!(matches!(error, HostError::Trap { .. }), "{error}");
        assert!(error.to_string().contains("(code UNREACHABLE_CODE_REACHED)"), "{error}");
        let said: String = lines.lock().unwrap().iter().map(|(_, text)| text.as_str()).collect();
        assert!(said.contains(message), "{said}");
        assert!(matches!(transform(&mut vm, &tiny_batch()), Err(HostError::Ended { .. })));
    }
}

#[test]
fn a_panic_on_a_record_fails_the_batch() {
    failing_twice("transform-panic", "no transform");
}

#[test]
fn an_error_for_a_record_fails_the_batch_again_after_a_restart() {
    failing_twice("transform-error", "transforming record failed: \"refused\"");
}

#[test]
fn poison_and_bomb_end_the_vm_that_did_everything_before_them() {
    for (command, message) in [("poison", "poisoned"), ("bomb", "bombed")] {
        let (config, lines) = listening(config());
        let mut vm = Vm::start(&module("dynamic"), config).unwrap();
        assert_eq!(execute(&mut vm, "mirror", b"").unwrap(), 1);
        let error = execute(&mut vm, command, b"").unwrap_err();
        assert!(matches!(error, HostError::Trap { .. }), "{error}");
        let said: String = lines.lock().unwrap().iter().map(|(_, text)| text.as_str()).collect();
        assert!(said.contains(message), "{said}");
    }
}
