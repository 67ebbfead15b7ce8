//! `wasm/tests/wasm_resources_test.cc`: what a transform may use, and what too much of it does.

use std::thread;

use tickpanda_host::{HostError, Limits, Vm, VmConfig};

use crate::fixture::{MEMORY, config, execute, module, start, tiny_batch, transform};

fn allocate(vm: &mut Vm, bytes: usize) -> Result<usize, HostError> {
    execute(vm, "allocate", &u32::try_from(bytes).unwrap().to_le_bytes())
}

#[test]
fn memory_is_limited() {
    let mut vm = start("dynamic");
    allocate(&mut vm, 5 << 10).unwrap();
    let error = allocate(&mut vm, MEMORY).unwrap_err();
    assert!(matches!(error, HostError::Trap { .. }));
    assert!(error.to_string().contains("(code UNREACHABLE_CODE_REACHED)"), "{error}");
}

#[test]
fn in_the_brokers_default_memory_a_rust_guest_has_less_than_one_mebibyte() {
    // 1 MiB of the 2 is rustc's stack, unless the module's build.rs asks for less.
    let default = || VmConfig { limits: Limits::default(), ..config() };
    let started = || Vm::start(&module("dynamic"), default()).unwrap();
    allocate(&mut started(), 900 << 10).unwrap();
    let error = allocate(&mut started(), 1 << 20).unwrap_err();
    assert!(error.to_string().contains("(code UNREACHABLE_CODE_REACHED)"), "{error}");
}

#[test]
fn cpu_is_limited_and_meanwhile_others_run() {
    // With the broker's own limit: three seconds there, less where instructions are cheaper.
    let looping = thread::spawn(|| execute(&mut start("dynamic"), "loop", b""));
    let mut other = start("identity");
    let mut batches = 0;
    while !looping.is_finished() {
        assert_eq!(transform(&mut other, &tiny_batch()).unwrap().len(), 1);
        batches += 1;
    }
    // How many depends on the machine; one is enough, since it began while the loop ran.
    assert!(batches > 0, "not one batch beside an endless loop");
    let error = looping.join().unwrap().unwrap_err();
    assert!(matches!(error, HostError::Trap { .. }));
    assert!(error.to_string().contains("(code OUT_OF_FUEL)"), "{error}");
}
