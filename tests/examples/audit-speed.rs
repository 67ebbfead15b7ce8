//! How fast `tickpanda audit` is, and what memory it takes:
//! `cargo run --release -p tickpanda-tests --example audit-speed -- [TRADES]` (a million).
//!
//! The trades go through broker, transform and sink into a TimescaleDB of their own; then they are
//! audited. A fifth as many duplicates come after them.

use std::path::Path;
use std::time::{Duration, Instant};

use tickpanda_database::testing;
use tickpanda_exchange::make_trades;
use tickpanda_tests::audit::{Pipeline, record};

/// Records produced at once.
const AT_ONCE: usize = 20_000;

#[tokio::main]
async fn main() {
    let trades = std::env::args().nth(1).map_or(1_000_000, |n| n.parse().expect("a number"));
    let database = testing::database().await;
    let mut pipeline = Pipeline::start(&database, &[]).await;
    pipeline.start_sink();
    let mut frames = Vec::new();
    make_trades(trades, 1, &mut frames).expect("they go into memory");
    let frames: Vec<&[u8]> =
        frames.split(|byte| *byte == b'\n').filter(|f| !f.is_empty()).collect();
    let started = Instant::now();
    let again = frames.len() / 5;
    for (part, chunk) in frames.chunks(AT_ONCE).chain(frames[..again].chunks(AT_ONCE)).enumerate() {
        let at = 1_704_067_200_000 + i64::try_from(part).expect("a few") * 1000;
        pipeline.produce(chunk.iter().map(|frame| record(&key(frame), *frame, at)).collect()).await;
    }
    pipeline.caught_up().await;
    pipeline.stop_sink().await;
    println!("written in {:.1} s", started.elapsed().as_secs_f64());

    let started = Instant::now();
    let mut child = pipeline.command(&[]).spawn().expect("the audit starts");
    let mut peak = 0;
    let status = loop {
        peak = peak.max(resident(child.id()));
        if let Some(status) = child.try_wait().expect("it can be watched") {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let seconds = started.elapsed().as_secs_f64();
    println!("{status}, {seconds:.1} s, at most {} MB resident", peak / 1000);
    assert!(status.success());
}

/// `{market}~{base}~{quote}` of a trade's frame.
fn key(frame: &[u8]) -> String {
    let frame: serde_json::Value = serde_json::from_slice(frame).expect("JSON");
    let part = |name: &str| frame[name].as_str().expect("a text").to_owned();
    [part("M"), part("FSYM"), part("TSYM")].join("~")
}

/// The most memory a process has had, in kB.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let status = status.unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}
