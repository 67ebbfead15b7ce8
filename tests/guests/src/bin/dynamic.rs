//! Does with each record what the record's key says.

use std::cell::RefCell;
use std::io::Write;

use redpanda_transform_sdk::{RecordWriter, WriteEvent, on_record_written};

fn main() {
    let allocated = RefCell::new(Vec::new());
    on_record_written(|event, writer| obey(&event, writer, &mut allocated.borrow_mut()));
}

fn obey(
    event: &WriteEvent<'_>,
    writer: &mut RecordWriter<'_>,
    allocated: &mut Vec<u8>,
) -> Result<(), String> {
    let (key, value) = (event.record.key(), event.record.value().unwrap_or_default());
    let mut write = || writer.write(&event.record).map_err(|error| error.to_string());
    match key.unwrap_or_default() {
        b"poison" => Err("poisoned".to_owned()),
        b"bomb" => panic!("bombed"),
        b"print" => say(value),
        b"loop" => loop {
            std::hint::spin_loop();
        },
        b"allocate" => {
            let size = value.first_chunk().copied().map(u32::from_le_bytes).unwrap_or_default();
            // Kept, so that it is allocated indeed; aborts where there is no room.
            allocated.reserve_exact(usize::try_from(size).unwrap_or(usize::MAX));
            std::hint::black_box(allocated);
            Ok(())
        }
        b"zero" => Ok(()),
        b"mirror" => write(),
        b"double" => write().and_then(|()| write()),
        other => say(&[b"unknown record: ", other].concat()),
    }
}

/// One message of the log.
fn say(message: &[u8]) -> Result<(), String> {
    std::io::stderr().write_all(message).map_err(|error| error.to_string())
}
