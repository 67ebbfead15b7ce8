//! Runs `normalize` natively over the whole raw topic.
//!
//! The topic is read through `tickpanda-kafka`, with exactly the headers and timestamps that the
//! transform saw, one response at a time: memory does not grow with the topic.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tickpanda_kafka::{Client, Header};
use tickpanda_model::header::{SEQ, Seq};
use tickpanda_model::topic;
use tickpanda_transform::{Counts, Normalizer, Outcome, RawRecord};

use super::seqs::Seqs;
use super::sums::Sums;

const FETCH_BYTES: i32 = 4 << 20;
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Fills the recomputed part of `sums`, and returns the `seq` numbers that were seen.
///
/// `ends` are the raw topic's (first, next) offsets by partition: what lies beyond is not counted.
pub(crate) async fn recount(client: &Client, ends: &[(i64, i64)], sums: &mut Sums) -> Result<Seqs> {
    // By the broker's account, so that a record which the recount does not meet is a difference.
    let lengths = ends.iter().map(|(first, end)| u64::try_from(end - first).unwrap_or(0));
    sums.raw_records = lengths.sum();
    let mut seqs = Seqs::default();
    let mut normalizer = Normalizer::default();
    let mut counts = Counts::default();
    for (partition, (first, end)) in (0i32..).zip(ends) {
        let mut offset = *first;
        while offset < *end {
            let read = client.read(topic::RAW, partition, offset, FETCH_BYTES, FETCH_WAIT).await;
            let read = read.with_context(|| {
                format!("cannot recount {} partition {partition} from offset {offset}", topic::RAW)
            })?;
            for record in read.records.iter().filter(|record| record.offset < *end) {
                if let Some(seq) = seq(&record.headers) {
                    seqs.see(seq);
                }
                let raw = RawRecord {
                    key: record.key.as_deref(),
                    value: record.value.as_deref(),
                    headers: &record.headers,
                    timestamp_ms: record.timestamp_ms,
                };
                let Ok(outcome) = normalizer.normalize(&raw, &mut counts);
                match outcome {
                    Outcome::Rows { .. } => sums.with_rows += 1,
                    Outcome::Nothing => sums.nothing += 1,
                    Outcome::Rejected(_) => sums.rejected += 1,
                }
            }
            if read.next_offset <= offset {
                bail!(
                    "{} partition {partition} ends at offset {offset}, but should reach {end}",
                    topic::RAW
                );
            }
            offset = read.next_offset;
        }
    }
    sums.expected_ticks = counts.ticks;
    sums.expected_candles = counts.candles;
    sums.expected_dead_letters = counts.dead_letters;
    Ok(seqs)
}

/// The record's number; a record without one was not published by a source.
fn seq(headers: &[Header]) -> Option<Seq> {
    let (_, value) = headers.iter().rev().find(|(key, _)| &key[..] == SEQ.as_bytes())?;
    std::str::from_utf8(value.as_ref()?).ok()?.parse().ok()
}
