//! Each writer with each reader: what one has written, the other reads identically.
//!
//! A writer has a topic of its own, with a partition for each codec and one for null header values, which not
//! every client can write or read. What a client can't write it leaves out; what it can't show is compared
//! as it shows it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use super::records::{Headers, Record, Shown, all, with_null_headers};
use super::remote::Remote;
use super::{kcat, rust};
use crate::table::{Peer, Table};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];
/// The partition after those of the codecs.
const NULL_HEADERS: i32 = 5;

/// What a client can't do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Writes null header values.
    pub(super) null_headers: bool,
    /// Reads them.
    pub(super) reads_null_headers: bool,
    /// Writes several headers with one key.
    pub(super) repeated_headers: bool,
    /// Sets records' timestamps.
    pub(super) timestamps: bool,
    /// Is an idempotent producer.
    pub(super) idempotent: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            null_headers: true,
            reads_null_headers: true,
            repeated_headers: true,
            timestamps: true,
            idempotent: true,
        }
    }
}

/// How a client is had to do things.
#[derive(Clone)]
pub(super) enum How {
    Remote(Arc<Remote>),
    Kcat(String),
    Rskafka(String),
}

/// A client.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) peer: Peer,
    pub(super) how: How,
    limits: Limits,
}

impl Client {
    pub(super) fn remote(peer: &Peer, remote: &Arc<Remote>, limits: Limits) -> Self {
        Self { peer: peer.clone(), how: How::Remote(Arc::clone(remote)), limits }
    }

    pub(super) fn kcat(address: &str, version: &str) -> Self {
        let limits = Limits { timestamps: false, ..Limits::default() };
        Self { peer: Peer::new("kcat", version), how: How::Kcat(address.to_owned()), limits }
    }

    pub(super) fn rskafka(address: &str) -> Self {
        let limits = Limits {
            null_headers: false,
            reads_null_headers: false,
            repeated_headers: false,
            idempotent: false,
            ..Limits::default()
        };
        let how = How::Rskafka(address.to_owned());
        Self { peer: Peer::new("rskafka", rust::version()), how, limits }
    }

    fn topic(&self) -> String {
        format!("from-{}", self.peer.name().replace(' ', "-"))
    }

    /// What it writes to a partition.
    fn records(&self, partition: i32) -> Vec<Record> {
        if partition == NULL_HEADERS {
            return if self.limits.null_headers { with_null_headers() } else { Vec::new() };
        }
        let can = |record: &Record| self.limits.repeated_headers || !record.repeats_headers();
        all().into_iter().filter(can).collect()
    }

    async fn write(&self, partition: i32, codec: &str) -> Result<()> {
        let (topic, records) = (self.topic(), self.records(partition));
        if records.is_empty() {
            return Ok(());
        }
        match &self.how {
            How::Kcat(address) => kcat::write(address, &topic, partition, codec, &records).await,
            How::Rskafka(address) => rust::write(address, &topic, partition, codec, &records).await,
            How::Remote(remote) => {
                let command = json!({
                    "do": "produce", "topic": topic, "partition": partition, "codec": codec, "records": records,
                });
                let answer = remote.call(command).await?;
                let expected: Vec<usize> = (0..records.len()).collect();
                ensure!(answer["offsets"] == json!(expected), "{answer}");
                Ok(())
            }
        }
    }

    async fn read(&self, topic: &str, partition: i32, count: usize) -> Result<Vec<Shown>> {
        match &self.how {
            How::Kcat(address) => kcat::read(address, topic, partition, count).await,
            How::Rskafka(address) => rust::read(address, topic, partition, count).await,
            How::Remote(remote) => {
                let command = json!({
                    "do": "read", "topic": topic, "partition": partition, "from": 0, "count": count,
                });
                let mut answer = remote.call(command).await?;
                let records: Vec<Record> = serde_json::from_value(answer["records"].take())?;
                let show = |record: Record| {
                    Ok(Shown {
                        offset: record.offset.context("a record without an offset")?,
                        timestamp: record.timestamp,
                        key: record.key,
                        value: record.value,
                        headers: Headers::All(record.headers),
                    })
                };
                records.into_iter().map(show).collect()
            }
        }
    }
}

