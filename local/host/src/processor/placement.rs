//! Where output goes, and the record batches it goes in.

use crate::varint;

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Bytes that its length does not count: base offset and the length itself.
const PREFIX: usize = 12;
/// The checksum covers everything from here on.
const CHECKED_FROM: usize = 21;
/// What a record's frame takes besides its payload, at most: length, attributes and both deltas.
const FRAME: usize = 5 + 1 + 1 + 5;

/// The output partition for what comes out of an input partition, by their index. A record's key
/// has no say. The order within an input partition is kept.
pub fn output_partition(input: usize, output_partitions: usize) -> usize {
    input % output_partitions.max(1)
}

/// Whose time a batch carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: what a broker takes from a client.
    CreateTime,
    /// The broker's: how Redpanda marks the output of a transform.
    LogAppendTime,
}

impl TimestampType {
    fn attributes(self) -> i16 {
        match self {
            Self::CreateTime => 0,
            Self::LogAppendTime => 1 << 3,
        }
    }
}

/// A Kafka v2 record batch in the making, for one partition of one output topic: uncompressed, without
/// a producer, all its records at one time. What the guest wrote goes in verbatim, null header values, repeated
/// headers and all. Its memory is kept from batch to batch.
#[derive(Clone, Debug, Default)]
pub struct OutputBatch {
    /// Space for the header, then the records.
    bytes: Vec<u8>,
    count: i32,
}

impl OutputBatch {
    /// The most bytes that a batch with this payload alone can have.
    pub fn len_of(payload: &[u8]) -> usize {
        HEADER + FRAME + payload.len()
    }

    /// How many records it holds.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Its bytes so far.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The most bytes that it can have with one more payload.
    pub fn len_with(&self, payload: &[u8]) -> usize {
        self.bytes.len().max(HEADER) + FRAME + payload.len()
    }

    /// Adds a record: key, value and headers as the guest framed them.
    pub fn push(&mut self, payload: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEADER, 0);
        }
        let delta = i64::from(self.count);
        let length = 2 + varint_len(delta) + payload.len();
        varint::write(&mut self.bytes, i64::try_from(length).unwrap_or(i64::MAX));
        // No attributes, and the batch's own time.
        self.bytes.extend_from_slice(&[0, 0]);
        varint::write(&mut self.bytes, delta);
        self.bytes.extend_from_slice(payload);
        self.count += 1;
    }

    /// The whole batch, with `now` (ms since the epoch) as every record's time; `None` if it is empty. Its base offset is
    /// 0: whoever appends it sets that, it lies outside the checksum.
    pub fn seal(&mut self, now: i64, timestamps: TimestampType) -> Option<&[u8]> {
        if self.is_empty() {
            return None;
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(&0_i64.to_be_bytes());
        // Callers bound batches far below i32::MAX.
        let length = i32::try_from(self.bytes.len() - PREFIX).unwrap_or(i32::MAX);
        header.extend_from_slice(&length.to_be_bytes());
        header.extend_from_slice(&0_i32.to_be_bytes());
        header.push(2);
        header.extend_from_slice(&0_u32.to_be_bytes());
        header.extend_from_slice(&timestamps.attributes().to_be_bytes());
        header.extend_from_slice(&(self.count - 1).to_be_bytes());
        header.extend_from_slice(&now.to_be_bytes());
        header.extend_from_slice(&now.to_be_bytes());
        header.extend_from_slice(&(-1_i64).to_be_bytes());
        header.extend_from_slice(&(-1_i16).to_be_bytes());
        header.extend_from_slice(&(-1_i32).to_be_bytes());
        header.extend_from_slice(&self.count.to_be_bytes());
        self.bytes[..HEADER].copy_from_slice(&header);
        let checksum = crc32c::crc32c(&self.bytes[CHECKED_FROM..]);
        self.bytes[17..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
        Some(&self.bytes)
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}

/// How many bytes a varint takes whose value is not negative.
fn varint_len(value: i64) -> usize {
    let bits = 64 - (value << 1).leading_zeros();
    (bits.max(1) as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Batch, BatchHeader, Record};
    use bytes::{Buf, Bytes};

    fn unframe(mut bytes: &[u8]) -> Batch {
        let whole = bytes;
        let base_offset = bytes.get_i64();
        assert_eq!(usize::try_from(bytes.get_i32()).unwrap(), whole.len() - PREFIX);
        let partition_leader_epoch = bytes.get_i32();
        assert_eq!(bytes.get_i8(), 2);
        assert_eq!(bytes.get_u32(), crc32c::crc32c(&whole[CHECKED_FROM..]));
        let (attributes, last_offset_delta) = (bytes.get_i16(), bytes.get_i32());
        let (base_timestamp, max_timestamp) = (bytes.get_i64(), bytes.get_i64());
        let (producer_id, producer_epoch) = (bytes.get_i64(), bytes.get_i16());
        let (base_sequence, record_count) = (bytes.get_i32(), bytes.get_i32());
        let header = BatchHeader {
            base_offset,
            record_count,
            partition_leader_epoch,
            attributes,
            last_offset_delta,
            base_timestamp,
            max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
        };
        Batch::new(header, Bytes::copy_from_slice(bytes)).unwrap()
    }

    #[test]
    fn a_batch_is_what_the_broker_would_append() {
        let mut batch = OutputBatch::default();
        assert_eq!(batch.seal(1, TimestampType::LogAppendTime), None);
        let mut payloads = Vec::new();
        for n in 0..200_usize {
            let (value, payload) = (vec![b'x'; n], &mut Vec::new());
            Record::value(&value).encode(payload);
            assert!(batch.is_empty() || batch.len_with(payload) > batch.bytes.len());
            let bound = batch.len_with(payload);
            batch.push(payload);
            assert!(batch.bytes.len() <= bound, "{n}");
            payloads.push(std::mem::take(payload));
        }
        for (timestamps, attributes) in
            [(TimestampType::LogAppendTime, 8), (TimestampType::CreateTime, 0)]
        {
            let sealed = unframe(batch.seal(1_700_000_000_000, timestamps).unwrap());
            let header = sealed.header();
            assert_eq!(
                (header.attributes, header.producer_id, header.record_count),
                (attributes, -1, 200)
            );
            assert_eq!((header.last_offset_delta, header.base_timestamp), (199, 1_700_000_000_000));
            let found: Vec<&[u8]> = (0..200).map(|n| sealed.record(n).unwrap().payload).collect();
            assert_eq!(found, payloads);
            assert!((0..200).all(|n| sealed.record(n).unwrap().timestamp == 1_700_000_000_000));
        }
        batch.clear();
        batch.push(&payloads[3]);
        assert!(batch.bytes.len() <= OutputBatch::len_of(&payloads[3]));
        assert_eq!(unframe(batch.seal(5, TimestampType::CreateTime).unwrap()).len(), 1);
    }

    #[test]
    fn output_goes_to_the_partition_input_mod_count() {
        for (input, count, output) in
            [(0, 1, 0), (5, 1, 0), (0, 4, 0), (3, 4, 3), (4, 4, 0), (7, 3, 1)]
        {
            assert_eq!(output_partition(input, count), output, "{input} of {count}");
        }
    }
}
