//! ListOffsets and DeleteRecords: where a partition begins and ends, by time too.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
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

/// Start, end, or the first record at or after a time.
pub(super) fn list(
    shared: &Shared,
    request: ListOffsetsRequest,
    version: i16,
) -> ListOffsetsResponse {
    // Older versions have no such field, and kafka-protocol does not encode what would be lost.
    let epoch = if version >= 4 { 0 } else { -1 };
    let topics = request.topics.into_iter().map(|asked| {
        let topic = shared.store.topic(&asked.name);
        let partitions = asked.partitions.iter().map(|asked| {
            let response =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let partition = topic.as_ref().and_then(|topic| topic.partition(asked.partition_index));
            let found = match partition {
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

/// Offset and timestamp, both −1 where no record is so new.
fn at(partition: &Partition, time: i64) -> Result<(i64, i64), ResponseError> {
    let (start, end) = partition.watermarks();
    match time {
        LATEST => Ok((end, -1)),
        EARLIEST => Ok((start, -1)),
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
