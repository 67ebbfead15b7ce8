//! Returns an error for every record, on which the SDK panics.

use redpanda_transform_sdk::on_record_written;

fn main() {
    on_record_written(|_event, _writer| Err("refused"));
}
