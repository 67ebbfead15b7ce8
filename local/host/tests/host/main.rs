//! The host against guests written in WebAssembly's text format, each of which does one thing
//! that a transform may do.

mod check;
mod exchange;
mod failures;
mod limits;
mod modules;
mod profiles;
mod stubs;
mod wasi;

use tickpanda_host::{
    Batch, CompileOptions, HostError, Module, Outputs, Profile, Record, Vm, VmConfig,
};

const IDENTITY: &str = include_str!("../data/identity.wat");
const PRELUDE: &str = include_str!("../data/prelude.wat");

fn compile(wat: &str) -> Result<Module, HostError> {
    Module::compile(&wat::parse_str(wat).expect("the guest is valid text"))
}

/// For the other build of the broker.
fn compile_for(profile: Profile, wat: &str) -> Result<Module, HostError> {
    let options = CompileOptions { profile, ..CompileOptions::default() };
    Module::compile_for(&wat::parse_str(wat).expect("the guest is valid text"), &options)
}

/// A guest that does `setup`, then `record` for each record: `$len` bytes of payload at 4096.
fn guest(setup: &str, record: &str) -> Module {
    guest_with("", setup, record)
}

/// The same with further fields of the module, data for instance.
fn guest_with(fields: &str, setup: &str, record: &str) -> Module {
    let wat = format!(
        "{PRELUDE} {fields}
        (func $transform (param $len i32) {record})
        (func $main (export \"_start\") (local $len i32)
          (call $check_abi)
          {setup}
          (loop $batches
            (drop (call $next_batch))
            (block $exhausted
              (loop $records
                (local.set $len (call $next_record (i32.const 32768)))
                (br_if $exhausted (i32.lt_s (local.get $len) (i32.const 0)))
                (call $transform (local.get $len))
                (br $records)))
            (br $batches))))"
    );
    compile(&wat).expect("the guest compiles")
}

/// A guest whose whole `_start` this is.
fn raw_guest(fields: &str, start: &str) -> Module {
    compile(&format!("{PRELUDE} {fields} (func $main (export \"_start\") {start}))"))
        .expect("the guest compiles")
}

fn config() -> VmConfig {
    VmConfig::new("test", "in", ["first", "second"])
}

fn start(module: &Module) -> Vm {
    Vm::start(module, config()).expect("the guest starts")
}

fn batch(values: &[&[u8]]) -> Batch {
    let mut builder = Batch::builder();
    for value in values {
        builder = builder.record(1_687_201_340_524, &Record::value(value));
    }
    builder.build().expect("a small batch")
}

/// The values that come out of one batch.
fn run(vm: &mut Vm, batch: &Batch) -> Result<Vec<Vec<u8>>, HostError> {
    let mut out = Outputs::default();
    vm.transform(batch, &mut out)?;
    Ok(out.iter().map(|o| o.record().value.unwrap_or_default().to_vec()).collect())
}

/// What `$emit_i32` wrote for each of the batch's records.
fn run_i32(vm: &mut Vm, batch: &Batch) -> Vec<i32> {
    let values = run(vm, batch).expect("the guest works");
    values.iter().map(|v| i32::from_le_bytes(v[..].try_into().expect("4 bytes"))).collect()
}
