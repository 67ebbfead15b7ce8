//! Between Redpanda's SDK and [`Normalizer`]: what [`on_record_written`] hands over goes in, what
//! comes out is written to the output topics. It lies in the library, not beside `main`, so that
//! the same steps can be run and measured natively.
//!
//! [`on_record_written`]: redpanda_transform_sdk::on_record_written

use redpanda_transform_sdk::{
    BorrowedHeader, BorrowedRecord, RecordWriter, WriteError, WriteEvent, WriteOptions,
};

use crate::emit::{DeadLetter, Emit};
use crate::normalize::Normalizer;
use crate::record::RawRecord;

/// The topics that the results go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// Where ticks go.
    pub ticks: String,
    /// Where candles go.
    pub candles: String,
    /// Where dead letters go.
    pub dead_letters: String,
}

impl Outputs {
    /// In the order in which the broker names them in the module's environment; `None` if it names
    /// fewer than three.
    pub fn from_environment() -> Option<Self> {
        let topic = |index| std::env::var(format!("REDPANDA_OUTPUT_TOPIC_{index}")).ok();
        Some(Outputs { ticks: topic(0)?, candles: topic(1)?, dead_letters: topic(2)? })
    }
}

/// Normalizes one record and writes what it holds.
///
/// # Errors
///
/// A write that the broker refused. It stops the module and makes the broker repeat the batch, and
/// that is the one thing for which it is right: nothing is lost by it.
pub fn transform(
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
    let since_epoch = since_epoch.unwrap_or_default();
    // In 64 bits: the SDK made it from milliseconds, so it fits, and Wasm has no 128.
    let millis = since_epoch.as_secs().wrapping_mul(1000);
    millis.wrapping_add(u64::from(since_epoch.subsec_millis())).cast_signed()
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
