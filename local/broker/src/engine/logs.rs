//! The topic on which messages of guests are kept, as Redpanda keeps them: `rpk transform logs` reads it.

use std::sync::Arc;

use tickpanda_host::processor::{OutputBatch, TimestampType};
use tickpanda_host::{LogEvent, Record};

use crate::batch::Header;
use crate::error::BrokerError;
use crate::storage::{AppendError, Store, Topic};

/// Its name.
pub(crate) const TOPIC: &str = "_redpanda.transform_logs";
/// `default_topic_partitions`.
const PARTITIONS: i32 = 1;
/// A day or 2 GiB, whichever is less.
const SETTINGS: [(&str, &str); 2] =
    [("retention.ms", "86400000"), ("retention.bytes", "2147483648")];

/// Why messages were not kept.
#[derive(Debug, thiserror::Error)]
enum LogError {
    #[error(transparent)]
    Topic(#[from] BrokerError),
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Makes sure that the topic is there. It may have been made by somebody else, with whatever partitions.
pub(super) fn topic(store: &Store) -> Result<Arc<Topic>, BrokerError> {
    if let Some(topic) = store.topic(TOPIC) {
        return Ok(topic);
    }
    let settings = SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    match store.create(TOPIC, PARTITIONS, &settings) {
        // Somebody was faster.
        Err(BrokerError::TopicExists(_)) => {
            store.topic(TOPIC).ok_or_else(|| BrokerError::UnknownTopic(TOPIC.to_owned()))
        }
        made => made,
    }
}

/// Appends one record for each message. What can't be kept is told the broker's log, and lost as in Redpanda.
pub(super) fn keep(store: &Store, transform: &str, events: &[LogEvent], node: i32, now: i64) {
    if let Err(error) = append(store, transform, events, node, now) {
        tracing::warn!(transform, count = events.len(), %error, "messages were not kept on {TOPIC}");
    }
}

fn append(
    store: &Store,
    transform: &str,
    events: &[LogEvent],
    node: i32,
    now: i64,
) -> Result<(), LogError> {
    let topic = topic(store)?;
    let count = u32::try_from(topic.partitions.len()).unwrap_or(1).max(1);
    let index = usize::try_from(murmur2(transform.as_bytes()) % count).unwrap_or(0);
    let partition = &topic.partitions[index];
    let (mut batch, mut payload) = (OutputBatch::default(), Vec::new());
    let flush = |batch: &mut OutputBatch| -> Result<(), LogError> {
        if let Some(bytes) = batch.seal(now, TimestampType::CreateTime) {
            let header = Header::parse(bytes).map_err(std::io::Error::other);
            partition.append(&header.map_err(AppendError::Io)?, bytes)?;
            batch.clear();
        }
        Ok(())
    };
    for event in events {
        payload.clear();
        let value = event.otel_json(node);
        Record::new(Some(event.transform.as_bytes()), Some(value.as_bytes())).encode(&mut payload);
        if batch.len_with(&payload) > topic.settings.get().max_message_bytes {
            flush(&mut batch)?;
        }
        batch.push(&payload);
    }
    flush(&mut batch)
}

/// The hash by which Kafka's producers, and Redpanda here, place a key.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut hash = 0x9747_b28c ^ length;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_mul(M) ^ mix(u32::from_le_bytes(*word));
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_placed_as_kafkas_clients_place_them() {
        // The values of Apache Kafka's own test, UtilsTest.testMurmur2.
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }
}
