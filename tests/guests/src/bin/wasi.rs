//! For each record writes what it knows of the world, as JSON: its arguments, its environment, the
//! time, and a number that would be random elsewhere.

use std::hash::{BuildHasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

use redpanda_transform_sdk::{BorrowedRecord, WriteError, on_record_written};
use serde_json::json;

fn main() {
    on_record_written(|event, writer| -> Result<(), WriteError> {
        let env: Vec<_> = std::env::vars().map(|(key, value)| format!("{key}={value}")).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let known = json!({
            "Args": std::env::args().collect::<Vec<_>>(),
            "Env": env,
            "NowNanos": u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            "RandomNumber": RandomState::new().hash_one(0),
        });
        let value = known.to_string();
        writer.write(BorrowedRecord::new(event.record.key(), Some(value.as_bytes())))
    });
}
