//! `transform/tests/transform_manager_test.cc`: how a processor is started again, and what a deploy
//! does to it. Time is an argument.

use std::time::{Duration, Instant};

use tickpanda_broker::TransformState;
use tickpanda_host::processor::{Processor, ProcessorState, Timing, Todo};

use crate::cluster::{Cluster, record, spec, until};

/// The broker's wait between a start attempt and the loading of offsets.
const START_DELAY: Duration = Duration::from_secs(3);

/// Fails now, and is started again exactly after `rest`; the time of that start.
fn fails_and_restarts_after(it: &mut Processor, now: Instant, rest: Duration) -> Instant {
    assert_eq!(it.failed(now), rest);
    let just_before = now + rest - Duration::from_millis(1);
    assert_eq!(it.todo(just_before), Todo::Wait(now + rest));
    assert_eq!(it.state(), ProcessorState::Errored);
    assert_eq!(it.todo(now + rest), Todo::Start);
    it.started(now + rest);
    assert_eq!(it.todo(now + rest), Todo::Wait(now + rest + START_DELAY));
    assert_eq!(it.state(), ProcessorState::Inactive);
    now + rest
}

#[test]
fn failures_are_restarted_after_1_2_4_8_and_16_seconds() {
    let mut now = Instant::now();
    let mut it = Processor::new(Timing::broker(), now);
    for rest in [1, 2, 4, 8, 16, 30, 30] {
        now = fails_and_restarts_after(&mut it, now, Duration::from_secs(rest));
    }
    assert_eq!(it.failures(), 7);
}

#[test]
fn the_rest_begins_anew_after_an_hour_without_a_failure() {
    let mut it = Processor::new(Timing::broker(), Instant::now());
    let second = Duration::from_secs(1);
    let now = fails_and_restarts_after(&mut it, Instant::now(), second);
    it.loaded(&[None], 0);
    fails_and_restarts_after(&mut it, now + Duration::from_secs(3600), second);
}

/// `rpk transform list` shows it before anybody has written a record.
#[tokio::test]
async fn a_guest_that_panics_in_main_fails_on_every_partition_without_any_input() {
    let cluster = Cluster::start_resting_long(&[("foo", 2), ("bar", 1)]).await;
    cluster.deploy("setup-panic", "foo", &["bar"]).await;
    for partition in 0..2 {
        until("it has failed", || {
            let status = cluster.status("setup-panic", partition);
            assert_ne!(status.state, TransformState::Running);
            matches!(status.state, TransformState::Errored(why) if why.contains("failed at start"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_redeploy_during_the_rest_starts_at_once() {
    let cluster = Cluster::start_resting_long(&[("foo", 1), ("bar", 1)]).await;
    cluster.deploy("counter", "foo", &["bar"]).await;
    cluster.produce("foo", 0, vec![record("bomb", "value")]).await;
    until("it has failed", || cluster.status("counter", 0).failures > 0).await;
    assert_eq!(cluster.count("bar"), 0);
    // The same transform with a module that takes the record: what the broker's users do.
    cluster.broker.deploy(spec("identity", "counter", "foo", &["bar"])).await.unwrap();
    assert_eq!(cluster.values("bar", 0, 1).await, ["value"]);
}

#[tokio::test]
async fn a_removed_transform_is_gone_also_from_its_rest_and_its_topics_are_free() {
    for (key, failures) in [("key", 0), ("bomb", 1)] {
        let cluster = Cluster::start_resting_long(&[("foo", 1), ("bar", 1), ("qux", 1)]).await;
        cluster.deploy("counter", "foo", &["bar"]).await;
        cluster.produce("foo", 0, vec![record(key, "value")]).await;
        let status = || cluster.status("counter", 0);
        until("it is done or has failed", || status().lag == 0 || status().failures > 0).await;
        assert_eq!(status().failures, failures);
        cluster.broker.remove_transform("counter").await.unwrap();
        assert!(cluster.broker.transform_status().is_empty());
        // The same way the other way round closes no circle, and brings what was written back: 1 or nothing.
        cluster.deploy("identity", "bar", &["foo"]).await;
        let written = 1 - i64::from(failures > 0);
        until("it has come back", || cluster.count("foo") == 1 + written).await;
        cluster.broker.remove_transform("identity").await.unwrap();
        // Nobody takes the next record from foo to bar: another reader of foo has it, and what was there before it,
        // on its way through a whole transform, while bar stays as it is.
        cluster.produce("foo", 0, vec![record("key", "marker")]).await;
        cluster.deploy("identity", "foo", &["qux"]).await;
        let through = usize::try_from(2 + written).unwrap();
        assert_eq!(cluster.values("qux", 0, through).await.last().unwrap(), "marker");
        assert_eq!(cluster.count("bar"), written);
    }
}

#[tokio::test]
async fn a_name_can_be_used_again_for_another_transform() {
    let cluster = Cluster::start(&[("foo", 1), ("bar", 1), ("qux", 1)]).await;
    cluster.deploy("identity", "foo", &["bar"]).await;
    cluster.produce("foo", 0, vec![record("key", "1"), record("key", "2")]).await;
    assert_eq!(cluster.values("bar", 0, 2).await, ["1", "2"]);
    let first = cluster.broker.transform_status()[0].id;
    cluster.broker.remove_transform("identity").await.unwrap();
    cluster.deploy("identity", "foo", &["qux"]).await;
    assert_eq!(cluster.values("qux", 0, 2).await, ["1", "2"], "it does not go on, it begins");
    assert_ne!(cluster.broker.transform_status()[0].id, first);
    assert_eq!(cluster.count("bar"), 2);
}

#[tokio::test]
async fn two_transforms_of_one_topic_do_not_know_each_other() {
    let cluster = Cluster::start_resting_long(&[("foo", 1), ("bar", 1), ("qux", 1)]).await;
    cluster.deploy("identity", "foo", &["bar"]).await;
    cluster.deploy("counter", "foo", &["qux"]).await;
    cluster.produce("foo", 0, vec![record("key", "a")]).await;
    cluster.produce("foo", 0, vec![record("bomb", "b")]).await;
    assert_eq!(cluster.values("bar", 0, 2).await, ["a", "b"]);
    assert_eq!(cluster.values("qux", 0, 1).await, ["1"]);
    until("one has failed", || cluster.status("counter", 0).failures > 0).await;
    assert_eq!(cluster.status("identity", 0).failures, 0);
}
