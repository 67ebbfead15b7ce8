//! What a client in another language does with topics, settings and groups: a row for each thing.

use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use super::records::{Record, STEP, all};
use super::remote::Remote;
use crate::table::{Peer, Table};

/// What a client has a call for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Can {
    pub(super) log_dirs: bool,
    /// AlterConfigs, which newer clients have given up for IncrementalAlterConfigs.
    pub(super) replace: bool,
    /// Groups of KIP-848, and says where they are not served.
    pub(super) new_protocol: bool,
}

const PARTITIONS: i32 = 4;

/// Adds the rows of one client.
pub(super) async fn run(
    table: &mut Table,
    peer: &Peer,
    remote: &Arc<Remote>,
    can: Can,
    cluster: &str,
) {
    let name = peer.name().replace(' ', "-");
    let work = Work {
        remote: Arc::clone(remote),
        topic: format!("work-{name}"),
        group: format!("group-{name}"),
        cluster: cluster.to_owned(),
        can,
    };
    macro_rules! row {
        ($what:expr, $method:ident) => {{
            let work = work.clone();
            table.check(peer, $what, async move { work.$method().await }).await;
        }};
    }
    row!("creates a topic with settings, and sees it", create);
    row!("reads from an offset, finds offsets by time", offsets);
    row!(
        "consumer group: reads all, shares with a second member, commits, has all again when it leaves",
        group
    );
    row!("lists and describes groups, reads committed offsets, deletes the group", groups);
    let whole = if can.replace { ", all at once too" } else { "" };
    row!(format!("describes and alters settings{whole}; what is not served is refused"), settings);
    row!("adds partitions, and writes to a new one", grow);
    row!("deletes records", delete_records);
    let dirs = if can.log_dirs { ", log dirs" } else { "" };
    row!(format!("describes the cluster{dirs}; there are no ACLs"), cluster);
    row!("is refused a transaction at once", transaction);
    if can.new_protocol {
        row!("is told that groups of KIP-848 are not served", new_protocol);
    }
    row!("deletes the topic", delete);
}

#[derive(Clone)]
struct Work {
    remote: Arc<Remote>,
    topic: String,
    group: String,
    cluster: String,
    can: Can,
}

impl Work {
    /// A command on the topic and the group, with what it needs besides.
    async fn call(&self, what: &str, more: Value) -> Result<Value> {
        let mut command = json!({"do": what, "topic": self.topic, "group": self.group});
        if let (Some(command), Value::Object(more)) = (command.as_object_mut(), more) {
            command.extend(more);
        }
        self.remote.call(command).await
    }

    async fn create(&self) -> Result<()> {
        let configs = json!({"retention.ms": "100000000"});
        self.call("create", json!({"partitions": PARTITIONS, "configs": configs})).await?;
        let topics = self.call("topics", json!({})).await?;
        let topics = topics["topics"].as_array().cloned().unwrap_or_default();
        ensure!(topics.contains(&json!(self.topic)), "{topics:?}");
        Ok(())
    }

    async fn produce(&self, partition: i32, records: &[Record]) -> Result<Value> {
        let more = json!({"partition": partition, "codec": "lz4", "records": records});
        self.call("produce", more).await
    }

    async fn offsets(&self) -> Result<()> {
        let records = all();
        for partition in 0..PARTITIONS {
            self.produce(partition, &records).await?;
        }
        let more = json!({"partition": 1, "from": 3, "count": records.len() - 3});
        let read = self.call("read", more).await?;
        let first = &read["records"][0];
        ensure!(first["offset"] == 3 && first["value"].is_null(), "{first}");
        for (offset, record) in (0..).zip(&records) {
            let more = json!({"partition": 2, "at": record.timestamp - STEP / 2});
            let found = self.call("time", more).await?["offset"].clone();
            ensure!(found == json!(offset), "{found} is found instead of {offset}");
        }
        Ok(())
    }

    fn count(&self) -> usize {
        all().len() * usize::try_from(PARTITIONS).unwrap_or_default()
    }

    async fn group(&self) -> Result<()> {
        let more = json!({"partitions": PARTITIONS, "count": self.count()});
        let told = self.call("group", more).await?;
        let everything = json!((0..PARTITIONS).collect::<Vec<_>>());
        ensure!(told["first"] == everything && told["last"] == everything, "{told}");
        let of = |member: usize| told["shared"][member].as_array().cloned().unwrap_or_default();
        let (a, b) = (of(0), of(1));
        let mut both = [a.clone(), b.clone()].concat();
        both.sort_by_key(Value::as_i64);
        ensure!(json!(both) == everything && a.len() == b.len(), "{told}");
        ensure!(told["state"] == "Stable" && told["members"] == 2, "{told}");
        ensure!(told["read"] == json!(self.count()), "{told}");
        ensure!(told["again"] == 0, "what was committed is read again: {told}");
        Ok(())
    }

