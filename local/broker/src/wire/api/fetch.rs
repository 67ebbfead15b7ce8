//! Fetch: byte ranges of the log, as they are; held until there is enough or the time is up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::select_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::storage::{Found, Partition, ReadError};
use crate::wire::Shared;

/// Records in one response at most, in bytes, whatever the client asks for.
const MAX_RESPONSE: usize = 32 << 20;
/// A fetch is held no longer, whatever the client asks for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// One partition that a request asks for, looked up once.
struct Wanted {
    index: i32,
    offset: i64,
    max: usize,
    partition: Result<Arc<Partition>, ResponseError>,
}

/// Answers when the asked partitions together have `min_bytes`, one of them has an error or has
/// come to the end of a segment that is not the last, or `max_wait` is over.
pub(super) async fn fetch(shared: &Shared, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        // Sessions are optional: to answer every request with session 0 says that there are none.
        return FetchResponse::default()
            .with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let max_wait = u64::try_from(request.max_wait_ms).map_or(Duration::ZERO, Duration::from_millis);
    let deadline = Instant::now() + max_wait.min(MAX_WAIT);
    // Nobody gets more than `max_bytes`: to wait for more would be to wait in vain.
    let min_bytes = request.min_bytes.min(request.max_bytes);
    let min_bytes = u64::try_from(min_bytes).unwrap_or(0).min(MAX_RESPONSE as u64);
    let wanted: Vec<Vec<Wanted>> =
        request.topics.iter().map(|topic| look_up(shared, topic)).collect();
    // Before the first look, so that no append can fall between looking and waiting.
    let all = || wanted.iter().flatten();
    let partitions = all().filter_map(|wanted| wanted.partition.as_ref().ok());
    let mut ends: Vec<watch::Receiver<i64>> =
        partitions.map(|partition| partition.subscribe()).collect();
    loop {
        ends.iter_mut().for_each(|end| end.mark_unchanged());
        let found: Vec<_> = all().map(Wanted::find).collect();
        let mut available = 0;
        // Of a partition that continues in another segment, the slice does not grow any more.
        let mut at_once = false;
        for (wanted, found) in all().zip(&found) {
            match found {
                Ok(Found { slice: Some(slice), continues, .. }) => {
                    available += slice.len().min(wanted.max as u64);
                    at_once |= continues;
                }
                Ok(_) => {}
                Err(_) => at_once = true,
            }
        }
        if at_once || ends.is_empty() || available >= min_bytes || Instant::now() >= deadline {
            return respond(&request, &wanted, found);
        }
        let change = select_all(ends.iter_mut().map(|end| Box::pin(end.changed())));
        // Either way the next look decides.
        let _ = tokio::time::timeout_at(deadline, change).await;
    }
}

fn look_up(shared: &Shared, topic: &FetchTopic) -> Vec<Wanted> {
    let (found, missing) = if topic.topic_id.is_nil() {
        (shared.store.topic(&topic.topic), ResponseError::UnknownTopicOrPartition)
    } else {
        (shared.store.topic_by_id(topic.topic_id), ResponseError::UnknownTopicId)
    };
    let one = |asked: &FetchPartition| {
        let partition = match &found {
            None => Err(missing),
            // There is one epoch only.
            Some(_) if asked.current_leader_epoch > 0 => Err(ResponseError::UnknownLeaderEpoch),
            Some(topic) => {
                let partition = topic.partition(asked.partition).cloned();
                partition.ok_or(ResponseError::UnknownTopicOrPartition)
            }
        };
        let max = usize::try_from(asked.partition_max_bytes).unwrap_or(0);
        Wanted { index: asked.partition, offset: asked.fetch_offset, max, partition }
    };
    topic.partitions.iter().map(one).collect()
}

impl Wanted {
    fn find(&self) -> Result<Found, ResponseError> {
        let partition = self.partition.as_ref().map_err(|error| *error)?;
        partition.find(self.offset).map_err(|error| match error {
            ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            ReadError::Deleted => ResponseError::UnknownTopicOrPartition,
            ReadError::Io(error) => {
                tracing::error!(index = self.index, %error, "cannot read the log");
                ResponseError::KafkaStorageError
            }
        })
    }
}

fn respond(
    request: &FetchRequest,
    wanted: &[Vec<Wanted>],
    found: Vec<Result<Found, ResponseError>>,
) -> FetchResponse {
    let mut left = usize::try_from(request.max_bytes).unwrap_or(0).min(MAX_RESPONSE);
    let mut empty = true;
    let mut found = found.into_iter();
    let responses = request.topics.iter().zip(wanted).map(|(topic, wanted)| {
        let partitions = wanted.iter().zip(found.by_ref()).map(|(wanted, found)| {
            let read = found.and_then(|found| {
                let records = match &found.slice {
                    // Whoever asks for less than one batch still gets on: the first batch of the
                    // first partition that has any comes whole.
                    Some(slice) if empty || left > 0 => slice
                        .read(wanted.max.min(left), empty)
                        .map_err(|error| storage_error(wanted.index, &error))?,
                    _ => Bytes::new(),
                };
                Ok((found, records))
            });
            match read {
                Ok((found, records)) => {
                    left = left.saturating_sub(records.len());
                    empty &= records.is_empty();
                    PartitionData::default()
                        .with_partition_index(wanted.index)
                        .with_high_watermark(found.end)
                        .with_last_stable_offset(found.end)
                        .with_log_start_offset(found.start)
                        .with_records(Some(records))
                }
                Err(error) => PartitionData::default()
                    .with_partition_index(wanted.index)
                    .with_error_code(error.code())
                    .with_high_watermark(-1)
                    .with_last_stable_offset(-1)
                    .with_log_start_offset(-1)
                    .with_records(Some(Bytes::new())),
            }
        });
        let partitions = partitions.collect();
        FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_topic_id(topic.topic_id)
            .with_partitions(partitions)
    });
    let responses = responses.collect();
    FetchResponse::default().with_responses(responses)
}

fn storage_error(index: i32, error: &std::io::Error) -> ResponseError {
    tracing::error!(index, %error, "cannot read the log");
    ResponseError::KafkaStorageError
}
