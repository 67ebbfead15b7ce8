//! Records inside an unpacked batch.

use bytes::Bytes;

use super::DecodeError;

/// The fewest bytes a record can have: size, attributes, two deltas, key, value and header count.
const MIN_RECORD: usize = 7;
/// The fewest bytes a header can have: the lengths of key and value.
const MIN_HEADER: usize = 2;

/// Damaged records of a batch that are told apart.
const MAX_DAMAGED: usize = 1000;

/// A header: the key's bytes, which need not be UTF-8, and the value, which can be null.
pub type Header = (Bytes, Option<Bytes>);

/// A record as a broker shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its place on the partition.
    pub offset: i64,
    /// Milliseconds since the epoch: the producer's, or when it was appended where the topic's
    /// `message.timestamp.type` says so. −1 where there is none.
    pub timestamp_ms: i64,
    /// The key, which can be null.
    pub key: Option<Bytes>,
    /// The value; null is a tombstone.
    pub value: Option<Bytes>,
    /// All headers in order, repeated keys included.
    pub headers: Vec<Header>,
}

/// What is left of a place in a batch that does not decode as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Salvaged {
    /// A record that is as it should be.
    Record(Record),
    /// One that is not.
    Damaged {
        /// Its place on the partition: by its own account where that can be, else by its turn.
        offset: i64,
        /// Its bytes, as the protocol frames a record after its size.
        bytes: Bytes,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// The records of one batch. Ends after the first error.
#[derive(Debug, Clone)]
pub struct Records {
    bytes: Bytes,
    at: usize,
    left: usize,
    base_offset: i64,
    first_timestamp: i64,
    append_time: Option<i64>,
    done: bool,
}

impl Records {
    pub(super) fn new(
        bytes: Bytes,
        count: usize,
        base_offset: i64,
        first_timestamp: i64,
        append_time: Option<i64>,
    ) -> Self {
        Self { bytes, at: 0, left: count, base_offset, first_timestamp, append_time, done: false }
    }

    /// How many bytes the batch unpacked to.
    #[must_use]
    pub fn unpacked_len(&self) -> usize {
        self.bytes.len()
    }

    fn record(&mut self) -> Result<Record, &'static str> {
        let end = self.end()?;
        self.byte()?; // attributes, none defined
        let timestamp_delta = self.varlong()?;
        let offset_delta = i64::from(self.varint()?);
        let key = self.nullable()?;
        let value = self.nullable()?;
        let count = usize::try_from(self.varint()?).map_err(|_| "negative header count")?;
        let mut headers = Vec::with_capacity(count.min(end.saturating_sub(self.at) / MIN_HEADER));
        for _ in 0..count {
            let key = self.nullable()?.ok_or("null header key")?;
            headers.push((key, self.nullable()?));
        }
        if self.at != end {
            return Err("record size and contents differ");
        }
        let timestamp_ms = match self.append_time {
            Some(time) => time,
            None => self.first_timestamp.checked_add(timestamp_delta).ok_or("time too large")?,
        };
        let offset = self.base_offset.checked_add(offset_delta).ok_or("offset too large")?;
        Ok(Record { offset, timestamp_ms, key, value, headers })
    }

    /// What can be had of the records one by one: a damaged one costs itself only, as long as its size is
    /// right. For a batch that [`Records`] as an iterator gives up on.
    pub(super) fn salvage(mut self, next_offset: i64) -> Vec<Salvaged> {
        let mut salvaged = Vec::new();
        let mut expected = self.base_offset;
        let mut damaged = 0;
        while self.left > 0 && self.at < self.bytes.len() && expected < next_offset {
            self.left -= 1;
            let start = self.at;
            // A size that can't be leaves nothing to go on with: the rest is one damaged record. So it is
            // when there are too many of them.
            let end = self.end().ok().filter(|_| damaged < MAX_DAMAGED);
            let end = end.unwrap_or(self.bytes.len());
            let body = self.at.min(end);
            self.at = start;
            let inside = |record: &Record| (expected..next_offset).contains(&record.offset);
            let found = match self.record() {
                Ok(record) if inside(&record) => Salvaged::Record(record),
                wrong => {
                    let what =
                        wrong.err().unwrap_or("offset outside of its batch, or not in its turn");
                    damaged += 1;
                    self.at = body;
                    let offset = self.offset().filter(|at| (expected..next_offset).contains(at));
                    self.at = end;
                    let bytes = self.bytes.slice(body..end);
                    Salvaged::Damaged { offset: offset.unwrap_or(expected), bytes, what }
                }
            };
            let (Salvaged::Record(Record { offset, .. }) | Salvaged::Damaged { offset, .. }) =
                found;
            expected = expected.max(offset.saturating_add(1));
            salvaged.push(found);
        }
        // What comes after the last offset belongs to none.
        if self.at < self.bytes.len() && expected < next_offset {
            let (offset, bytes) = (expected, self.bytes.slice(self.at..));
            salvaged.push(Salvaged::Damaged { offset, bytes, what: "more records than it counts" });
        }
        salvaged
    }

    /// Reads a record's size; where it ends.
    fn end(&mut self) -> Result<usize, &'static str> {
        let size = usize::try_from(self.varint()?).map_err(|_| "negative record size")?;
        let end = self.at.checked_add(size).filter(|end| *end <= self.bytes.len());
        end.ok_or("record larger than its batch")
    }

    /// The offset of the record whose body begins here.
    fn offset(&mut self) -> Option<i64> {
        self.byte().ok()?;
        self.varlong().ok()?;
        self.base_offset.checked_add(self.varint().ok()?.into())
    }

    /// Bytes after their length; −1 is null.
    fn nullable(&mut self) -> Result<Option<Bytes>, &'static str> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| "negative length")?;
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("field larger than its batch")?;
        let field = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(Some(field))
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let byte = *self.bytes.get(self.at).ok_or("ends inside a record")?;
        self.at += 1;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<i32, &'static str> {
        i32::try_from(self.varlong()?).map_err(|_| "number too large")
    }

    /// A zigzag number, seven bits a byte, the lowest first.
    fn varlong(&mut self) -> Result<i64, &'static str> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed());
            }
        }
        Err("number too long")
    }
}

impl Iterator for Records {
    type Item = Result<Record, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let result = if self.left > 0 {
            self.left -= 1;
            self.record()
        } else {
            self.done = true;
            if self.at == self.bytes.len() {
                return None;
            }
            Err("more records than it counts")
        };
        self.done |= result.is_err();
        let base_offset = self.base_offset;
        Some(result.map_err(|what| DecodeError::Malformed { base_offset, what }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.min(self.bytes.len() / MIN_RECORD), None)
    }
}
