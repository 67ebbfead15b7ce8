//! Says each record's key and value and hands nothing on.

use std::io::Write;

use redpanda_transform_sdk::on_record_written;

fn main() {
    on_record_written(|event, _writer| {
        let text =
            |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        // `eprintln!` would write it piece by piece, and each write is a message of its own.
        let line = format!("{}:{}\n", text(event.record.key()), text(event.record.value()));
        std::io::stderr().write_all(line.as_bytes())
    });
}
