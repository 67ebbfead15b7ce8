//! `cluster/tests/plugin_frontend_validation_test.cc`: which deploys the broker takes.

use tickpanda_broker::{BrokerError, TransformSpec};

use crate::cluster::{Cluster, refused, spec};

async fn cluster() -> Cluster {
    Cluster::start(&[("foo", 1), ("bar", 1), ("baz", 1), ("qux", 1)]).await
}

/// An identity from one topic to others.
fn identity(name: &str, input: &str, outputs: &[&str]) -> TransformSpec {
    spec("identity", name, input, outputs)
}

#[tokio::test]
async fn a_right_deploy_is_taken() {
    let cluster = cluster().await;
    cluster.broker.deploy(identity("t", "foo", &["bar"])).await.unwrap();
    assert_eq!(cluster.broker.transform_status().len(), 1);
}

#[tokio::test]
async fn eight_outputs_are_taken_and_none_or_nine_are_refused() {
    let outputs = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    let topics: Vec<_> = ["foo"].iter().chain(&outputs).map(|topic| (*topic, 1)).collect();
    let cluster = Cluster::start(&topics).await;
    refused(&cluster, identity("t", "foo", &outputs)).await;
    refused(&cluster, identity("t", "foo", &[])).await;
    cluster.broker.deploy(identity("t", "foo", &outputs[..8])).await.unwrap();
}

#[tokio::test]
async fn topics_must_exist() {
    let cluster = cluster().await;
    for (input, output) in [("missing", "bar"), ("foo", "missing")] {
        let said = refused(&cluster, identity("t", input, &[output])).await;
        assert!(said.contains("missing"), "{said}");
    }
}

#[tokio::test]
async fn no_transform_may_close_a_circle() {
    let cluster = cluster().await;
    refused(&cluster, identity("x1", "foo", &["foo"])).await;
    cluster.broker.deploy(identity("x1", "foo", &["bar"])).await.unwrap();
    refused(&cluster, identity("x2", "bar", &["foo"])).await;
    for (name, input, output) in [("x2", "bar", "baz"), ("x3", "baz", "qux"), ("x4", "foo", "qux")]
    {
        cluster.broker.deploy(identity(name, input, &[output])).await.unwrap();
    }
    refused(&cluster, identity("x5", "qux", &["foo"])).await;
}

#[tokio::test]
async fn the_environment_has_its_limits() {
    let cluster = cluster().await;
    let env = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let many = |count| (0..count).map(|n| (format!("var_{n}"), "bar".to_owned())).collect();
    let with = |env| TransformSpec { env, ..identity("t", "foo", &["bar"]) };
    for (wrong, limit) in [
        (env("REDPANDA_FOO", "bar"), "the broker's own names"),
        (env(&"a".repeat(1024), "bar"), "128 bytes"),
        (env("foo", &"a".repeat(3 << 10)), "2,048 bytes"),
        (env("foo", ""), "a value"),
        (env("", "bar"), "a name"),
        (env("fo=o", "bar"), "no ="),
        (env("foo", "bar\n"), "no control characters"),
        (many(130), "128 variables"),
    ] {
        let said = refused(&cluster, with(wrong)).await;
        assert!(said.contains("environment variable"), "{limit}: {said}");
    }
    for right in [env(&"a".repeat(128), &"ü".repeat(1024)), many(128)] {
        cluster.broker.deploy(with(right)).await.unwrap();
    }
}

#[tokio::test]
async fn a_deploy_under_the_same_name_keeps_its_topics() {
    let cluster = cluster().await;
    cluster.broker.deploy(identity("t", "foo", &["bar", "baz"])).await.unwrap();
    for (input, outputs) in [
        ("bar", &["foo", "baz"][..]),
        ("foo", &["qux", "baz"]),
        ("foo", &["bar"]),
        ("foo", &["baz", "bar"]),
    ] {
        refused(&cluster, identity("t", input, outputs)).await;
    }
    cluster.broker.deploy(identity("t", "foo", &["bar", "baz"])).await.unwrap();
}

#[tokio::test]
async fn there_are_ten_transforms_at_most() {
    let cluster = cluster().await;
    for n in 0..10 {
        cluster.broker.deploy(identity(&format!("t{n}"), "foo", &["bar"])).await.unwrap();
    }
    let said = refused(&cluster, identity("one-more", "foo", &["bar"])).await;
    assert!(said.contains("limit of 10"), "{said}");
    cluster.broker.deploy(identity("t3", "foo", &["bar"])).await.expect("an update is no more");
}

#[tokio::test]
async fn only_what_is_there_can_be_removed() {
    let cluster = cluster().await;
    let missing = cluster.broker.remove_transform("t").await.unwrap_err();
    assert!(matches!(missing, BrokerError::UnknownTransform(_)), "{missing}");
    cluster.broker.deploy(identity("t", "foo", &["bar"])).await.unwrap();
    cluster.broker.remove_transform("t").await.unwrap();
    assert!(cluster.broker.remove_transform("t").await.is_err());
}
