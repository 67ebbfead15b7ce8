//! COPY and UNNEST beside each other. The test checks that both count alike; the rates are printed:
//! `TICKPANDA_SPEED_ROWS=200000 cargo test --release -p tickpanda-sink speed -- --nocapture`

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn both_ways_of_writing_ticks_write_all_of_them() {
    let rows = std::env::var("TICKPANDA_SPEED_ROWS").ok().and_then(|rows| rows.parse().ok());
    let rows: i64 = rows.unwrap_or(5000);
    for size in [100, 1000, 5000] {
        for duplicate in [false, true] {
            let bench = bench().await;
            let mut writer = bench.writer(Feed::Ticks);
            writer.open(0).await.unwrap();
            // One duplicate a batch makes every COPY fail, so that the policy leaves it.
            let batches: Vec<_> = (0..rows / size)
                .map(|n| {
                    let records = n * size..(n + 1) * size;
                    let first = n * size;
                    batch(
                        records
                            .map(|n| tick(n, if duplicate && n == first + 1 { first } else { n }))
                            .collect(),
                    )
                })
                .collect();
            let (start, cpu) = (Instant::now(), own_cpu());
            for (n, batch) in (0..).zip(&batches) {
                writer.put(n * size, batch).await.unwrap();
            }
            let seconds = start.elapsed().as_secs_f64();
            let cpu = own_cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / rows as f64;
            println!(
                "{} rows a batch, {}: {:.0} rows/s, {cpu:.1} µs own CPU a row",
                size,
                if duplicate { "UNNEST (one duplicate in each)" } else { "COPY (UNNEST if small)" },
                rows as f64 / seconds,
            );
            let duplicates = if duplicate { rows / size } else { 0 };
            assert_eq!(bench.offset().await, (rows / size * size, duplicates, 0));
            let written = bench.count("SELECT count(*) FROM ticks").await;
            assert_eq!(written, rows / size * size - duplicates);
        }
    }
}

/// User and system time of this process so far, from Linux's clock ticks of 10 ms.
fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks =
        after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
