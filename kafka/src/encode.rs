//! Records to a record batch (format v2), uncompressed, in one buffer: what rskafka does with some
//! thirty allocations a record.
//!
//! Layout: <https://kafka.apache.org/documentation/#recordbatch>.

use bytes::{BufMut, Bytes, BytesMut};

/// A batch's header.
const HEADER: usize = 61;
/// Where the batch's length is, and what comes before it counts.
const LENGTH_AT: usize = 8;
const COUNTED_FROM: usize = 12;
/// Where the checksum is, and from where on it covers everything.
const CHECKSUM_AT: usize = 17;
const CHECKED_FROM: usize = 21;
/// The longest a varint of 64 bits gets.
const VARINT: usize = 10;

/// Builds batches, one after the other, in memory that it keeps.
#[derive(Debug, Default)]
pub struct BatchEncoder {
    bytes: BytesMut,
    count: i32,
    first_timestamp: i64,
    max_timestamp: i64,
}

impl BatchEncoder {
    /// Adds a record. `timestamp` is milliseconds since the epoch.
    pub fn push<'a>(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    ) {
        if self.count == 0 {
            self.bytes.put_bytes(0, HEADER);
            (self.first_timestamp, self.max_timestamp) = (timestamp, timestamp);
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let delta = timestamp.wrapping_sub(self.first_timestamp);
        let offset = i64::from(self.count);
        let (mut count, mut size) = (0, 1 + varint_size(delta) + varint_size(offset));
        size += field_size(key) + field_size(value);
        for (name, value) in headers.clone() {
            count += 1;
            size += field_size(Some(name)) + field_size(Some(value));
        }
        size += varint_size(count);
        self.bytes.reserve(size + VARINT);
        self.varint(length(size));
        self.bytes.put_u8(0);
        self.varint(delta);
        self.varint(offset);
        self.field(key);
        self.field(value);
        self.varint(count);
        for (name, value) in headers {
            self.field(Some(name));
            self.field(Some(value));
        }
        self.count += 1;
    }

    /// Number of records in the batch so far.
    pub fn len(&self) -> i32 {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The batch; the next record begins another one. Nothing where there is no record.
    pub fn finish(&mut self) -> Bytes {
        if self.count == 0 {
            return Bytes::new();
        }
        let mut header = &mut self.bytes[..HEADER];
        header.put_i64(0); // base offset: the broker's
        header.put_i32(0); // length, below
        header.put_i32(-1); // leader epoch: the broker's
        header.put_u8(2);
        header.put_u32(0); // checksum, below
        header.put_i16(0); // no compression, CreateTime, no transaction
        header.put_i32(self.count - 1);
        header.put_i64(self.first_timestamp);
        header.put_i64(self.max_timestamp);
        header.put_i64(-1); // no idempotent producer: its id, epoch and first sequence number
        header.put_i16(-1);
        header.put_i32(-1);
        header.put_i32(self.count);
        // Nobody makes a batch of 2 GiB, and a broker would refuse it.
        let length = i32::try_from(self.bytes.len() - COUNTED_FROM).unwrap_or(i32::MAX);
        self.bytes[LENGTH_AT..LENGTH_AT + 4].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32c::crc32c(&self.bytes[CHECKED_FROM..]);
        self.bytes[CHECKSUM_AT..CHECKSUM_AT + 4].copy_from_slice(&checksum.to_be_bytes());
        self.count = 0;
        self.bytes.split().freeze()
    }

    fn field(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.varint(-1),
            Some(bytes) => {
                self.varint(length(bytes.len()));
                self.bytes.put_slice(bytes);
            }
        }
    }

    fn varint(&mut self, value: i64) {
        let mut left = zigzag(value);
        let (mut digits, mut used) = ([0; VARINT], 0);
        loop {
            // Seven bits fit.
            #[allow(clippy::cast_possible_truncation)]
            let digit = (left & 0x7f) as u8;
            left >>= 7;
            digits[used] = if left == 0 { digit } else { digit | 0x80 };
            used += 1;
            if left == 0 {
                break;
            }
        }
        self.bytes.put_slice(&digits[..used]);
    }
}

fn field_size(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint_size(length(bytes.len())) + bytes.len())
}

fn varint_size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn length(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::decode::{Batches, Record};

    type Given = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Vec<u8>)>);

    fn given() -> impl Strategy<Value = Given> {
        let bytes = || vec(any::<u8>(), 0..300);
        let field = || proptest::option::of(bytes());
        (any::<i32>().prop_map(i64::from), field(), field(), vec((bytes(), bytes()), 0..4))
    }

    fn push(encoder: &mut BatchEncoder, (timestamp, key, value, headers): &Given) {
        let headers = headers.iter().map(|(name, value)| (name.as_slice(), value.as_slice()));
        encoder.push(*timestamp, key.as_deref(), value.as_deref(), headers);
    }

    fn decode(bytes: Bytes) -> Vec<Record> {
        let batches: Vec<_> = Batches::new(bytes).map(|batch| batch.unwrap()).collect();
        batches.iter().flat_map(|b| b.records().unwrap()).map(|record| record.unwrap()).collect()
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_as_it_was(batches in vec(vec(given(), 1..9), 1..4)) {
            let mut encoder = BatchEncoder::default();
            for given in batches {
                given.iter().for_each(|record| push(&mut encoder, record));
                let bytes = encoder.finish();
                prop_assert!(encoder.is_empty());
                let decoded = decode(bytes);
                prop_assert_eq!(decoded.len(), given.len());
                for (offset, (record, given)) in (0..).zip(decoded.into_iter().zip(given)) {
                    let (timestamp, key, value, headers) = given;
                    prop_assert_eq!((record.offset, record.timestamp_ms), (offset, timestamp));
                    prop_assert_eq!(record.key.as_deref(), key.as_deref());
                    prop_assert_eq!(record.value.as_deref(), value.as_deref());
                    let read: Vec<_> = record.headers.into_iter()
                        .map(|(name, value)| (name.to_vec(), value.unwrap().to_vec()))
                        .collect();
                    prop_assert_eq!(read, headers);
                }
            }
        }

        #[test]
        fn sizes_of_numbers_are_what_they_take(value in any::<i64>()) {
            for value in [value, value >> 32, value >> 57, 0, i64::MIN] {
                let mut encoder = BatchEncoder::default();
                encoder.varint(value);
                prop_assert_eq!(encoder.bytes.len(), varint_size(value));
            }
        }
    }

    #[test]
    fn memory_of_a_batch_that_is_sent_is_used_for_the_next_one() {
        let mut encoder = BatchEncoder::default();
        let record = |encoder: &mut BatchEncoder| {
            (0..100).for_each(|_| encoder.push(1, None, Some(&[7; 1000]), std::iter::empty()));
            encoder.finish()
        };
        let first = record(&mut encoder).as_ptr();
        assert_eq!(record(&mut encoder).as_ptr(), first);
        assert_eq!(encoder.finish(), Bytes::new());
    }
}
