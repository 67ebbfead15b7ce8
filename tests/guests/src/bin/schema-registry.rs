//! Registers a schema when it starts and looks it up, then writes for each record what the registry
//! answered, as JSON: its numbers, or the codes of its errors.

use redpanda_transform_sdk::{BorrowedRecord, on_record_written};
use redpanda_transform_sdk_sr_sys::AbiSchemaRegistryClient;
use redpanda_transform_sdk_sr_types::{
    Schema, SchemaId, SchemaRegistryClientImpl, SchemaRegistryError, SchemaVersion,
};
use serde_json::{Value, json};

const SUBJECT: &str = "demo-topic-value";
const SCHEMA: &str = r#"{"type":"record","name":"Example","fields":[
    {"name":"a","type":"long","default":0},{"name":"b","type":"string","default":""}]}"#;

fn main() {
    let mut registry = AbiSchemaRegistryClient::new();
    let created = registry.create_schema(SUBJECT, Schema::new_avro(SCHEMA.to_owned(), vec![]));
    let answers = json!({
        "create": code(created.map(|schema| schema.id().0)),
        "by_id": code(registry.lookup_schema_by_id(SchemaId(1)).map(|_| 0)),
        "by_version": code(registry.lookup_schema_by_version(SUBJECT, SchemaVersion(1)).map(|_| 0)),
        "latest": code(registry.lookup_latest_schema(SUBJECT).map(|schema| schema.id().0)),
    })
    .to_string();
    on_record_written(|event, writer| {
        writer.write(BorrowedRecord::new(event.record.key(), Some(answers.as_bytes())))
    });
}

fn code(answer: Result<i32, SchemaRegistryError>) -> Value {
    match answer {
        Ok(number) | Err(SchemaRegistryError::Unknown(number)) => number.into(),
        Err(error) => error.to_string().into(),
    }
}
