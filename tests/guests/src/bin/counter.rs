//! Writes how many records it has seen since it was started, and panics on one with the key
//! `bomb`: it shows who shares a VM, and when there is a new one.

use std::cell::Cell;

use redpanda_transform_sdk::{BorrowedRecord, WriteError, on_record_written};

fn main() {
    let seen = Cell::new(0_u64);
    on_record_written(|event, writer| -> Result<(), WriteError> {
        assert_ne!(event.record.key(), Some(&b"bomb"[..]), "bombed");
        seen.set(seen.get().wrapping_add(1));
        let value = seen.get().to_string();
        writer.write(BorrowedRecord::new(event.record.key(), Some(value.as_bytes())))
    });
}
