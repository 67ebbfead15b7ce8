//! Panics before it asks for its first batch.

use redpanda_transform_sdk::on_record_written;

fn main() {
    // Always, but the compiler must not know, or it would leave out all that follows, and so the
    // imports by which the broker knows a transform.
    assert!(std::hint::black_box(false), "no setup");
    on_record_written(|event, writer| writer.write(event.record));
}