    async fn groups(&self) -> Result<()> {
        let committed = self.call("committed", json!({})).await?;
        let each = json!(all().len());
        for partition in 0..PARTITIONS {
            let offset = &committed["offsets"][partition.to_string()];
            ensure!(*offset == each, "{committed}");
        }
        let named = json!(self.group);
        let has =
            |groups: &Value| groups["groups"].as_array().is_some_and(|it| it.contains(&named));
        let listed = self.call("groups", json!({})).await?;
        ensure!(has(&listed), "{listed}");
        let described = self.call("describe_group", json!({})).await?;
        ensure!(described["state"] == "Empty" && described["members"] == 0, "{described}");
        self.call("delete_group", json!({})).await?;
        let listed = self.call("groups", json!({})).await?;
        ensure!(!has(&listed), "it is still there: {listed}");
        Ok(())
    }

    async fn configs(&self) -> Result<Value> {
        Ok(self.call("configs", json!({})).await?["configs"].take())
    }

    async fn settings(&self) -> Result<()> {
        let configs = self.configs().await?;
        ensure!(configs["retention.ms"] == "100000000", "{configs}");
        let more = json!({"configs": {"retention.bytes": "123456789", "retention.ms": null}});
        self.call("alter", more).await?;
        let configs = self.configs().await?;
        let (ms, bytes) = (&configs["retention.ms"], &configs["retention.bytes"]);
        ensure!(ms == "-1" && bytes == "123456789", "{configs}");
        let refused = self.call("alter", json!({"configs": {"cleanup.policy": "compact"}})).await;
        ensure!(refused.is_err(), "compaction is not served, and was taken");
        if self.can.replace {
            self.call("replace", json!({"configs": {"segment.bytes": "1000000"}})).await?;
            let configs = self.configs().await?;
            ensure!(configs["segment.bytes"] == "1000000", "{configs}");
        }
        Ok(())
    }

    async fn grow(&self) -> Result<()> {
        self.call("grow", json!({"partitions": PARTITIONS + 2})).await?;
        let produced = self.produce(PARTITIONS + 1, &all()[..1]).await?;
        ensure!(produced["offsets"] == json!([0]), "{produced}");
        let fewer = self.call("grow", json!({"partitions": 1})).await;
        ensure!(fewer.is_err(), "partitions were taken away");
        Ok(())
    }

    async fn delete_records(&self) -> Result<()> {
        let deleted = self.call("delete_records", json!({"partition": 0, "from": 5})).await?;
        ensure!(deleted["low"] == 5, "{deleted}");
        let beyond = self.call("delete_records", json!({"partition": 0, "from": 1000})).await;
        ensure!(beyond.is_err(), "records were deleted that never were");
        Ok(())
    }

    async fn cluster(&self) -> Result<()> {
        let cluster = self.call("cluster", json!({})).await?;
        ensure!(cluster["id"] == json!(self.cluster) && cluster["brokers"] == 1, "{cluster}");
        if self.can.log_dirs {
            let dirs = self.call("log_dirs", json!({})).await?;
            let size = dirs["sizes"][format!("{}-1", self.topic)].as_i64();
            ensure!(size.is_some_and(|size| size > 500), "{dirs}");
        }
        self.refused("acls").await
    }

    async fn transaction(&self) -> Result<()> {
        self.refused("transaction").await
    }

    async fn new_protocol(&self) -> Result<()> {
        self.refused("new_protocol").await
    }

    async fn refused(&self, what: &str) -> Result<()> {
        let answer = self.call(what, json!({})).await?;
        match answer["refused"].as_str() {
            Some(why) if !why.is_empty() => Ok(()),
            _ => bail!("{what} was not refused: {answer}"),
        }
    }

    async fn delete(&self) -> Result<()> {
        self.call("delete", json!({})).await?;
        let topics = self.call("topics", json!({})).await?;
        let topics = topics["topics"].as_array().cloned().unwrap_or_default();
        ensure!(!topics.contains(&json!(self.topic)), "{topics:?}");
        Ok(())
    }
}
