//! Real frames and bodies, changed in every way that we could think of, through the real module in
//! the host: each record has the outcome that `normalize` has natively, within the whole contract
//! (`transform/tests/common/contract.rs`), and its bytes do not depend on what shares its batch or
//! its VM, nor on when the VM was started.
//!
//! A failure prints the smallest case and keeps its seed in `mutations.regressions`.

#[path = "../../../transform/tests/common/mod.rs"]
mod common;
mod edit;
mod node;
mod record;
mod seeds;
mod vm;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use tickpanda_host::Vm;
use tickpanda_transform::Normalizer;

use record::RecordOf;
use vm::{Written, printed, run, start};

/// A VM that has seen every record of every case, as one in the broker has after some days.
static OLD: std::sync::Mutex<Option<Vm>> = std::sync::Mutex::new(None);

fn in_the_old_vm(records: &[&RecordOf]) -> Written {
    // A VM that trapped is not put back.
    let mut vm = OLD.lock().unwrap().take().unwrap_or_else(start);
    let written = run(&mut vm, records);
    *OLD.lock().unwrap() = Some(vm);
    written
}

/// Asserts everything that is said above of these records, in this order.
fn check(records: &[RecordOf], cuts: u16, restarts: u16) {
    let mut vm = start();
    let mut normalizer = Normalizer::default();
    let mut alone = Vec::new();
    for record in records {
        let written = run(&mut vm, &[record]);
        let natively = common::run_with(&mut normalizer, &record.raw());
        let seen = vm::seen(&written, natively.outcome);
        assert_eq!(seen, natively, "the module gives something else than the library");
        common::contract::check(&record.raw(), &seen);
        alone.push(written);
    }
    let all: Vec<&RecordOf> = records.iter().collect();
    assert_eq!(in_the_old_vm(&all), alone.concat(), "in one batch, in a VM that is not fresh");

    // Other batches, and the VM started anew between some of them.
    let (mut split, mut begun) = (Vec::new(), 0);
    let mut vm = start();
    for next in 1..=records.len() {
        if next == records.len() || cuts >> (next % 16) & 1 == 1 {
            split.extend(run(&mut vm, &all[begun..next]));
            begun = next;
            if restarts >> (next % 16) & 1 == 1 {
                vm = start();
            }
        }
    }
    assert_eq!(split, alone.concat(), "cut at {cuts:#b}, restarted at {restarts:#b}");

    // A VM for each partition; above, all shared one and took turns.
    for partition in 0..record::PARTITIONS {
        let of_it = |n: &usize| records[*n].partition == partition;
        let its: Vec<usize> = (0..records.len()).filter(of_it).collect();
        if its.len() == records.len() || its.is_empty() {
            continue;
        }
        let batch: Vec<&RecordOf> = its.iter().map(|n| &records[*n]).collect();
        let expected: Written = its.iter().flat_map(|n| alone[*n].clone()).collect();
        assert_eq!(run(&mut start(), &batch), expected, "partition {partition} by itself");
    }
    assert_eq!(printed(), Vec::<String>::new(), "no record makes the module print");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1_200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/mutations/mutations.regressions"
        )))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn mutated_frames_give_the_same_bytes_whatever_shares_their_batch_and_vm(
        records in prop::collection::vec(record::mutated(), 1..10),
        cuts: u16,
        restarts: u16,
    ) {
        check(&records, cuts, restarts);
    }
}

#[test]
fn real_frames_and_bodies_do_not_depend_on_their_company() {
    for records in seeds::all().chunks(16) {
        check(&records.iter().map(record::unchanged).collect::<Vec<_>>(), 0b1001_0010, 0b1000_0000);
    }
}
