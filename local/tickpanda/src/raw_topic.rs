//! Reading a raw topic with exactly the headers and timestamps that the transform saw, through
//! `tickpanda-kafka`, for demo and audit.
//!
//! One response is worked on while the next is fetched, so a reader holds two of them, whatever the
//! topic's length. An answer without anything is no end: it is asked again for [`PATIENCE`].

use std::time::Duration;

use anyhow::{Context, Result};
use tickpanda_kafka::{At, Client, KafkaError, Read, Record};
use tickpanda_model::header::{SEQ, Seq};
use tickpanda_transform::RawRecord;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const FETCH_BYTES: i32 = 4 << 20;
/// The largest batch that is waited for, where a cluster takes batches beyond [`FETCH_BYTES`].
const LARGEST_FETCH: i32 = 128 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(500);
/// So long a partition may give nothing although it is not at its end: a leader that moves, or that
/// has not caught up with what its followers acknowledged, answers like that for a while.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two empty answers.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads one partition from an offset to another.
pub(crate) struct Reader {
    place: Place,
    end: i64,
    /// Offsets that retention took before they were read.
    taken: i64,
    /// Offsets of control batches and aborted transactions.
    hidden: i64,
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
        Reader { place, end, taken: 0, hidden: 0, ahead: None }
    }

    /// The next records; `None` at the end.
    ///
    /// # Errors
    /// Where the partition can't be read, or ends before it should.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        if self.place.offset >= self.end {
            return Ok(None);
        }
        let records = patiently(PATIENCE, async || self.step().await).await?;
        let Place { topic, partition, offset, .. } = &self.place;
        let silent = || {
            format!(
                "{topic}/{partition} gives nothing from offset {offset} on for {} s, but should reach {}: \
                 is a transaction open on it, or is its leader away?",
                PATIENCE.as_secs(),
                self.end
            )
        };
        records.with_context(silent).map(Some)
    }

    /// One answer; `None` where it holds nothing.
    async fn step(&mut self) -> Result<Option<Vec<Record>>> {
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
                    return Ok(None); // it ends before, and did not when its end was asked for
                };
                self.taken += start.min(self.end) - offset;
                self.place.offset = start;
                return Ok(Some(Vec::new()));
            }
            read => read.with_context(doing)?,
        };
        if read.next_offset <= offset {
            return Ok(None);
        }
        self.place.offset = read.next_offset;
        self.hidden += read.hidden;
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

    /// Offsets that control batches and aborted transactions take, a few behind the end maybe among them.
    pub(crate) fn hidden(&self) -> i64 {
        self.hidden
    }
}

/// Asks until there is something; `None` where there is nothing for so long.
async fn patiently<T>(
    patience: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let deadline = Instant::now() + patience;
    loop {
        let answer = ask().await?;
        if answer.is_some() || Instant::now() >= deadline {
            return Ok(answer);
        }
        tokio::time::sleep(PAUSE).await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_empty_answer_is_asked_again_and_silence_has_an_end() {
        let mut asked = 0;
        let third = patiently(PATIENCE, async || {
            asked += 1;
            Ok((asked == 3).then_some(asked))
        });
        assert_eq!(third.await.unwrap(), Some(3));
        let silent = patiently(PAUSE, async || Ok(None::<u8>));
        assert_eq!(silent.await.unwrap(), None);
        let failing = patiently(PATIENCE, async || Err::<Option<u8>, _>(anyhow::anyhow!("gone")));
        assert_eq!(failing.await.unwrap_err().to_string(), "gone");
    }
}
