//! A Kafka v2 record batch as the broker hands it to a guest: the header's fields, and the
//! uncompressed records, each with its payload found once and then copied verbatim.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{BatchBuilder, HostError, varint};

/// Bits 0 to 2 of the attributes name the compression.
const COMPRESSION: i16 = 0b111;
/// Bit 3: the timestamps are the broker's (LogAppendTime), not the producer's (CreateTime).
const LOG_APPEND_TIME: i16 = 0b1000;

/// The header of a batch, as in the Kafka protocol. Times are milliseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: i64,
    /// How many records follow.
    pub record_count: i32,
    /// In the broker, the raft term of the partition.
    pub partition_leader_epoch: i32,
    /// Compression (0..=2; cleared for the guest, which sees uncompressed records), timestamp
    /// type (3), transactional (4), control (5).
    pub attributes: i16,
    /// Offset of the last record, relative to `base_offset`.
    pub last_offset_delta: i32,
    /// Of the first record.
    pub base_timestamp: i64,
    /// The largest in the batch; with LogAppendTime, the time of every record.
    pub max_timestamp: i64,
    /// -1 for none.
    pub producer_id: i64,
    /// -1 for none.
    pub producer_epoch: i16,
    /// -1 for none.
    pub base_sequence: i32,
}

/// A batch of records, checked and ready to be transformed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Batch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    header: BatchHeader,
    records: Bytes,
    index: Vec<Entry>,
    max_payload: i32,
}

/// Where a record lies and what the guest is told of it.
#[derive(Clone, Debug)]
struct Entry {
    attributes: u8,
    timestamp: i64,
    offset: i64,
    payload: Range<usize>,
}

/// One record, as `read_next_record` shows it.
pub(crate) struct RawRecord<'a> {
    pub(crate) attributes: u8,
    pub(crate) timestamp: i64,
    pub(crate) offset: i64,
    pub(crate) payload: &'a [u8],
}

impl Batch {
    /// Takes the header and the *uncompressed* records section of a record batch.
    ///
    /// The records' framing (length, attributes, timestamp and offset delta) is checked here;
    /// their payloads are not, neither here nor in the broker.
    ///
    /// # Errors
    /// [`HostError::MalformedBatch`] if the section does not hold exactly the records that the header counts.
    pub fn new(mut header: BatchHeader, records: impl Into<Bytes>) -> Result<Self, HostError> {
        let records = records.into();
        let malformed =
            |reason| HostError::MalformedBatch { base_offset: header.base_offset, reason };
        let count = usize::try_from(header.record_count)
            .map_err(|_| malformed(format!("its record count is {}", header.record_count)))?;
        let mut rest = &records[..];
        // A record takes seven bytes at least, so a lying count can't reserve more than that.
        let mut index = Vec::with_capacity(count.min(records.len() / 7));
        for n in 0..count {
            let at = records.len() - rest.len();
            index.push(read_entry(&header, &records, &mut rest).ok_or_else(|| {
                malformed(format!(
                    "record {n} of {count}, at byte {at} of {}, is cut off or has a wrong length",
                    records.len()
                ))
            })?);
        }
        if !rest.is_empty() {
            let left = rest.len();
            return Err(malformed(format!("{left} bytes follow the last of its {count} records")));
        }
        let max_payload = index.iter().map(|e| e.payload.len()).max().unwrap_or(0);
        let max_payload = i32::try_from(max_payload)
            .map_err(|_| malformed(format!("a record of {max_payload} bytes is too large")))?;
        header.attributes &= !COMPRESSION;
        Ok(Self(Arc::new(Inner { header, records, index, max_payload })))
    }

    /// Makes a batch from records, for tests.
    pub fn builder() -> BatchBuilder {
        BatchBuilder::default()
    }

    /// The header, its compression bits cleared.
    pub fn header(&self) -> &BatchHeader {
        &self.0.header
    }

    /// How many records it holds.
    pub fn len(&self) -> usize {
        self.0.index.len()
    }

    /// Whether it holds no records. The guest is never shown such a batch.
    pub fn is_empty(&self) -> bool {
        self.0.index.is_empty()
    }

    /// Bytes of the largest payload: the buffer that the guest must have.
    pub(crate) fn max_payload(&self) -> i32 {
        self.0.max_payload
    }

    /// What the wall clock shows while no record has been read yet.
    pub(crate) fn timestamp(&self) -> i64 {
        let header = self.header();
        if header.attributes & LOG_APPEND_TIME == 0 {
            header.base_timestamp
        } else {
            header.max_timestamp
        }
    }

    pub(crate) fn record(&self, n: usize) -> Option<RawRecord<'_>> {
        let Entry { attributes, timestamp, offset, payload } = self.0.index.get(n)?.clone();
        Some(RawRecord { attributes, timestamp, offset, payload: &self.0.records[payload] })
    }
}

