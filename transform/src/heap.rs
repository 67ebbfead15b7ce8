//! Where in the module's small memory the two large buffers lie.
//!
//! The SDK keeps one `Vec` for input and one for output. Both grow by doubling, and if one can't
//! grow where it is it is copied to a new place, so that for a moment the old and the new one must
//! fit: in the broker's 2 MiB, after an unlucky history of sizes, a dead letter of 350 kB did not,
//! and the broker would have repeated it forever. So the output gets its final size once, low in
//! the heap, and all that lies above it is the input's to grow into:
//!
//! ```text
//! 0   stack, data    for rows        OUTPUT      SMALL              2 × RAW_RECORD
//! ├────────────────┼───────────────┼───────────┼──────────────────┼──────────────────────────┤
//!                    Normalizer's    the SDK's   lists of headers   the SDK's input, the last
//!                    buffers         output      and other texts
//! ```
//!
//! What is kept from record to record has its final size and place before the first one comes. Were
//! it to grow later, while a list of headers takes the room below, it would lie behind the input, and
//! the input could no longer grow in place.
//!
//! No allocator would do better: the SDK's `Vec`s ask for twice a record's size, so two of them
//! that grow in place need four times the size of the largest record, and these three times.
//!
//! Nothing here can fail: memory that can't be had is not taken, and then it is as without this.

use redpanda_transform_sdk::{BorrowedHeader, BorrowedRecord, RecordWriter, WriteOptions};
use tickpanda_model::header;
use tickpanda_model::limit::RAW_RECORD;
use tickpanda_transform::{Counts, LONGEST, LONGEST_NAME, Normalizer, RawRecord};

/// A dead letter is its record, three headers, and the encoding of keys (at most 16 KiB).
const OUTPUT: usize = RAW_RECORD + 32 * 1024;
/// For lists of headers and whatever else lives as long as one record.
const SMALL: usize = 64 * 1024;
/// More than it takes to make the buffers for rows as large as they get.
const WIDE: usize = 128 * 1024;

/// The place where the output will lie, taken before the input gets one.
pub(crate) struct Heap(Option<Vec<u8>>);

impl Heap {
    /// Takes the place, above the normalizer's buffers. To be called before the SDK allocates
    /// anything.
    pub(crate) fn new(normalizer: &mut Normalizer) -> Self {
        widen(normalizer);
        // The allocator enlarges its last block in place, but only into memory that it has.
        drop(block(OUTPUT + SMALL + 2 * RAW_RECORD));
        Heap(block(OUTPUT + SMALL))
    }

    /// Hands the place over to the SDK's output. To be called with each record, before it is
    /// looked at; does something at the first only.
    pub(crate) fn settle(&mut self, writer: &mut RecordWriter<'_>) {
        let Some(place) = self.0.take() else { return };
        let Some(mut last) = block(OUTPUT) else { return };
        last.resize(OUTPUT, 0);
        drop(place);
        // What is written last makes the buffer as large as it needs; anything behind it would
        // double that. The broker then refuses a topic that is none of the outputs, and its name, longer
        // than any, has made the SDK's buffer for names as large as it needs.
        let header = vec![BorrowedHeader::new(b"", Some(&last))];
        let record = BorrowedRecord::new_with_headers(None, None, header);
        let _ = writer.write_with_options(record, WriteOptions::to_topic(&"~".repeat(256)));
    }
}

/// Normalizes the rows that take the most room, so that the buffers kept for rows never grow again.
fn widen(normalizer: &mut Normalizer) {
    if block(WIDE).is_none() {
        return;
    }
    // As long as any may be; of a header's control characters JSON writes each in six bytes.
    let name = "\u{1}".repeat(LONGEST_NAME);
    let (number, text) = (format!("1.{:0>1$}", 1, LONGEST - 2), "x".repeat(LONGEST));
    let body = format!(
        r#"{{"Response":"Success","Data":[{{"time":1510374600,"open":{number},"high":{number},"low":{number},"close":{number},"volumefrom":{number},"volumeto":{number},"conversionType":"{text}"}}]}}"#
    );
    let headers = [
        (header::FEED, Some(header::FEED_REST)),
        (header::MARKET, Some(&name)),
        (header::BASE, Some(&name)),
        (header::QUOTE, Some(&name)),
        (header::INTERVAL, Some("1m")),
    ];
    let name = "x".repeat(LONGEST_NAME);
    let trade = format!(
        r#"{{"TYPE":"0","M":"{name}","FSYM":"{name}","TSYM":"{name}","ID":"{text}","F":1,"TS":1510374600,"P":{number},"Q":{number}}}"#
    );
    for (value, headers) in [(body, &headers[..]), (trade, &[])] {
        let record = RawRecord {
            key: None,
            value: Some(value.as_bytes()),
            headers: &headers,
            timestamp_ms: 1_510_374_600_000,
        };
        let Ok(_) = normalizer.normalize(&record, &mut Counts::default());
    }
}

/// A buffer of this capacity, if there is room for it.
fn block(bytes: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).ok()?;
    // Or the compiler would leave out an allocation that nobody uses.
    Some(std::hint::black_box(block))
}
