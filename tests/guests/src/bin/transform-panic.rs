//! Panics on every record.

use redpanda_transform_sdk::{WriteError, on_record_written};

fn main() {
    on_record_written(|_event, _writer| -> Result<(), WriteError> { panic!("no transform") });
}
