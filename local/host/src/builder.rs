//! Makes a [`Batch`] from records, so that a transform's test need not know Kafka's framing.

use crate::{Batch, BatchHeader, HostError, Record, varint};

/// Collects records into a batch, with offsets that count up from `base_offset`.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    base_offset: i64,
    log_append_time: bool,
    times: Option<(i64, i64)>,
    count: i32,
    records: Vec<u8>,
}

impl BatchBuilder {
    /// The offset of the first record, 0 unless told.
    #[must_use]
    pub fn base_offset(mut self, offset: i64) -> Self {
        self.base_offset = offset;
        self
    }

    /// As on a topic with `message.timestamp.type=LogAppendTime`: the guest sees the largest of
    /// the timestamps on every record.
    #[must_use]
    pub fn log_append_time(mut self) -> Self {
        self.log_append_time = true;
        self
    }

    /// Adds a record with its timestamp in milliseconds since the epoch.
    #[must_use]
    pub fn record(mut self, timestamp: i64, record: &Record<'_>) -> Self {
        let (base, max) = self.times.unwrap_or((timestamp, timestamp));
        self.times = Some((base, max.max(timestamp)));

        let mut body = vec![0]; // attributes: Kafka has given them no meaning yet
        varint::write(&mut body, timestamp.wrapping_sub(base));
        varint::write(&mut body, self.count.into());
        record.encode(&mut body);
        varint::write(&mut self.records, body.len() as i64);
        self.records.extend_from_slice(&body);
        self.count = self.count.saturating_add(1);
        self
    }

    /// The batch.
    ///
    /// # Errors
    /// [`HostError::MalformedBatch`] for more than 2³¹ - 1 records, or a record of more bytes.
    pub fn build(self) -> Result<Batch, HostError> {
        let (base_timestamp, max_timestamp) = self.times.unwrap_or((0, 0));
        let header = BatchHeader {
            base_offset: self.base_offset,
            record_count: self.count,
            partition_leader_epoch: 0,
            attributes: if self.log_append_time { 1 << 3 } else { 0 },
            last_offset_delta: self.count.saturating_sub(1).max(0),
            base_timestamp,
            max_timestamp,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        };
        Batch::new(header, self.records)
    }
}
