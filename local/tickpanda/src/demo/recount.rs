//! Runs `normalize` natively over everything on the raw topics.

use anyhow::Result;
use tickpanda_kafka::Client;
use tickpanda_transform::{Counts, Normalizer, Outcome};

use super::sums::Sums;
use crate::raw_topic::{Reader, raw, seq};
use crate::seqs::Seqs;

/// A topic, and its (first, next) offsets by partition.
pub(crate) type Ends = (String, Vec<(i64, i64)>);

/// Fills the recomputed part of `sums`, and returns the `seq` numbers that were seen.
///
/// `topics` are the raw topics; what lies beyond their ends is not counted.
pub(crate) async fn recount(client: &Client, topics: &[Ends], sums: &mut Sums) -> Result<Seqs> {
    // By the broker's account, so that a record which the recount does not meet is a difference.
    let lengths = topics.iter().flat_map(|(_, ends)| ends);
    let lengths = lengths.map(|(first, end)| u64::try_from(end - first).unwrap_or(0));
    sums.raw_records = lengths.sum();
    let mut seqs = Seqs::default();
    let mut normalizer = Normalizer::default();
    let mut counts = Counts::default();
    for (number, (topic, ends)) in topics.iter().enumerate() {
        let number = u8::try_from(number).unwrap_or(u8::MAX);
        for (partition, (first, end)) in (0i32..).zip(ends) {
            let mut reader = Reader::new(client, topic, partition, *first, *end);
            while let Some(records) = reader.next().await? {
                for record in &records {
                    if let Some(seq) = seq(record) {
                        seqs.see(seq, (number, partition), true);
                    }
                    let Ok(outcome) = normalizer.normalize(&raw(record), &mut counts);
                    match outcome {
                        Outcome::Rows { .. } => sums.with_rows += 1,
                        Outcome::Nothing => sums.nothing += 1,
                        Outcome::Rejected(_) => sums.rejected += 1,
                    }
                }
            }
        }
    }
    sums.expected_ticks = counts.ticks;
    sums.expected_candles = counts.candles;
    sums.expected_dead_letters = counts.dead_letters;
    Ok(seqs)
}
