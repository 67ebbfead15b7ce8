//! Guests, VMs and batches for the cases that need no topics: what Redpanda's own fixture sets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tickpanda_host::{Batch, HostError, Limits, LogLevel, Module, Outputs, Record, Vm, VmConfig};
use tickpanda_tests::wasm;

/// The time of the fixture's records, in milliseconds.
pub(crate) const RECORD_TIME: i64 = 1_687_201_340_524;
/// The memory that the fixture gives a VM; by default the broker gives 2 MiB.
pub(crate) const MEMORY: usize = 32 << 20;

/// A guest, compiled once for all cases.
pub(crate) fn module(name: &str) -> Module {
    static MODULES: Mutex<Option<HashMap<String, Module>>> = Mutex::new(None);
    // The map is whole after any panic: a module is put in in one step.
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    let modules = modules.get_or_insert_default();
    if !modules.contains_key(name) {
        let module = Module::compile(&wasm::guest(name)).expect("a guest compiles");
        modules.insert(name.to_owned(), module);
    }
    modules[name].clone()
}

/// One input topic, one output topic, the fixture's memory.
pub(crate) fn config() -> VmConfig {
    let limits = Limits { memory: MEMORY, ..Limits::default() };
    VmConfig { limits, ..VmConfig::new("test-transform", "in", ["out"]) }
}

pub(crate) fn start(guest: &str) -> Vm {
    Vm::start(&module(guest), config()).expect("the guest starts")
}

/// What a guest has printed.
pub(crate) type Lines = Arc<Mutex<Vec<(LogLevel, String)>>>;

/// The same configuration, and the messages of a guest that is started with it.
pub(crate) fn listening(config: VmConfig) -> (VmConfig, Lines) {
    let lines = Lines::default();
    let sink = Arc::clone(&lines);
    let config = config.log(move |line| {
        let text = line.text.expect("a message that the broker keeps").to_owned();
        sink.lock().unwrap().push((line.level, text));
    });
    (config, lines)
}

/// One batch of these records, all at the fixture's time.
pub(crate) fn batch(records: &[Record<'_>]) -> Batch {
    let add = |builder: tickpanda_host::BatchBuilder, record| builder.record(RECORD_TIME, record);
    records.iter().fold(Batch::builder(), add).build().expect("a small batch")
}

/// A batch of one record.
pub(crate) fn tiny_batch() -> Batch {
    batch(&[Record::new(Some(b"key"), Some(b"value"))])
}

/// The payloads that come out of one batch.
pub(crate) fn transform(vm: &mut Vm, batch: &Batch) -> Result<Vec<Vec<u8>>, HostError> {
    let mut out = Outputs::default();
    vm.transform(batch, &mut out)?;
    Ok(out.iter().map(|output| output.payload.to_vec()).collect())
}

/// The values that come out of one batch, as text.
pub(crate) fn values(vm: &mut Vm, batch: &Batch) -> Result<Vec<String>, HostError> {
    let mut out = Outputs::default();
    vm.transform(batch, &mut out)?;
    let value = |record: Record<'_>| record.value.unwrap_or_default().to_vec();
    Ok(out.iter().map(|o| String::from_utf8(value(o.record())).expect("text")).collect())
}

/// Has the guest `dynamic` do one thing; how many records come out.
pub(crate) fn execute(vm: &mut Vm, command: &str, value: &[u8]) -> Result<usize, HostError> {
    let record = Record::new(Some(command.as_bytes()), Some(value));
    transform(vm, &batch(&[record])).map(|payloads| payloads.len())
}

/// A record's payload as the host frames it.
pub(crate) fn payload(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    bytes
}
