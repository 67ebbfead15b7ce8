//! Reading records as a broker shows them, including those that rskafka refuses.
//!
//! One [`Client::read`] is one fetch of one partition, read-committed: control batches and aborted
//! transactions are stepped over, as the transform inside the broker does.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{AbortedTransaction, FetchResponse, PartitionData};
use kafka_protocol::messages::{BrokerId, FetchRequest};

use crate::api::Api;
use crate::client::{Client, topic_name};
use crate::decode::{Batch, Batches, DecodeError, Record};
use crate::error::{KafkaError, Result, check};

/// The protocol's isolation level 1.
pub(crate) const READ_COMMITTED: i8 = 1;

/// Unpacked bytes after which a read ends, even if batches are left in the answer: the next read
/// fetches them again. Small answers can unpack to anything.
const ENOUGH_UNPACKED: usize = 64 << 20;

/// What one [`Client::read`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The records, by offset. Their bytes share the answer's memory: keeping one keeps all of it, so
    /// what is to be kept for long should be copied.
    pub records: Vec<Record>,
    /// Where to go on. It moves over control batches and aborted transactions too, so it can be more
    /// than one past the last record, and ahead of the asked offset without any record.
    pub next_offset: i64,
    /// Offsets before `next_offset` that control batches and aborted transactions take. Those that are
    /// neither among them nor have a record were never filled, or compaction took them.
    pub hidden: i64,
    /// The first offset that is still there, where the broker says so.
    pub log_start: Option<i64>,
    /// One after the last offset on the partition.
    pub high_watermark: i64,
    /// One after the last offset that can be read: before `high_watermark` only while a transaction
    /// is open.
    pub last_stable: i64,
}

/// What one [`Client::read_batches`] found.
#[derive(Debug, Clone)]
pub struct ReadBatches {
    /// The batches, whole: the first may begin before the offset asked for. Control batches and aborted
    /// transactions are not among them.
    pub batches: Vec<Batch>,
    /// As [`Read::next_offset`].
    pub next_offset: i64,
    /// As [`Read::last_stable`].
    pub last_stable: i64,
}

impl Client {
    /// Fetches records of one partition from `offset` on: about `max_bytes` (but always one whole
    /// batch), waiting up to `max_wait` for the first.
    ///
    /// # Errors
    ///
    /// [`KafkaError::OffsetOutOfRange`] when retention took the offset or it is past the end,
    /// [`KafkaError::Corrupt`] when a batch does not decode, and whatever a call can fail with.
    pub async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: i32,
        max_wait: Duration,
    ) -> Result<Read> {
        let place = Place { topic, partition, offset, max_bytes, max_wait };
        self.fetch(place, |found| assemble(found, offset).map(|read| (read.next_offset, read)))
            .await
    }

    /// As [`Client::read`], but the batches as they are: for who must keep their bounds.
    ///
    /// # Errors
    ///
    /// As [`Client::read`]; a damaged batch is an error where it is the first, those before it are given.
    pub async fn read_batches(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max_bytes: i32,
        max_wait: Duration,
    ) -> Result<ReadBatches> {
        let place = Place { topic, partition, offset, max_bytes, max_wait };
        self.fetch(place, |found| {
            assemble_batches(found, offset).map(|read| (read.next_offset, read))
        })
        .await
    }

    /// `assemble` also tells where to go on.
    async fn fetch<T>(
        &self,
        place: Place<'_>,
        assemble: impl Fn(PartitionData) -> Result<(i64, T), DecodeError>,
    ) -> Result<T> {
        let request = place.request();
        self.retrying(|| async {
            let broker = self.leader(place.topic, place.partition).await?;
            let result = self.call(&broker, &request, place.max_wait).await;
            let result = result.and_then(|answer| understand(answer, &broker, &place, &assemble));
            if result.as_ref().is_err_and(|e| e.is_transient() || e.is_unreachable()) {
                self.forget_leaders(place.topic);
            }
            result
        })
        .await
    }
}

/// What is asked for.
struct Place<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    max_bytes: i32,
    max_wait: Duration,
}

