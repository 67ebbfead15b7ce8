//! Reading a raw topic with exactly the headers and timestamps that the transform saw, through
//! `tickpanda-kafka`, for demo and audit.
//!
//! One response is worked on while the next is fetched: memory does not grow with the topic.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tickpanda_kafka::{At, Client, KafkaError, Read, Record};
use tickpanda_model::header::{SEQ, Seq};
use tickpanda_transform::RawRecord;
use tokio::task::JoinHandle;

const FETCH_BYTES: i32 = 4 << 20;
/// The largest batch that is waited for, where a cluster takes batches beyond [`FETCH_BYTES`].
const LARGEST_FETCH: i32 = 128 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Reads one partition from an offset to another.
pub(crate) struct Reader {
    place: Place,
    end: i64,
    /// Offsets that retention took before they were read.
    taken: i64,
    ahead: Option<JoinHandle<Result<Read, KafkaError>>>,
}

/// Where to read on.
#[derive(Clone)]
struct Place {
    client: Client,
    topic: String,
    partition: i32,
    offset: i64,
}

impl Reader {
    /// Reads the offsets `from..end`.
    pub(crate) fn new(client: &Client, topic: &str, partition: i32, from: i64, end: i64) -> Self {
        let (client, topic) = (client.clone(), topic.to_owned());
        let place = Place { client, topic, partition, offset: from };
        Reader { place, end, taken: 0, ahead: None }
    }

    /// The next records; `None` at the end.
    ///
    /// # Errors
    /// Where the partition can't be read, or ends before it should.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        if self.place.offset >= self.end {
            return Ok(None);
        }
        let ahead = self.ahead.take().unwrap_or_else(|| tokio::spawn(read(self.place.clone())));
        let Place { client, topic, partition, offset } = &self.place;
        let (partition, offset) = (*partition, *offset);
        let doing = || format!("cannot read {topic}/{partition} from offset {offset}");
        let mut read = match ahead.await.with_context(doing)? {
            // Retention goes on while we read.
            Err(KafkaError::OffsetOutOfRange { .. }) => {
                let earliest = client.offsets(topic, At::Earliest).await.with_context(doing)?;
                let earliest = earliest.into_iter().find(|(number, _)| *number == partition);
                let Some((_, start)) = earliest.filter(|(_, start)| *start > offset) else {
                    bail!("{topic}/{partition} ends before offset {offset}, but did not before");
                };
                self.taken += start.min(self.end) - offset;
                self.place.offset = start;
                return Ok(Some(Vec::new()));
            }
            read => read.with_context(doing)?,
        };
        if read.next_offset <= offset {
            bail!("{topic}/{partition} ends at offset {offset}, but should reach {}", self.end);
        }
        self.place.offset = read.next_offset;
        if self.place.offset < self.end {
            self.ahead = Some(tokio::spawn(self::read(self.place.clone())));
        }
        read.records.retain(|record| record.offset < self.end);
        Ok(Some(read.records))
    }

    /// Offsets of the range that retention took before they were read.
    pub(crate) fn taken(&self) -> i64 {
        self.taken
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

async fn read(place: Place) -> Result<Read, KafkaError> {
    let Place { client, topic, partition, offset } = place;
    let mut bytes = FETCH_BYTES;
    loop {
        match client.read(&topic, partition, offset, bytes, FETCH_WAIT).await {
            Err(KafkaError::BatchTooLarge { .. }) if bytes < LARGEST_FETCH => bytes *= 2,
            read => return read,
        }
    }
}

/// The record as `normalize` takes it.
pub(crate) fn raw(record: &Record) -> RawRecord<'_> {
    RawRecord {
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
        timestamp_ms: record.timestamp_ms,
    }
}

/// The record's number; a record without one was not published by a source.
pub(crate) fn seq(record: &Record) -> Option<Seq> {
    let (_, value) = record.headers.iter().rev().find(|(key, _)| &key[..] == SEQ.as_bytes())?;
    std::str::from_utf8(value.as_ref()?).ok()?.parse().ok()
}
