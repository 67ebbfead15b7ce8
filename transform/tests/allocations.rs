//! What normalizing allocates, counted by an allocator: nothing, once its buffers have their size.
//! What is left in the module is the SDK's list of headers, one allocation a record.
//!
//! One test in a program of its own, because the count is of the whole process.

mod common;

use tickpanda_transform::{Counts, Normalizer, RawRecord};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

#[test]
fn the_steady_state_allocates_nothing() {
    let trades = include_str!("data/trades-eth-usdt-40.jsonl");
    let index: Vec<String> = include_str!("data/frames.jsonl")
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|frame| frame["raw"].as_str().unwrap().to_owned())
        .collect();
    // Without LASTUPDATE the time is that of receipt.
    let bare = r#"{"TYPE":"5","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD","FLAGS":1,"PRICE":1.5}"#;
    let frames: Vec<&str> =
        trades.lines().chain(index.iter().map(String::as_str)).chain([bare]).collect();
    let body = include_str!("data/histominute-2001.json");
    let (ws, rest) = (common::Headers::new(), common::rest_headers("1m"));
    let mut normalizer = Normalizer::default();
    let mut counts = Counts::default();
    let mut all = || {
        let frames = frames.iter().map(|frame| (*frame, &ws));
        for (value, headers) in frames.chain([(body, &rest)]) {
            let record = RawRecord {
                key: None,
                value: Some(value.as_bytes()),
                headers,
                timestamp_ms: common::RECEIVED,
            };
            let Ok(_) = normalizer.normalize(&record, &mut counts);
        }
    };
    all();
    let profiler = dhat::Profiler::builder().testing().build();
    all();
    let stats = dhat::HeapStats::get();
    drop(profiler);
    assert!(counts.ticks > 80 && counts.candles == 4002, "{counts:?}");
    assert_eq!((stats.total_blocks, stats.total_bytes), (0, 0));
}
