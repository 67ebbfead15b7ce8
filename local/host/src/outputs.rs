//! What a guest wrote while it worked on one batch, in order.
//!
//! One buffer for all payloads, kept between batches: in the steady state a record costs a copy
//! and no allocation.

use crate::Record;

/// The records that came out of one batch. Hand the same one to every
/// [`Vm::transform`](crate::Vm::transform); it is cleared there, its memory stays.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    payloads: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    topic: usize,
    /// Where its payload ends; it starts where the one before it ends.
    end: usize,
}

/// One record that the guest wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Index into [`VmConfig::output_topics`](crate::VmConfig::output_topics).
    pub topic: usize,
    /// Key, value and headers as the guest framed them: the body of a Kafka v2 record after its offset delta.
    pub payload: &'a [u8],
}

impl<'a> Output<'a> {
    /// Key, value and headers.
    pub fn record(&self) -> Record<'a> {
        // Payloads are validated when written, by the same walk.
        Record::decode(self.payload).unwrap_or_default()
    }
}

impl Outputs {
    /// How many records.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The records, in the order in which the guest wrote them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Output<'_>> {
        let mut start = 0;
        self.entries.iter().map(move |entry| {
            let payload = &self.payloads[start..entry.end];
            start = entry.end;
            Output { topic: entry.topic, payload }
        })
    }

    /// Forgets the records, keeps the memory.
    pub fn clear(&mut self) {
        self.payloads.clear();
        self.entries.clear();
    }

    /// Bytes held: payloads and what is kept of each.
    pub fn bytes(&self) -> usize {
        self.payloads.len() + self.entries.len() * size_of::<Entry>()
    }

    /// Adds a validated payload, unless `limit` bytes would be exceeded.
    pub(crate) fn push(&mut self, topic: usize, payload: &[u8], limit: usize) -> bool {
        let fits = self.bytes() + payload.len() + size_of::<Entry>() <= limit;
        if fits {
            self.payloads.extend_from_slice(payload);
            self.entries.push(Entry { topic, end: self.payloads.len() });
        }
        fits
    }
}
