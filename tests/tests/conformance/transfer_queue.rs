//! `transform/tests/transfer_queue_test.cc` and `memory_limiter_test.cc`: what waits between reading,
//! transforming and writing. Here nothing does: a batch is written before the next is read. So what is
//! left of their cases is that the memory is bounded, the order kept, and that one item always fits.

use tickpanda_host::{Limits, Outputs, Record, Vm, VmConfig};

use crate::cluster::{Cluster, record};
use crate::fixture::{batch, config, module, payload};

#[test]
fn what_a_batch_writes_keeps_its_order_and_its_memory_is_bounded() {
    let limits = Limits { output_bytes: 10_000, ..config().limits };
    let mut vm = Vm::start(&module("dynamic"), VmConfig { limits, ..config() }).unwrap();
    let values: Vec<String> = (0..100).map(|n: u32| n.to_string()).collect();
    let records: Vec<Record<'_>> =
        values.iter().map(|v| Record::new(Some(b"double"), Some(v.as_bytes()))).collect();
    let mut outputs = Outputs::default();
    vm.transform(&batch(&records), &mut outputs).unwrap();
    let expected: Vec<_> = records.iter().flat_map(|r| [payload(r), payload(r)]).collect();
    assert!(outputs.iter().map(|output| output.payload).eq(&expected), "first in, first out");

    // The same vm, whose buffer has been emptied, and then a batch that is too much.
    let large = "x".repeat(1_000);
    let large = Record::new(Some(b"double"), Some(large.as_bytes()));
    let batch_of = |count| batch(&vec![large.clone(); count]);
    vm.transform(&batch_of(4), &mut outputs).unwrap();
    assert_eq!(outputs.len(), 8);
    let error = vm.transform(&batch_of(5), &mut outputs).unwrap_err();
    assert!(error.to_string().contains("exceeds 10000 bytes"), "{error}");
    assert!(outputs.bytes() <= 10_000);
}

#[tokio::test]
async fn a_batch_larger_than_what_is_read_at_once_goes_through() {
    let cluster = Cluster::start(&[("in", 1), ("out", 1)]).await;
    cluster.deploy("identity", "in", &["out"]).await;
    // The broker reads 128 KiB at once, and always a whole batch.
    let value = "x".repeat(200 << 10);
    for count in [1, 4] {
        cluster.produce("in", 0, vec![record("key", &value); count]).await;
    }
    let values = cluster.values("out", 0, 5).await;
    assert!(values.iter().all(|got| *got == value));
}