impl Place<'_> {
    fn request(&self) -> FetchRequest {
        let asked = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(self.offset)
            .with_partition_max_bytes(self.max_bytes);
        let asked =
            FetchTopic::default().with_topic(topic_name(self.topic)).with_partitions(vec![asked]);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(i32::try_from(self.max_wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(self.max_bytes)
            .with_isolation_level(READ_COMMITTED)
            .with_topics(vec![asked])
    }
}

fn understand<T>(
    answer: FetchResponse,
    broker: &str,
    place: &Place<'_>,
    assemble: impl Fn(PartitionData) -> Result<(i64, T), DecodeError>,
) -> Result<T> {
    let Place { partition, offset, max_bytes, .. } = *place;
    let topic = || place.topic.to_owned();
    let what = || format!("{}/{partition} from offset {offset}", place.topic);
    check(broker, FetchRequest::NAME, answer.error_code, None, what)?;
    let found = (answer.responses.into_iter().flat_map(|topic| topic.partitions))
        .find(|found| found.partition_index == partition)
        .ok_or_else(|| KafkaError::Malformed {
            broker: broker.to_owned(),
            api: FetchRequest::NAME,
            reason: format!("{}/{partition} is not in it", place.topic),
        })?;
    if found.error_code == ResponseError::OffsetOutOfRange.code() {
        return Err(KafkaError::OffsetOutOfRange { topic: topic(), partition, offset });
    }
    check(broker, FetchRequest::NAME, found.error_code, None, what)?;
    let cut = found.records.as_ref().is_some_and(|records| !records.is_empty());
    let (next_offset, read) = assemble(found).map_err(|source| KafkaError::Corrupt {
        topic: topic(),
        partition,
        offset,
        source,
    })?;
    if cut && next_offset == offset {
        return Err(KafkaError::BatchTooLarge { topic: topic(), partition, offset, max_bytes });
    }
    Ok(read)
}

/// The records of an answer from `offset` on.
fn assemble(mut found: PartitionData, offset: i64) -> Result<Read, DecodeError> {
    let (mut records, mut unpacked) = (Vec::new(), 0_usize);
    let Seen { next_offset, hidden } = visible(&mut found, offset, |batch| {
        let unpacking = batch.records()?;
        unpacked = unpacked.saturating_add(unpacking.unpacked_len());
        records.reserve(unpacking.size_hint().0);
        for record in unpacking {
            let record = record?;
            if !(batch.base_offset()..batch.next_offset()).contains(&record.offset) {
                let base_offset = batch.base_offset();
                let what = "a record's offset is outside of its batch";
                return Err(DecodeError::Malformed { base_offset, what });
            }
            if record.offset >= offset {
                records.push(record);
            }
        }
        Ok(unpacked < ENOUGH_UNPACKED)
    })?;
    Ok(Read {
        records,
        next_offset,
        hidden,
        log_start: Some(found.log_start_offset).filter(|start| *start >= 0),
        high_watermark: found.high_watermark,
        last_stable: last_stable(&found),
    })
}

/// The batches of an answer from the one that holds `offset` on.
fn assemble_batches(mut found: PartitionData, offset: i64) -> Result<ReadBatches, DecodeError> {
    let mut batches: Vec<Batch> = Vec::new();
    let seen = visible(&mut found, offset, |batch| {
        batches.push(batch);
        Ok(true)
    });
    let next_offset = match (seen, batches.last()) {
        (Ok(seen), _) => seen.next_offset,
        // The next read begins with the damaged one and fails on it.
        (Err(_), Some(last)) => last.next_offset(),
        (Err(error), None) => return Err(error),
    };
    Ok(ReadBatches { batches, next_offset, last_stable: last_stable(&found) })
}

/// How far an answer goes.
struct Seen {
    /// See [`Read::next_offset`].
    next_offset: i64,
    /// See [`Read::hidden`].
    hidden: i64,
}

/// Hands over each batch that is somebody's data and not aborted, until told that it is enough.
fn visible(
    found: &mut PartitionData,
    offset: i64,
    mut each: impl FnMut(Batch) -> Result<bool, DecodeError>,
) -> Result<Seen, DecodeError> {
    let mut aborted = Aborted::new(found.aborted_transactions.take().unwrap_or_default());
    let (mut next_offset, mut hidden) = (offset, 0);
    for batch in Batches::new(found.records.take().unwrap_or_default()) {
        let batch = batch?;
        let behind = batch.next_offset();
        let hides = aborted.hides(&batch)? || batch.is_control();
        if hides {
            hidden += (behind - batch.base_offset().max(next_offset)).max(0);
        }
        let go_on = hides || behind <= offset || each(batch)?;
        next_offset = next_offset.max(behind);
        if !go_on {
            break;
        }
    }
    Ok(Seen { next_offset, hidden })
}

fn last_stable(found: &PartitionData) -> i64 {
    if found.last_stable_offset >= 0 { found.last_stable_offset } else { found.high_watermark }
}

/// Which batches belong to aborted transactions, as Kafka's own consumer decides it: a producer's
/// batches are hidden from the offset the broker names until that producer's abort marker.
struct Aborted {
    /// Not reached yet, by first offset.
    ahead: VecDeque<AbortedTransaction>,
    /// Producers inside an aborted transaction.
    open: HashSet<i64>,
}

impl Aborted {
    fn new(mut transactions: Vec<AbortedTransaction>) -> Self {
        transactions.sort_by_key(|transaction| transaction.first_offset);
        Self { ahead: transactions.into(), open: HashSet::new() }
    }

    fn hides(&mut self, batch: &Batch) -> Result<bool, DecodeError> {
        if !batch.is_transactional() {
            return Ok(false);
        }
        while let Some(next) = self.ahead.pop_front_if(|t| t.first_offset < batch.next_offset()) {
            self.open.insert(next.producer_id.0);
        }
        if batch.is_abort_marker()? {
            self.open.remove(&batch.producer_id());
            return Ok(true);
        }
        Ok(self.open.contains(&batch.producer_id()))
    }
}

#[cfg(test)]
mod tests;
