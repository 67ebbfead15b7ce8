//! How many records a second one VM passes: `cargo run --release -p tickpanda-host --example host-throughput`.
//!
//! The guest does nothing but copy, so this is what the host, the broker's checks and the fuel
//! cost; a real transform's own work comes on top.

use std::time::{Duration, Instant};

use tickpanda_host::{Batch, Module, Outputs, Record, Vm, VmConfig};

const VALUE: [u8; 200] = [b'x'; 200];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let module = Module::compile(&wat::parse_str(include_str!("../tests/data/identity.wat"))?)?;
    let mut vm = Vm::start(&module, VmConfig::new("identity", "in", ["out"]))?;
    let mut out = Outputs::default();
    // Small batches show what handing a batch to the VM's thread and back costs.
    for size in [1, 100, 10_000] {
        let record = Record::value(&VALUE);
        let batch = (0..size)
            .fold(Batch::builder(), |b, _| b.record(1_700_000_000_000, &record))
            .build()?;
        let mut records = 0;
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(2) {
            vm.transform(&batch, &mut out)?;
            records += out.len();
        }
        let nanos = started.elapsed().as_nanos() / records as u128;
        println!(
            "{size:>6} records a batch: {nanos:>6} ns a record, {:>9} records/s",
            1_000_000_000 / nanos
        );
    }
    Ok(())
}
