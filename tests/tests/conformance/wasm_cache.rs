//! `wasm/tests/wasm_cache_test.cc`: one VM of a transform serves all partitions, and what a failure
//! on one of them does to the others.

use tickpanda_broker::TransformState;
use tickpanda_host::{Batch, Module, Record, Vm};
use tickpanda_tests::wasm;

use crate::cluster::{Cluster, record, until};
use crate::fixture::{config, values};

#[tokio::test]
async fn one_vm_serves_all_partitions_of_a_transform() {
    let cluster = Cluster::start(&[("in", 3), ("out", 3)]).await;
    cluster.deploy("counter", "in", &["out"]).await;
    for (round, partition) in [0, 1, 2, 0, 1, 2].into_iter().enumerate() {
        cluster.produce("in", partition, vec![record("key", "value")]).await;
        let seen = cluster.values("out", partition, 1 + round / 3).await;
        assert_eq!(seen.last().unwrap(), &(round + 1).to_string(), "partition {partition}");
    }
}

#[tokio::test]
async fn a_failure_on_one_partition_restarts_the_vm_once_and_the_others_go_on() {
    let cluster = Cluster::start_resting_long(&[("in", 2), ("out", 2)]).await;
    cluster.deploy("counter", "in", &["out"]).await;
    cluster.produce("in", 1, vec![record("key", "value")]).await;
    assert_eq!(cluster.values("out", 1, 1).await, ["1"]);

    cluster.produce("in", 0, vec![record("bomb", "")]).await;
    until("partition 0 has failed", || cluster.status("counter", 0).failures > 0).await;
    assert!(matches!(cluster.status("counter", 0).state, TransformState::Errored(_)));
    for count in 2..5 {
        cluster.produce("in", 1, vec![record("key", "value")]).await;
        cluster.read("out", 1, count).await;
    }
    assert_eq!(cluster.values("out", 1, 4).await, ["1", "1", "2", "3"], "it began anew once");
    let status = cluster.status("counter", 1);
    assert_eq!((status.state, status.failures), (TransformState::Running, 0));
    assert_eq!(cluster.status("counter", 0).failures, 1);
    assert_eq!(cluster.count("out"), 4, "nothing came out of the bomb");
}

#[test]
fn a_module_compiled_once_starts_any_number_of_vms_and_ends_with_the_last() {
    let tiny = Batch::builder().record(0, &Record::value(b"x")).build().unwrap();
    for _ in 0..2 {
        let module = Module::compile(&wasm::guest("counter")).unwrap();
        let mut vms: Vec<_> = (0..3).map(|_| Vm::start(&module, config()).unwrap()).collect();
        drop(module);
        for vm in &mut vms {
            assert_eq!(values(vm, &tiny).unwrap(), ["1"], "each has its own memory");
        }
    }
}
