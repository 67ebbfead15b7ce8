//! One partition to read: by rskafka, and by `tickpanda-kafka` where rskafka refuses a batch.
//!
//! ```text
//!  broker ── rskafka ──────────────┬─▶ Fetched ─▶ pump
//!     └───── tickpanda-kafka ──────┘
//!            (null header values, control batches)
//! ```
//!
//! It never decides what is done about an error, and never moves an offset back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rskafka::chrono::DateTime;
use rskafka::client::Client;
use rskafka::client::error::{Error, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use tickpanda_kafka::{KafkaError, Salvaged, murmur2_partition};
use tickpanda_model::gap::GapEvent;

use crate::micros::now_millis;
use crate::offsets::cluster_key;
use crate::record::Record;

/// How long a fetch waits for the first new record. A new record ends it at once.
const MAX_WAIT: Duration = Duration::from_millis(MAX_WAIT_MS.unsigned_abs() as u64);
const MAX_WAIT_MS: i32 = 500;
/// rskafka has no deadline: a broker that does not answer for this long is asked anew.
const DEADLINE: Duration = Duration::from_secs(5);
/// Bytes asked for where a batch is larger than what is asked for otherwise.
const LARGEST: i32 = 128 << 20;
/// Offsets that are given up at once, of a batch that does not unpack.
const MAX_LOST: i64 = 1000;

/// What one fetch found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// Records in the order of their offsets.
    pub records: Vec<Record>,
    /// Stands for records that no client here can read, with what is wrong with each: no key, the bytes
    /// as value where they can be had, topic, partition and offset in the headers.
    pub lost: Vec<(Record, String)>,
    /// Where to read on: it can be more than one past the last record (control batches, compaction).
    pub next_offset: i64,
    /// One past the partition's last offset, as the broker knew it then.
    pub high_watermark: i64,
}

impl Fetched {
    /// Records, those that nobody can read included.
    pub(crate) fn len(&self) -> usize {
        self.records.len() + self.lost.len()
    }

    /// An offset with about as many records before it as from it on, and at least one on each side where
    /// there are two.
    pub(crate) fn middle(&self) -> i64 {
        let lost = self.lost.iter().map(|(record, _)| record.offset);
        let mut offsets: Vec<i64> =
            self.records.iter().map(|record| record.offset).chain(lost).collect();
        offsets.sort_unstable();
        offsets.get(offsets.len() / 2).copied().unwrap_or(self.next_offset)
    }

    /// What lies before an offset, and what lies from it on.
    pub(crate) fn split(&self, at: i64) -> (Fetched, Fetched) {
        let part = |keep: &dyn Fn(i64) -> bool, next_offset| Fetched {
            records: self.records.iter().filter(|record| keep(record.offset)).cloned().collect(),
            lost: self.lost.iter().filter(|(record, _)| keep(record.offset)).cloned().collect(),
            next_offset,
            high_watermark: self.high_watermark,
        };
        (part(&|offset| offset < at, at), part(&|offset| offset >= at, self.next_offset))
    }
}

/// Why a fetch found nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// The offset is not, or no longer, in the partition.
    #[error("the offset is not in the partition")]
    OutOfRange,
    /// The broker is away, busy or electing: ask again later.
    #[error("{0}")]
    Away(String),
}

/// One partition, as the pump sees it. Tests have their own.
pub(crate) trait Log: Send {
    /// Records from an offset on; waits a little when there are none.
    fn fetch(&mut self, from: i64) -> impl Future<Output = Result<Fetched, FetchError>> + Send;
    /// First offset that is there, and one past the last.
    fn range(&mut self) -> impl Future<Output = Result<Range<i64>, FetchError>> + Send;
    /// Whose partition it is now, as [`cluster_key`] tells: behind the same address there may be
    /// another cluster, or the topic may have been made anew. `None` while there is no such topic.
    fn cluster(&mut self) -> impl Future<Output = Result<Option<String>, FetchError>> + Send;
    /// Tells everybody of a hole in it, on `gap-events`.
    fn announce(&mut self, hole: &GapEvent) -> impl Future<Output = Result<(), FetchError>> + Send;
}

/// A partition on a broker.
pub(crate) struct KafkaLog {
    client: Arc<Client>,
    kafka: tickpanda_kafka::Client,
    topic: String,
    partition: i32,
    /// Where holes are told of.
    gap_topic: String,
    max_bytes: i32,
    /// Where the partition ended when the broker last said so.
    high_watermark: i64,
    reader: Option<PartitionClient>,
}