/// Adds a row for each writer and for each pair.
pub(super) async fn run(table: &mut Table, address: &str, clients: &[Client]) {
    for writer in clients {
        let (client, address) = (writer.clone(), address.to_owned());
        let idempotent =
            if writer.limits.idempotent { "idempotently " } else { "(it can't idempotently) " };
        let null = if writer.limits.null_headers { ", null" } else { "" };
        let repeated = if writer.limits.repeated_headers { ", repeated" } else { "" };
        let what = format!(
            "writes {idempotent}with no codec, gzip, snappy, lz4, zstd: headers{repeated}{null}, tombstones, empty keys and values"
        );
        table.check(&writer.peer, what, async move { write(&client, &address).await }).await;
    }
    for reader in clients {
        for writer in clients {
            let (reader, writer) = (reader.clone(), writer.clone());
            let address = address.to_owned();
            let both = reader.limits.reads_null_headers && writer.limits.null_headers;
            let but = if both { "" } else { " (no null header values)" };
            let what = format!("reads what {} wrote, identically{but}", writer.peer.name());
            let peer = reader.peer.clone();
            table
                .check(&peer, what, async move { compare(&reader, &writer, &address).await })
                .await;
        }
    }
}

async fn kafka(address: &str) -> Result<tickpanda_kafka::Client> {
    let config = tickpanda_kafka::ClientConfig::default();
    Ok(tickpanda_kafka::Client::connect(&[address.to_owned()], config).await?)
}

async fn write(client: &Client, address: &str) -> Result<()> {
    let kafka = kafka(address).await?;
    let topic = client.topic();
    let controller = rskafka::client::ClientBuilder::new(vec![address.to_owned()])
        .build()
        .await?
        .controller_client()?;
    controller.create_topic(&topic, NULL_HEADERS + 1, 1, 5000).await?;
    for (partition, codec) in (0..).zip(CODECS.iter().chain(&["none"])) {
        client.write(partition, codec).await.with_context(|| format!("codec {codec}"))?;
        let count = client.records(partition).len();
        let mut offset = 0;
        let mut large = false;
        while offset < i64::try_from(count)? {
            let wait = Duration::from_secs(1);
            let read = kafka.read_batches(&topic, partition, offset, 1 << 20, wait).await?;
            ensure!(read.next_offset > offset, "partition {partition} ends at {offset}");
            offset = read.next_offset;
            for batch in read.batches {
                let codec_of_batch = CODECS[usize::try_from(batch.attributes() & 7)?];
                // Batches that would grow are sent as they are by some; the large record never is.
                large |= codec_of_batch == *codec && batch.unpack()?.len() > 10_000;
                let idempotent = batch.producer_id() >= 0 && batch.base_sequence() >= 0;
                ensure!(
                    idempotent == client.limits.idempotent,
                    "codec {codec}: producer id {}",
                    batch.producer_id()
                );
            }
        }
        ensure!(partition == NULL_HEADERS || large, "no large batch with codec {codec}");
    }
    Ok(())
}

async fn compare(reader: &Client, writer: &Client, address: &str) -> Result<()> {
    let kafka = kafka(address).await?;
    for partition in 0..=NULL_HEADERS {
        if partition == NULL_HEADERS && !reader.limits.reads_null_headers {
            continue;
        }
        let mut written = writer.records(partition);
        if written.is_empty() {
            continue;
        }
        if !writer.limits.timestamps {
            // Then what the log has is what everybody must read.
            let wait = Duration::from_secs(1);
            let mut records = Vec::new();
            while records.len() < written.len() {
                let from = i64::try_from(records.len())?;
                let read = kafka.read(&writer.topic(), partition, from, 1 << 20, wait).await?;
                ensure!(!read.records.is_empty(), "partition {partition} ends at {from}");
                records.extend(read.records);
            }
            for (written, record) in written.iter_mut().zip(&records) {
                written.timestamp = record.timestamp_ms;
            }
        }
        let read = reader.read(&writer.topic(), partition, written.len()).await;
        let read = read.with_context(|| format!("partition {partition}"))?;
        ensure!(read.len() == written.len(), "partition {partition}: {} records", read.len());
        for ((offset, written), read) in (0..).zip(&written).zip(&read) {
            written.is_shown(read, offset).with_context(|| format!("partition {partition}"))?;
        }
    }
    Ok(())
}
