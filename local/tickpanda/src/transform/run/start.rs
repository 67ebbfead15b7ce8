//! Where partitions begin of which no offset is kept.

use std::collections::{BTreeMap, BTreeSet};

use tickpanda_host::processor::StartPosition;
use tickpanda_kafka::{At, Client, KafkaError};

use super::offsets::Offsets;

/// Gives partitions that have none a place, in one commit, so that a restart does not move it.
///
/// A first start begins all of the topic, whichever of them are hosted here: who hosts the others finds them begun, however
/// much later it starts. A partition that has no place although others have was added to the topic since.
pub(super) async fn begin(
    client: &Client,
    offsets: &Offsets,
    topic: &str,
    hosted: &BTreeSet<i32>,
    wanted: Option<StartPosition>,
) -> Result<(), KafkaError> {
    let known = offsets.known().await?;
    if hosted.is_subset(&known) {
        return Ok(());
    }
    let first_start = known.is_empty();
    let mut places = places(client, topic, position(first_start, wanted)).await?;
    places.retain(|partition, _| {
        (first_start || hosted.contains(partition)) && !known.contains(partition)
    });
    offsets.begin(&places).await
}

/// Where nothing was said, a first start begins with what comes after it. What was added begins with its first record,
/// whatever was said: all of it came after the first start.
fn position(first_start: bool, wanted: Option<StartPosition>) -> StartPosition {
    if first_start { wanted.unwrap_or(StartPosition::Latest) } else { StartPosition::Earliest }
}

/// A position's offset on every partition.
async fn places(
    client: &Client,
    topic: &str,
    position: StartPosition,
) -> Result<BTreeMap<i32, i64>, KafkaError> {
    let starts = client.offsets(topic, At::Earliest).await?;
    let ends: BTreeMap<i32, i64> = client.offsets(topic, At::Latest).await?.into_iter().collect();
    let mut at_time = BTreeMap::new();
    if let StartPosition::Timestamp(ms) = position {
        let found = client.offsets(topic, At::Time(ms)).await?;
        at_time.extend(found.into_iter().filter(|(_, offset)| *offset >= 0));
    }
    let place = |(partition, start)| {
        let end = ends.get(&partition).copied().unwrap_or(start);
        (partition, position.offset(start, end, at_time.get(&partition).copied()))
    };
    Ok(starts.into_iter().map(place).collect())
}

/// The first offset that a partition still has.
pub(super) async fn earliest(
    client: &Client,
    topic: &str,
    partition: i32,
) -> Result<i64, KafkaError> {
    let found = client.offsets(topic, At::Earliest).await?;
    let found = found.into_iter().find(|(index, _)| *index == partition);
    let topic = topic.to_owned();
    Ok(found.ok_or(KafkaError::UnknownPartition { topic, partition })?.1)
}
