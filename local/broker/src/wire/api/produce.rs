//! Produce: each partition's batch is checked and appended as it came.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::text;
use crate::batch::{self, Malformed};
use crate::engine::TRANSFORM_LOGS;
use crate::settings::MAX_BATCH;
use crate::storage::{AppendError, SequenceError, Topic};
use crate::wire::Shared;

/// Why a partition's records were not taken.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("there is no such topic or partition")]
    Unknown,
    #[error("there is no topic with this id")]
    UnknownId,
    #[error("only transforms' messages go to this topic")]
    Protected,
    #[error("acks must be -1, 0 or 1")]
    Acks,
    #[error("{}", super::NO_TRANSACTIONS)]
    Transaction,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl Refused {
    fn code(&self) -> i16 {
        match self {
            Self::Unknown | Self::Append(AppendError::Deleted) => {
                ResponseError::UnknownTopicOrPartition
            }
            Self::UnknownId => ResponseError::UnknownTopicId,
            Self::Protected => ResponseError::TopicAuthorizationFailed,
            Self::Acks => ResponseError::InvalidRequiredAcks,
            Self::Transaction => ResponseError::InvalidTxnState,
            Self::Malformed(Malformed::Magic(_)) => ResponseError::UnsupportedForMessageFormat,
            Self::Malformed(Malformed::Producer | Malformed::Control) => {
                ResponseError::InvalidRecord
            }
            Self::Malformed(Malformed::Transaction) => ResponseError::InvalidTxnState,
            Self::Malformed(_) => ResponseError::CorruptMessage,
            Self::Append(AppendError::TooLarge { .. }) => ResponseError::MessageTooLarge,
            Self::Append(AppendError::Sequence(SequenceError::OutOfOrder { .. })) => {
                ResponseError::OutOfOrderSequenceNumber
            }
            Self::Append(AppendError::Sequence(SequenceError::StaleEpoch { .. })) => {
                ResponseError::InvalidProducerEpoch
            }
            Self::Append(AppendError::Io(_)) => ResponseError::KafkaStorageError,
        }
        .code()
    }
}

/// Appends what the request holds; `None` where the client wants no answer.
pub(super) fn produce(shared: &Shared, request: ProduceRequest) -> Option<ProduceResponse> {
    let allowed = match (request.acks, &request.transactional_id) {
        (_, Some(_)) => || Err(Refused::Transaction),
        (-1..=1, None) => || Ok(()),
        _ => || Err(Refused::Acks),
    };
    let mut responses = Vec::with_capacity(request.topic_data.len());
    for data in request.topic_data {
        let topic = if data.topic_id.is_nil() {
            shared.store.topic(&data.name)
        } else {
            shared.store.topic_by_id(data.topic_id)
        };
        let partitions = data.partition_data.into_iter().map(|partition| {
            let index = partition.index;
            let appended = allowed().and_then(|()| match &topic {
                Some(topic) if topic.name == TRANSFORM_LOGS => Err(Refused::Protected),
                Some(topic) => append(topic, index, partition.records),
                None if data.topic_id.is_nil() => Err(Refused::Unknown),
                None => Err(Refused::UnknownId),
            });
            appended.unwrap_or_else(|refused| {
                if let Refused::Append(AppendError::Io(error)) = &refused {
                    tracing::error!(topic = data.name.as_str(), index, %error, "cannot append");
                }
                PartitionProduceResponse::default()
                    .with_index(index)
                    .with_error_code(refused.code())
                    .with_error_message(text(&refused))
                    .with_base_offset(-1)
            })
        });
        let partitions = partitions.collect();
        responses.push(
            TopicProduceResponse::default()
                .with_name(data.name)
                .with_topic_id(data.topic_id)
                .with_partition_responses(partitions),
        );
    }
    (request.acks != 0).then(|| ProduceResponse::default().with_responses(responses))
}

fn append(
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
) -> Result<PartitionProduceResponse, Refused> {
    let partition = topic.partition(index).ok_or(Refused::Unknown)?;
    let records = records.unwrap_or_default();
    let limit = topic.settings.get().max_message_bytes;
    if records.len() > limit {
        // Before the work of checking it.
        return Err(AppendError::TooLarge { size: records.len(), limit }.into());
    }
    let header = batch::check(&records, MAX_BATCH)?;
    let appended = partition.append(&header, &records)?;
    Ok(PartitionProduceResponse::default()
        .with_index(index)
        .with_base_offset(appended.base_offset)
        .with_log_append_time_ms(appended.append_time)
        .with_log_start_offset(appended.start))
}
