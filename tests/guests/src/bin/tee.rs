//! Hands every record on to each of its output topics, which the broker names in the environment.

use redpanda_transform_sdk::{BorrowedRecord, WriteError, WriteOptions, on_record_written};

fn main() {
    let topic = |index| std::env::var(format!("REDPANDA_OUTPUT_TOPIC_{index}")).ok();
    let topics: Vec<String> = (0..).map_while(topic).collect();
    on_record_written(|event, writer| -> Result<(), WriteError> {
        for topic in &topics {
            let record = BorrowedRecord::from(&event.record);
            writer.write_with_options(record, WriteOptions::to_topic(topic))?;
        }
        Ok(())
    });
}
