//! The raw record as `normalize` sees it: borrowed from wherever it was read.

use redpanda_transform_sdk::BorrowedHeader;

/// A record of the raw topic.
#[derive(Clone, Copy)]
pub struct RawRecord<'a> {
    /// The record's key.
    pub key: Option<&'a [u8]>,
    /// One WebSocket message or one REST body, as received.
    pub value: Option<&'a [u8]>,
    /// The record's headers, such as `&()` or `&vec![("feed", Some("rest"))]`.
    pub headers: &'a dyn Headers,
    /// When the source received it, milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl<'a> RawRecord<'a> {
    /// The value of the header `name`: of repeated ones the last, of a null one nothing. That is
    /// what a dead letter keeps of it, too.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        (0..self.headers.len())
            .rev()
            .filter_map(|index| self.headers.get(index))
            .find(|(key, _)| *key == name.as_bytes())
            .map(|(_, value)| value.unwrap_or_default())
    }
}

/// A record's headers in whatever form the caller has them, so that nobody needs to copy them.
pub trait Headers {
    /// How many there are.
    fn len(&self) -> usize;
    /// Key and value of one of them.
    fn get(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)>;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// No headers.
impl Headers for () {
    fn len(&self) -> usize {
        0
    }
    fn get(&self, _: usize) -> Option<(&[u8], Option<&[u8]>)> {
        None
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> Headers for &[(K, Option<V>)] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn get(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        <[_]>::get(self, index).map(|(key, value)| (key.as_ref(), value.as_ref().map(V::as_ref)))
    }
}

impl<K: AsRef<[u8]>, V: AsRef<[u8]>> Headers for Vec<(K, Option<V>)> {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn get(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        <[_]>::get(self, index).map(|(key, value)| (key.as_ref(), value.as_ref().map(V::as_ref)))
    }
}

/// As the broker's SDK hands them over.
impl Headers for &[BorrowedHeader<'_>] {
    fn len(&self) -> usize {
        <[_]>::len(self)
    }
    fn get(&self, index: usize) -> Option<(&[u8], Option<&[u8]>)> {
        <[_]>::get(self, index).map(|header| (header.key(), header.value()))
    }
}