fn read_entry(header: &BatchHeader, records: &[u8], rest: &mut &[u8]) -> Option<Entry> {
    let length = usize::try_from(varint::read(rest)?).ok()?;
    let (mut record, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    let (&attributes, after) = record.split_first()?;
    record = after;
    let timestamp_delta = varint::read(&mut record)?;
    let offset_delta = varint::read(&mut record)?;
    let end = records.len() - tail.len();
    Some(Entry {
        attributes,
        // A producer may send any time, so a sum may not fit; the broker's wraps.
        timestamp: if header.attributes & LOG_APPEND_TIME == 0 {
            header.base_timestamp.wrapping_add(timestamp_delta)
        } else {
            header.max_timestamp
        },
        offset: header.base_offset.wrapping_add(offset_delta),
        payload: end - record.len()..end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Record;
    use proptest::prelude::*;

    fn header(record_count: i32) -> BatchHeader {
        BatchHeader {
            base_offset: 40,
            record_count,
            partition_leader_epoch: 7,
            attributes: 0b0100,
            last_offset_delta: 0,
            base_timestamp: 1_000,
            max_timestamp: 2_000,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }

    /// length 9, attributes 3, timestamp +5, offset +1, key null, value "ab", no headers
    const RECORD: [u8; 9] = [16, 3, 10, 2, 1, 4, b'a', b'b', 0];

    #[test]
    fn a_record_is_sliced_verbatim_with_absolute_time_and_offset() {
        let batch = Batch::new(header(1), RECORD.to_vec()).unwrap();
        let record = batch.record(0).unwrap();
        assert_eq!((record.attributes, record.timestamp, record.offset), (3, 1_005, 41));
        assert_eq!(record.payload, &RECORD[4..]);
        assert_eq!(batch.max_payload(), 5);
        assert_eq!(batch.header().attributes, 0, "zstd is no more");
        assert!(batch.record(1).is_none());
    }

    #[test]
    fn with_log_append_time_every_record_has_the_batchs_time() {
        let header = BatchHeader { attributes: LOG_APPEND_TIME, ..header(1) };
        let batch = Batch::new(header, RECORD.to_vec()).unwrap();
        assert_eq!(batch.timestamp(), 2_000);
        assert_eq!(batch.record(0).unwrap().timestamp, 2_000);
    }

    #[test]
    fn what_is_not_as_the_header_says_is_an_error() {
        let mut negative = RECORD;
        negative[0] = 15;
        for (count, bytes, part) in [
            (-1, &RECORD[..], "record count is -1"),
            (2, &RECORD, "record 1 of 2, at byte 9 of 9"),
            (i32::MAX, &RECORD, "record 1 of 2147483647"),
            (0, &RECORD, "9 bytes follow the last of its 0 records"),
            (1, &RECORD[..8], "record 0 of 1"),
            (1, &negative, "record 0 of 1"),
            (1, &[0], "record 0 of 1"),
            (1, &[2, 0], "record 0 of 1"),
        ] {
            let error = Batch::new(header(count), bytes.to_vec()).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert!(!error.is_transient());
        }
    }

    #[test]
    fn sums_that_do_not_fit_wrap() {
        let header = BatchHeader { base_timestamp: i64::MAX, base_offset: i64::MAX, ..header(1) };
        let batch = Batch::new(header, RECORD.to_vec()).unwrap();
        assert_eq!(batch.record(0).unwrap().timestamp, i64::MIN + 4);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_batch_or_an_error(count in -2..6i32, bytes: Vec<u8>) {
            if let Ok(batch) = Batch::new(header(count), bytes) {
                prop_assert_eq!(batch.len(), usize::try_from(count).unwrap());
            }
        }

        #[test]
        fn a_damaged_batch_never_panics(at: prop::sample::Index, byte: u8, values: Vec<Vec<u8>>) {
            let mut builder = Batch::builder();
            for value in &values {
                builder = builder.record(1_000, &Record::value(value));
            }
            let batch = builder.build().unwrap();
            let mut bytes = batch.0.records.to_vec();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = Batch::new(*batch.header(), bytes);
        }

        #[test]
        fn what_the_builder_wrote_reads_back(
            base: u32,
            records: Vec<(i64, Option<Vec<u8>>, Option<Vec<u8>>)>,
        ) {
            let mut builder = Batch::builder().base_offset(base.into());
            for (time, key, value) in &records {
                builder = builder.record(*time, &Record::new(key.as_deref(), value.as_deref()));
            }
            let batch = builder.build().unwrap();
            prop_assert_eq!(batch.len(), records.len());
            for (n, (time, key, value)) in records.iter().enumerate() {
                let raw = batch.record(n).unwrap();
                prop_assert_eq!(raw.timestamp, *time);
                prop_assert_eq!(raw.offset, i64::from(base) + n as i64);
                let record = Record::decode(raw.payload).unwrap();
                prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
            }
        }
    }
}
