//! How many records a second one VM passes: `cargo run --release -p tickpanda-host --example throughput`.
//!
//! The guest does nothing but copy, so this is what the host, the broker's checks and the fuel
//! cost; a real transform's own work comes on top.

use std::time::{Duration, Instant};

use tickpanda_host::{Batch, Module, Outputs, Record, Vm, VmConfig};

const RECORDS: usize = 1_000;
const VALUE: [u8; 200] = [b'x'; 200];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::compile(&wat::parse_str(include_str!("../tests/data/identity.wat"))?)?;
    let mut vm = Vm::start(&module, VmConfig::new("identity", "in", ["out"]))?;
    let mut builder = Batch::builder();
    for _ in 0..RECORDS {
        builder = builder.record(1_700_000_000_000, &Record::value(&VALUE));
    }
    let batch = builder.build()?;

    let mut out = Outputs::default();
    let mut records = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        vm.transform(&batch, &mut out)?;
        records += out.len();
    }
    let nanos = started.elapsed().as_nanos() / records as u128;
    println!(
        "{RECORDS} records of {} bytes a batch: {nanos} ns a record, {} records/s",
        VALUE.len(),
        1_000_000_000 / nanos
    );
    Ok(())
}
