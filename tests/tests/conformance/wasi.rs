//! `wasm/tests/wasi_test.cc`: what a transform knows of the world.

use serde_json::Value;

use crate::fixture::{RECORD_TIME, start, tiny_batch, values};

#[test]
fn a_transform_knows_its_name_its_topics_and_the_time_of_its_record() {
    let seen = values(&mut start("wasi"), &tiny_batch()).unwrap();
    let [json] = &seen[..] else { panic!("{seen:?}") };
    let mut known: Value = serde_json::from_str(json).unwrap();
    // In the broker their order is arbitrary.
    known["Env"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    assert_eq!(known["Args"], serde_json::json!(["test-transform"]));
    let env = serde_json::json!(["REDPANDA_INPUT_TOPIC=in", "REDPANDA_OUTPUT_TOPIC_0=out"]);
    assert_eq!(known["Env"], env);
    assert_eq!(known["NowNanos"], RECORD_TIME * 1_000_000);

    let again = values(&mut start("wasi"), &tiny_batch()).unwrap();
    assert_eq!(again, seen, "nothing in it is random");
}
