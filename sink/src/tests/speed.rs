//! COPY and UNNEST beside each other, over the Unix socket and over TCP, by batch size: what
//! `COPY_MIN_ROWS` in the writer is chosen by. The test checks that both ways write the same; the rates
//! are printed:
//!
//! `TICKPANDA_SPEED_ROWS=100000 cargo test --release -p tickpanda-sink speed -- --nocapture`

use std::time::Instant;

use super::*;
use crate::copy::CopyData;

#[tokio::test]
async fn both_ways_of_writing_ticks_write_all_of_them() {
    let rows = std::env::var("TICKPANDA_SPEED_ROWS").ok().and_then(|rows| rows.parse().ok());
    let rows: i64 = rows.unwrap_or(2000);
    println!("rows/s of one connection, a commit for each batch");
    println!("batch       socket: UNNEST      COPY  ratio      TCP: UNNEST      COPY  ratio");
    for size in [10, 50, 100, 200, 500, 1000, 2000, 5000] {
        let rows = rows.max(size) / size * size;
        let mut line = format!("{size:>5}");
        for tcp in [false, true] {
            let unnest = rate(rows, size, tcp, false).await;
            let copy = rate(rows, size, tcp, true).await;
            line += &format!("  {unnest:>15.0} {copy:>9.0}  {:>5.2}", copy / unnest);
        }
        println!("{line}");
    }
}

/// Rows a second, all distinct, in batches of `size`.
async fn rate(rows: i64, size: i64, tcp: bool, copy: bool) -> f64 {
    let bench = if tcp { over_tcp().await } else { bench().await };
    let mut writer = bench.writer(Feed::Ticks).copying_from(1);
    writer.open(0).await.unwrap();
    let batches: Vec<_> = (0..rows / size)
        .map(|n| batch((n * size..(n + 1) * size).map(|n| tick(n, n)).collect()))
        .collect();
    let start = Instant::now();
    for (n, batch) in (0..).zip(&batches) {
        let data = copy.then(|| CopyData::of(&batch.records).unwrap());
        let outcome = writer.write(n * size, batch, data.as_ref()).await.unwrap();
        assert_eq!(outcome, counts(size.unsigned_abs(), 0, 0));
    }
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(bench.offset().await, (rows, 0, 0));
    assert_eq!(bench.count("SELECT count(*) FROM ticks").await, rows);
    rows as f64 / seconds
}

async fn over_tcp() -> Bench {
    let mut test = testing::database().await;
    test.url.clone_from(&test.tcp_url);
    let bench = on(test).await;
    assert!(bench.database.tcp);
    bench
}
