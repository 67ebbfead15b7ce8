//! ListOffsets, OffsetForLeaderEpoch and DeleteRecords: where a partition begins and ends, by time too.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, TopicName,
};

use crate::batch::Header;
use crate::records;
use crate::settings::MAX_BATCH;
use crate::storage::{Partition, ReadError};
use crate::wire::Shared;

/// ListOffsets' time for the end of the log.
const LATEST: i64 = -1;
/// ListOffsets' time for its start.
const EARLIEST: i64 = -2;
/// ListOffsets' time for the newest record by timestamp (version 7).
const NEWEST: i64 = -3;
/// ListOffsets' time for the start of what is on the broker's own disk (version 8): all there is.
const EARLIEST_LOCAL: i64 = -4;
/// ListOffsets' time for the end of what is in tiered storage (version 9): there is none.
const LATEST_TIERED: i64 = -5;
/// The one leader epoch there is.
const EPOCH: i32 = 0;

/// Start, end, or the first record at or after a time.
pub(super) fn list(
    shared: &Shared,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    // Older versions have no such field, and kafka-protocol does not encode what would be lost.
    let epoch = if version >= 4 { EPOCH } else { -1 };
    let repeated = repeated(&request);
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.store.topic(&asked.name);
        let name = asked.name.clone();
        let partitions = asked.partitions.iter().map(|asked| {
            let response =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let partition = topic.as_ref().and_then(|topic| topic.partition(asked.partition_index));
            let found = match partition {
                _ if repeated.contains(&(name.clone(), asked.partition_index)) => {
                    Err(ResponseError::InvalidRequest)
                }
                Some(partition) => at(partition, asked.timestamp),
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            match found {
                Ok((offset, timestamp)) => {
                    response.with_offset(offset).with_timestamp(timestamp).with_leader_epoch(epoch)
                }
                Err(error) => response.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(asked.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

/// Partitions that are asked for more than once. Kafka refuses each of these: a time that is looked for reads a
/// batch, every time anew.
fn repeated(request: &ListOffsetsRequest) -> HashSet<(TopicName, i32)> {
    let mut seen = HashSet::new();
    let asked = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|asked| (topic.name.clone(), asked.partition_index))
    });
    asked.filter(|it| !seen.insert(it.clone())).collect()
}

/// Offset and timestamp, both −1 where no record is so new.
fn at(partition: &Partition, time: i64) -> Result<(i64, i64), ResponseError> {
    let (start, end) = partition.watermarks();
    match time {
        LATEST => Ok((end, -1)),
        EARLIEST | EARLIEST_LOCAL => Ok((start, -1)),
        LATEST_TIERED => Ok((-1, -1)),
        NEWEST => match partition.max_timestamp() {
            ..0 => Ok((-1, -1)),
            newest => at(partition, newest),
        },
        0.. => {
            let found = first_at(partition, time).map_err(|error| code(&error))?;
            Ok(found.map_or((-1, -1), |(offset, timestamp)| (offset.max(start), timestamp)))
        }
        _ => Err(ResponseError::InvalidRequest),
    }
}

/// The first record at or after `time` (ms): its offset and timestamp.
pub(crate) fn first_at(partition: &Partition, time: i64) -> Result<Option<(i64, i64)>, ReadError> {
    let Some(slice) = partition.find_time(time)? else {
        return Ok(None);
    };
    let batch = slice.read(0, true)?;
    let invalid = |error| std::io::Error::new(std::io::ErrorKind::InvalidData, error);
    let header = Header::parse(&batch).map_err(invalid)?;
    let records = records::plain(&header, &batch, MAX_BATCH).map_err(invalid)?;
    // A producer's max_timestamp may lie; then the batch's end is as near as it gets.
    Ok(records::first_at(&header, &records, time)
        .or(Some((header.next_offset() - 1, header.max_timestamp))))
}

fn code(error: &ReadError) -> ResponseError {
    match error {
        ReadError::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
        ReadError::Deleted => ResponseError::UnknownTopicOrPartition,
        ReadError::Io(error) => {
            tracing::error!(%error, "cannot read or change the log");
            ResponseError::KafkaStorageError
        }
    }
}

/// Where an epoch ends: the one that there is, at the log's end.
pub(super) fn epoch_ends(
    shared: &Shared,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.store.topic(&asked.topic);
        let partitions = asked.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let partition = topic.as_ref().and_then(|topic| topic.partition(asked.partition));
            match partition {
                None => answer.with_error_code(ResponseError::UnknownTopicOrPartition.code()),
                Some(_) if asked.current_leader_epoch > EPOCH => {
                    answer.with_error_code(ResponseError::UnknownLeaderEpoch.code())
                }
                Some(partition) if asked.leader_epoch == EPOCH => {
                    answer.with_leader_epoch(EPOCH).with_end_offset(partition.watermarks().1)
                }
                Some(_) => answer,
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(asked.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

/// Moves partitions' starts up.
pub(super) fn delete_records(
    shared: &Shared,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.store.topic(&asked.name);
        let partitions = asked.partitions.iter().map(|asked| {
            let partition = topic.as_ref().and_then(|topic| topic.partition(asked.partition_index));
            let deleted = match partition {
                Some(partition) => {
                    partition.delete_before(asked.offset).map_err(|error| code(&error))
                }
                None => Err(ResponseError::UnknownTopicOrPartition),
            };
            let result =
                DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match deleted {
                Ok(start) => result.with_low_watermark(start),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(asked.name).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}