impl KafkaLog {
    /// Connects when first used; fetches about `max_bytes` at once.
    pub(crate) fn new(
        client: Arc<Client>,
        kafka: tickpanda_kafka::Client,
        topic: String,
        partition: i32,
        gap_topic: String,
        max_bytes: i32,
    ) -> Self {
        let (high_watermark, reader) = (0, None);
        KafkaLog { client, kafka, topic, partition, gap_topic, max_bytes, high_watermark, reader }
    }

    async fn reader(&mut self) -> Result<&PartitionClient, FetchError> {
        let reader = match self.reader.take() {
            Some(reader) => reader,
            None => {
                let unknown = UnknownTopicHandling::Error;
                let made = self.client.partition_client(&self.topic, self.partition, unknown);
                in_time(made).await?.map_err(away)?
            }
        };
        Ok(self.reader.insert(reader))
    }

    /// Reads what rskafka refuses.
    async fn read(&mut self, from: i64) -> Result<Fetched, FetchError> {
        let read =
            async |bytes| self.kafka.read(&self.topic, self.partition, from, bytes, MAX_WAIT).await;
        let (mut bytes, mut found) = (self.max_bytes, read(self.max_bytes).await);
        if let Err(KafkaError::BatchTooLarge { .. }) = found {
            (bytes, found) = (LARGEST, read(LARGEST).await);
        }
        match found {
            Ok(read) => Ok(Fetched {
                records: read.records.into_iter().map(own).collect(),
                lost: Vec::new(),
                next_offset: read.next_offset,
                high_watermark: read.high_watermark,
            }),
            Err(KafkaError::OffsetOutOfRange { .. }) => Err(FetchError::OutOfRange),
            Err(error @ KafkaError::Corrupt { .. }) => self.salvage(from, bytes, &error).await,
            Err(error @ KafkaError::BatchTooLarge { .. }) => {
                Ok(self.step_past(from, from + 1, &error.to_string()))
            }
            Err(error) => Err(FetchError::Away(error.to_string())),
        }
    }

    /// What can be had of a batch that does not decode as a whole: its good records, and the bytes of the
    /// others.
    async fn salvage(
        &self,
        from: i64,
        bytes: i32,
        corrupt: &KafkaError,
    ) -> Result<Fetched, FetchError> {
        let batches = self.kafka.read_batches(&self.topic, self.partition, from, bytes, MAX_WAIT);
        let batch = match batches.await {
            Ok(read) => read.batches.into_iter().next(),
            Err(KafkaError::Corrupt { .. }) => None,
            Err(error) => return Err(FetchError::Away(error.to_string())),
        };
        // A checksum that is wrong: nothing in the batch can be believed, not even where it ends.
        let Some(batch) = batch else {
            return Ok(self.step_past(from, from + 1, &corrupt.to_string()));
        };
        let next_offset = batch.next_offset();
        let Ok(salvaged) = batch.salvage() else {
            let end = next_offset.min(from + MAX_LOST);
            return Ok(self.step_past(from, end, &corrupt.to_string()));
        };
        let high_watermark = self.high_watermark.max(next_offset);
        let mut fetched = Fetched { next_offset, high_watermark, ..Fetched::default() };
        for salvaged in salvaged {
            match salvaged {
                Salvaged::Record(record) if record.offset >= from => {
                    fetched.records.push(own(record));
                }
                Salvaged::Damaged { offset, bytes, what } if offset >= from => {
                    let record = Record { value: Some(bytes.to_vec()), ..self.lost(offset) };
                    fetched.lost.push((record, format!("no record: {what}")));
                }
                _ => {}
            }
        }
        Ok(fetched)
    }

    /// Nobody here can read these offsets, and nobody will: they are counted, named in the dead letters,
    /// and do not stop the partition.
    fn step_past(&self, from: i64, end: i64, why: &str) -> Fetched {
        Fetched {
            records: Vec::new(),
            lost: (from..end).map(|offset| (self.lost(offset), why.to_owned())).collect(),
            next_offset: end,
            high_watermark: self.high_watermark.max(end),
        }
    }

    /// Stands for a record that can't be read.
    fn lost(&self, offset: i64) -> Record {
        let headers = [
            ("topic", self.topic.clone()),
            ("partition", self.partition.to_string()),
            ("offset", offset.to_string()),
        ];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes())).into();
        Record { offset, headers, ..Record::default() }
    }
}

