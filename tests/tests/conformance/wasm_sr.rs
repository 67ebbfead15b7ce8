//! `wasm/tests/wasm_sr_test.cc`: the schema registry. There is none here, which a broker can be set
//! to as well; a guest that uses it then starts and is told so.

use serde_json::json;

use crate::fixture::{start, tiny_batch, values};

/// The registry is not enabled, by Redpanda's `schema_registry_module.cc`.
const NOT_ENABLED: i32 = -1;

#[test]
fn without_a_schema_registry_every_call_says_so() {
    let seen = values(&mut start("schema-registry"), &tiny_batch()).unwrap();
    let [json] = &seen[..] else { panic!("{seen:?}") };
    let answers: serde_json::Value = serde_json::from_str(json).unwrap();
    let expected = json!({
        "create": NOT_ENABLED,
        "by_id": NOT_ENABLED,
        "by_version": NOT_ENABLED,
        "latest": NOT_ENABLED,
    });
    assert_eq!(answers, expected);
}
