//! Where in the module's small memory the two large buffers lie.
//!
//! The SDK keeps one `Vec` for input and one for output. Both grow by doubling, and if one can't
//! grow where it is it is copied to a new place, so that for a moment the old and the new one must
//! fit: in the broker's 2 MiB, after an unlucky history of sizes, a dead letter of 350 kB did not,
//! and the broker would have repeated it forever. So the output gets its final size once, low in
//! the heap, and all that lies above it is the input's to grow into:
//!
//! ```text
//! 0        stack, data   OUTPUT            SMALL               2 × LARGEST
//! ├─────────────────────┼─────────────────┼───────────────────┼────────────────────────┤
//!                        the SDK's output  all other buffers   the SDK's input, the last
//! ```
//!
//! Nothing here can fail: memory that can't be had is not taken, and then it is as without this.

use redpanda_transform_sdk::{BorrowedHeader, BorrowedRecord, RecordWriter, WriteOptions};

/// Largest record in bytes, its key, value and up to 1,000 headers together, that is promised to
/// fit into the broker's default memory. The raw topic should take none larger. The promise is
/// kept in `tests/tests/transform_wasm.rs`.
const LARGEST: usize = 512 * 1024;
/// A dead letter is its record and three headers.
const OUTPUT: usize = LARGEST + 32 * 1024;
/// For rows, header lists and whatever else is written together.
const SMALL: usize = 64 * 1024;

/// The place where the output will lie, taken before the input gets one.
pub(crate) struct Heap(Option<Vec<u8>>);

impl Heap {
    /// Takes the place. To be called before the SDK allocates anything.
    pub(crate) fn new() -> Self {
        // The allocator enlarges its last block in place, but only into memory that it has.
        drop(block(OUTPUT + SMALL + 2 * LARGEST));
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
        // double that. The broker then refuses a topic that is none of the outputs.
        let header = vec![BorrowedHeader::new(b"", Some(&last))];
        let record = BorrowedRecord::new_with_headers(None, None, header);
        let _ = writer.write_with_options(record, WriteOptions::to_topic(""));
    }
}

/// A buffer of this capacity, if there is room for it.
fn block(bytes: usize) -> Option<Vec<u8>> {
    let mut block = Vec::new();
    block.try_reserve_exact(bytes).ok()?;
    // Or the compiler would leave out an allocation that nobody uses.
    Some(std::hint::black_box(block))
}