impl Log for KafkaLog {
    async fn fetch(&mut self, from: i64) -> Result<Fetched, FetchError> {
        let bytes = 1..self.max_bytes;
        let reader = self.reader().await?;
        let answer = in_time(reader.fetch_records(from, bytes, MAX_WAIT_MS)).await;
        let error = match answer {
            Ok(Ok((records, high_watermark))) => {
                self.high_watermark = high_watermark;
                // Nothing, although there is something: a control batch, which rskafka leaves out. Or
                // offsets with holes, which it takes from the records as they are: where they end is
                // then for the batches to say.
                let whole = records.iter().map(|found| found.offset).eq(from..high_watermark
                    .min(from.saturating_add(i64::try_from(records.len()).unwrap_or(i64::MAX))));
                if !whole || records.is_empty() && from < high_watermark {
                    return self.read(from).await;
                }
                let next_offset = records.last().map_or(from, |last| last.offset + 1);
                let records = records.into_iter().map(|found| Record {
                    offset: found.offset,
                    timestamp: found.record.timestamp.timestamp_millis(),
                    key: found.record.key,
                    value: found.record.value,
                    headers: found.record.headers,
                });
                let records = records.collect();
                return Ok(Fetched { records, lost: Vec::new(), next_offset, high_watermark });
            }
            Ok(Err(error)) => error,
            Err(late) => {
                self.reader = None;
                return Err(late);
            }
        };
        match error {
            Error::ServerError { protocol_error: ProtocolError::OffsetOutOfRange, .. } => {
                Err(FetchError::OutOfRange)
            }
            Error::Request(_) | Error::InvalidResponse(_) => {
                self.reader = None; // it may be in the middle of an answer
                self.read(from).await
            }
            error => {
                self.reader = None;
                Err(away(error))
            }
        }
    }

    async fn range(&mut self) -> Result<Range<i64>, FetchError> {
        let reader = self.reader().await?;
        let ends = async {
            let earliest = reader.get_offset(OffsetAt::Earliest).await?;
            Ok(earliest..reader.get_offset(OffsetAt::Latest).await?)
        };
        let ends = in_time(ends).await.and_then(|ends: Result<_, Error>| ends.map_err(away));
        if ends.is_err() {
            self.reader = None;
        }
        ends
    }

    async fn cluster(&mut self) -> Result<Option<String>, FetchError> {
        let away = |error: KafkaError| FetchError::Away(error.to_string());
        let id = self.kafka.cluster().await.map_err(away)?.id;
        let found = self.kafka.topic(&self.topic).await.map_err(away)?;
        Ok(found.map(|topic| cluster_key(id.as_deref(), topic.id)))
    }

    async fn announce(&mut self, hole: &GapEvent) -> Result<(), FetchError> {
        let topic = &self.gap_topic;
        let away = |error: &dyn Display| FetchError::Away(format!("{topic}: {error}"));
        let found = self.kafka.topic(topic).await.map_err(|error| away(&error))?;
        let found = found.ok_or_else(|| away(&"the topic does not exist"))?;
        let key = format!("{}~{}", self.topic, self.partition).into_bytes();
        let partition = murmur2_partition(&key, found.partitions.max(1));
        let record = rskafka::record::Record {
            key: Some(key),
            value: Some(serde_json::to_vec(hole).map_err(|error| away(&error))?),
            headers: BTreeMap::new(),
            timestamp: DateTime::from_timestamp_millis(now_millis()).unwrap_or_default(),
        };
        let produced = async {
            let unknown = UnknownTopicHandling::Error;
            let writer = self.client.partition_client(topic, partition, unknown).await?;
            writer.produce(vec![record], Compression::NoCompression).await
        };
        in_time(produced).await?.map_err(|error| away(&error)).map(|_| ())
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, FetchError> {
    let late = |_| FetchError::Away(format!("no answer within {} s", DEADLINE.as_secs()));
    tokio::time::timeout(DEADLINE, work).await.map_err(late)
}

fn away(error: Error) -> FetchError {
    FetchError::Away(error.to_string())
}

/// A record in the sink's form, its bytes copied out of the answer. A header name that is not UTF-8
/// is kept readable, since only dead letters carry headers and the transform percent-encodes those.
fn own(record: tickpanda_kafka::Record) -> Record {
    Record {
        offset: record.offset,
        timestamp: record.timestamp_ms,
        key: record.key.map(|key| key.to_vec()),
        value: record.value.map(|value| value.to_vec()),
        headers: record
            .headers
            .into_iter()
            .map(|(name, value)| {
                let name = String::from_utf8_lossy(&name).into_owned();
                (name, value.map(|value| value.to_vec()).unwrap_or_default())
            })
            .collect(),
    }
}
