//! One record as it lies on a topic: what fetching gives and decoding reads.
//!
//! It is the sink's own type, so that the writer can be tested with values, and so that the two ways
//! of reading a batch (rskafka, and `tickpanda-kafka` for what rskafka refuses) end in one form.

use std::collections::BTreeMap;

/// A record of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its offset in the partition.
    pub offset: i64,
    /// The producer's timestamp, milliseconds since the epoch. (rskafka does not show the broker's.)
    pub timestamp: i64,
    /// `None` where the record has no key.
    pub key: Option<Vec<u8>>,
    /// `None` for a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers by name; of a repeated name the last, and a null value is empty.
    pub headers: BTreeMap<String, Vec<u8>>,
}

impl Record {
    /// The value's bytes; a tombstone has none.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.value.as_deref().unwrap_or_default()
    }

    /// A header that is UTF-8 text.
    pub(crate) fn text_header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}
