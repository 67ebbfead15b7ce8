//! `transform-sdk/tests/integration_test.go`: the examples of the SDK, deployed to a broker and seen by
//! its clients.

use tickpanda_host::{LogLevel, Record, Vm};

use crate::cluster::{Cluster, record};
use crate::fixture::{batch, config, listening, module, transform};

/// Whether it is the record `testing: niceeeee` with its header.
fn is_the_one(record: &tickpanda_kafka::Record) -> bool {
    let header = record.headers.iter().map(|(key, value)| (&key[..], value.as_deref()));
    record.key.as_deref() == Some(b"testing")
        && record.value.as_deref() == Some(b"niceeeee")
        && header.eq([(&b"header-key"[..], Some(&b"header-value"[..]))])
}

#[tokio::test]
async fn a_record_arrives_with_its_key_value_and_header() {
    let cluster = Cluster::start(&[("foo", 1), ("bar", 1)]).await;
    cluster.deploy("identity", "foo", &["bar"]).await;
    cluster.produce("foo", 0, vec![record("testing", "niceeeee")]).await;
    let records = cluster.read("bar", 0, 1).await;
    assert!(is_the_one(&records[0]), "{records:?}");
}

#[test]
fn a_record_is_logged_as_exactly_one_message() {
    let (config, lines) = listening(config());
    let mut vm = Vm::start(&module("logging"), config).unwrap();
    let record = Record::new(Some(b"testing"), Some(b"hello, world"));
    assert!(transform(&mut vm, &batch(&[record])).unwrap().is_empty());
    let expected = (LogLevel::Warn, "testing:hello, world\n".to_owned());
    assert_eq!(*lines.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_record_arrives_on_each_of_five_topics() {
    let outputs = ["bam", "baz", "qux", "thud", "wham"];
    let topics: Vec<_> = ["zam"].iter().chain(&outputs).map(|topic| (*topic, 1)).collect();
    let cluster = Cluster::start(&topics).await;
    cluster.deploy("tee", "zam", &outputs).await;
    cluster.produce("zam", 0, vec![record("testing", "niceeeee")]).await;
    for topic in outputs {
        let records = cluster.read(topic, 0, 1).await;
        assert!(is_the_one(&records[0]), "{topic}: {records:?}");
    }
}

#[tokio::test]
async fn a_transform_that_finds_no_schema_registry_goes_on() {
    let cluster = Cluster::start(&[("in", 1), ("out", 1)]).await;
    cluster.deploy("schema-registry", "in", &["out"]).await;
    cluster.produce("in", 0, vec![record("testing", "niceeeee")]).await;
    let values = cluster.values("out", 0, 1).await;
    assert!(values[0].contains(r#""create":-1"#), "{values:?}");
}
