//! The module that runs inside the broker: hands each record to
//! [`normalize`](tickpanda_transform::normalize) and its results to the broker.
//!
//! The outputs are the topics that the broker names in its environment, in the order ticks,
//! candles, dead letters. With fewer of them the module ends at once, so that a wrong deployment is
//! seen at its start and not by missing rows.

// As in the library: a panic repeats forever on the same record.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unreachable,
    clippy::unwrap_used
)]

mod heap;

use std::cell::RefCell;
use std::io::Write;
use std::process::ExitCode;

use redpanda_transform_sdk::{
    BorrowedHeader, BorrowedRecord, RecordWriter, WriteError, WriteEvent, WriteOptions,
    on_record_written,
};
use tickpanda_transform::{DeadLetter, Emit, Normalizer, RawRecord};

use heap::Heap;

fn main() -> ExitCode {
    match Outputs::from_environment() {
        Some(outputs) => {
            let mut normalizer = Normalizer::default();
            let heap = RefCell::new(Heap::new(&mut normalizer));
            let normalizer = RefCell::new(normalizer);
            on_record_written(|event, writer| {
                heap.borrow_mut().settle(writer);
                transform(&mut normalizer.borrow_mut(), &outputs, &event, writer)
            })
        }
        None => {
            // One write is one log record, and control characters would cost it. If the log is
            // gone, the exit still tells.
            let line =
                b"tickpanda-transform needs three output topics, for ticks, candles and dead \
                letters in this order; redeploy it with the output-topics of its transform.yaml";
            let _ = std::io::stderr().write_all(line);
            ExitCode::FAILURE
        }
    }
}

/// The topics that the results go to.
struct Outputs {
    ticks: String,
    candles: String,
    dead_letters: String,
}

impl Outputs {
    fn from_environment() -> Option<Self> {
        let topic = |index| std::env::var(format!("REDPANDA_OUTPUT_TOPIC_{index}")).ok();
        Some(Outputs { ticks: topic(0)?, candles: topic(1)?, dead_letters: topic(2)? })
    }
}

/// An error here stops the module and makes the broker repeat the batch. A refused write is the one
/// thing for which that is right: nothing is lost by it.
fn transform(
    normalizer: &mut Normalizer,
    outputs: &Outputs,
    event: &WriteEvent<'_>,
    writer: &mut RecordWriter<'_>,
) -> Result<(), WriteError> {
    let record = RawRecord {
        key: event.record.key(),
        value: event.record.value(),
        headers: &event.record.headers(),
        timestamp_ms: milliseconds(event),
    };
    normalizer.normalize(&record, &mut Broker { outputs, writer }).map(|_| ())
}

/// The record's timestamp as the broker stores it. The SDK casts it to unsigned, so that −1 arrives
/// in the far future; this is the way back.
fn milliseconds(event: &WriteEvent<'_>) -> i64 {
    let since_epoch = event.record.timestamp().duration_since(std::time::UNIX_EPOCH);
    let millis = since_epoch.unwrap_or_default().as_millis();
    u64::try_from(millis).unwrap_or(u64::MAX).cast_signed()
}

struct Broker<'a, 'w> {
    outputs: &'a Outputs,
    writer: &'a mut RecordWriter<'w>,
}

impl Broker<'_, '_> {
    fn write(&mut self, topic: &str, record: BorrowedRecord<'_>) -> Result<(), WriteError> {
        self.writer.write_with_options(record, WriteOptions::to_topic(topic))
    }
}

impl Emit for Broker<'_, '_> {
    type Error = WriteError;

    fn tick(&mut self, key: &[u8], json: &[u8]) -> Result<(), WriteError> {
        self.write(&self.outputs.ticks, BorrowedRecord::new(Some(key), Some(json)))
    }

    fn candle(&mut self, key: &[u8], json: &[u8]) -> Result<(), WriteError> {
        self.write(&self.outputs.candles, BorrowedRecord::new(Some(key), Some(json)))
    }

    fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), WriteError> {
        // Collected in place: they are of one size, and a second list could be too much.
        let headers =
            letter.headers.into_iter().map(|(key, value)| BorrowedHeader::new(key, Some(value)));
        self.write(
            &self.outputs.dead_letters,
            BorrowedRecord::new_with_headers(letter.key, letter.value, headers.collect()),
        )
    }
}
