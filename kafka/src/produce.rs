//! Appending a record batch to a partition, acknowledged by all in-sync replicas.
//!
//! Beside rskafka because of two things that it does: it copies every record some thirty times into
//! memory of its own, and it leaves Nagle's algorithm on while it writes a request in two pieces, so
//! that one of 8 to 64 kB may wait for the broker's delayed acknowledgement of the first.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use crate::api::Api;
use crate::client::{Client, topic_name};
use crate::error::{KafkaError, Result, check};

/// All in-sync replicas.
const ALL: i16 = -1;

impl Client {
    /// Appends a batch (see [`BatchEncoder`](crate::BatchEncoder)) to a partition and returns the offset of
    /// its first record. It is tried once, and once more where the connection had been idle and turns out
    /// to be closed; then the batch may be there twice.
    ///
    /// # Errors
    ///
    /// [`KafkaError::is_too_large`] where the topic takes less; whatever a call can fail with. After an
    /// error the batch may be there or not.
    pub async fn produce(&self, topic: &str, partition: i32, batch: Bytes) -> Result<i64> {
        let timeout = i32::try_from(self.config().request_timeout.as_millis()).unwrap_or(i32::MAX);
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(ALL)
            .with_timeout_ms(timeout)
            .with_topic_data(vec![data]);
        let broker = self.leader(topic, partition).await?;
        let answer = self.call(&broker, &request, Duration::ZERO).await;
        let produced = answer.and_then(|answer| understand(answer, &broker, topic, partition));
        if produced.is_err() {
            self.forget_leaders(topic);
        }
        produced
    }
}

/// The offset of the first record, or what the leader refused it for.
fn understand(answer: ProduceResponse, broker: &str, topic: &str, partition: i32) -> Result<i64> {
    let mut found = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let found = found.find(|found| found.index == partition);
    let found = found.ok_or_else(|| KafkaError::Malformed {
        broker: broker.to_owned(),
        api: ProduceRequest::NAME,
        reason: format!("{topic}/{partition} is not in it"),
    })?;
    let message = found.error_message.as_deref();
    check(broker, ProduceRequest::NAME, found.error_code, message, || {
        format!("{topic}/{partition}")
    })?;
    Ok(found.base_offset)
}

#[cfg(test)]
mod tests {
    use kafka_protocol::ResponseError;
    use kafka_protocol::messages::produce_response::{
        PartitionProduceResponse, TopicProduceResponse,
    };

    use super::*;

    fn answer(partition: i32, code: i16) -> ProduceResponse {
        let found = PartitionProduceResponse::default()
            .with_index(partition)
            .with_error_code(code)
            .with_base_offset(42);
        let topic = TopicProduceResponse::default().with_partition_responses(vec![found]);
        ProduceResponse::default().with_responses(vec![topic])
    }

    #[test]
    fn an_answer_is_an_offset_or_says_what_is_in_the_way() {
        let understand = |partition, code| understand(answer(partition, code), "b:1", "raw", 3);
        assert_eq!(understand(3, 0).unwrap(), 42);
        let error = |error: ResponseError| understand(3, error.code()).unwrap_err();
        for (code, too_large, missing, transient) in [
            (ResponseError::MessageTooLarge, true, false, false),
            (ResponseError::RecordListTooLarge, true, false, false),
            (ResponseError::UnknownTopicOrPartition, false, true, true),
            (ResponseError::NotLeaderOrFollower, false, false, true),
            (ResponseError::TopicAuthorizationFailed, false, false, false),
        ] {
            let error = error(code);
            let found = (error.is_too_large(), error.is_missing(), error.is_transient());
            assert_eq!(found, (too_large, missing, transient), "{error}");
            assert!(!error.is_silence() && error.to_string().contains("raw/3"), "{error}");
        }
        assert!(matches!(understand(2, 0), Err(KafkaError::Malformed { .. })));
    }
}
