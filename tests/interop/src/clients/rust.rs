//! rskafka, which is linked: what source and sink are made with.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rskafka::BackoffConfig;
use rskafka::chrono::{TimeZone, Utc};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use rskafka::client::{Client, ClientBuilder};

use super::records::{Headers, Record, STEP, Shown, all, hex, unhex};
use crate::table::{Peer, Table};
use crate::tools;

const PATIENCE: Duration = Duration::from_secs(20);
/// It does not tell itself.
pub(super) fn version() -> String {
    tools::crate_version("rskafka")
}

async fn client(address: &str) -> Result<Client> {
    // By default it tries for ever.
    let backoff = BackoffConfig { deadline: Some(PATIENCE), ..BackoffConfig::default() };
    Ok(ClientBuilder::new(vec![address.to_owned()]).backoff_config(backoff).build().await?)
}

async fn partition(address: &str, topic: &str, index: i32) -> Result<PartitionClient> {
    Ok(client(address).await?.partition_client(topic, index, UnknownTopicHandling::Error).await?)
}

pub(super) async fn write(
    address: &str,
    topic: &str,
    index: i32,
    codec: &str,
    records: &[Record],
) -> Result<()> {
    let compression = match codec {
        "none" => Compression::NoCompression,
        "gzip" => Compression::Gzip,
        "snappy" => Compression::Snappy,
        "lz4" => Compression::Lz4,
        _ => Compression::Zstd,
    };
    let bytes = |text: &Option<String>| text.as_deref().map(unhex).transpose();
    let one = |record: &Record| {
        let headers = record.headers.iter().map(|(key, value)| {
            Ok((key.clone(), bytes(value)?.context("rskafka has no null header values")?))
        });
        let timestamp = Utc.timestamp_millis_opt(record.timestamp).single();
        anyhow::Ok(rskafka::record::Record {
            key: bytes(&record.key)?,
            value: bytes(&record.value)?,
            headers: headers.collect::<Result<_>>()?,
            timestamp: timestamp.context("a time")?,
        })
    };
    let records = records.iter().map(one).collect::<Result<_>>()?;
    partition(address, topic, index).await?.produce(records, compression).await?;
    Ok(())
}

pub(super) async fn read(
    address: &str,
    topic: &str,
    index: i32,
    count: usize,
) -> Result<Vec<Shown>> {
    let partition = partition(address, topic, index).await?;
    let mut shown: Vec<Shown> = Vec::new();
    while shown.len() < count {
        let offset = shown.last().map_or(0, |last| last.offset + 1);
        let (records, _) = partition.fetch_records(offset, 1..1 << 20, 1000).await?;
        ensure!(!records.is_empty(), "only {} records came", shown.len());
        shown.extend(records.into_iter().map(|found| Shown {
            offset: found.offset,
            timestamp: found.record.timestamp.timestamp_millis(),
            key: found.record.key.as_deref().map(hex),
            value: found.record.value.as_deref().map(hex),
            headers: Headers::Last(
                found.record.headers.into_iter().map(|(key, value)| (key, hex(&value))).collect(),
            ),
        }));
    }
    Ok(shown)
}

/// What it can do besides writing and reading. It has no groups, no settings and no idempotence.
pub(super) async fn operate(table: &mut Table, address: &str) {
    let peer = Peer::new("rskafka", version());
    let address = address.to_owned();
    let all = async move { topics(&address).await };
    let what = "creates and deletes a topic, finds offsets by time, deletes records";
    table.check(&peer, what, all).await;
}

async fn topics(address: &str) -> Result<()> {
    let controller = client(address).await?.controller_client()?;
    controller.create_topic("rust", 1, 1, 5000).await?;
    let records: Vec<Record> = all().into_iter().filter(|it| !it.repeats_headers()).collect();
    write(address, "rust", 0, "zstd", &records).await?;
    let partition = partition(address, "rust", 0).await?;
    for (offset, record) in (0..).zip(&records) {
        let at =
            Utc.timestamp_millis_opt(record.timestamp - STEP / 2).single().context("a time")?;
        let found = partition.get_offset(OffsetAt::Timestamp(at)).await?;
        ensure!(found == offset, "{found} is found instead of {offset}");
    }
    partition.delete_records(3, 5000).await?;
    let start = partition.get_offset(OffsetAt::Earliest).await?;
    ensure!(start == 3, "it begins at {start}");
    controller.delete_topic("rust", 5000).await?;
    let topics = client(address).await?.list_topics().await?;
    ensure!(!topics.iter().any(|topic| topic.name == "rust"), "it is still there");
    Ok(())
}
