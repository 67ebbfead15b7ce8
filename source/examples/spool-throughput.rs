//! What the spool and the publishers cost a frame: appending alone, publishing what waits, and both at
//! once, against a running broker with the raw topic.
//!
//! ```text
//! tickpanda broker --data-dir target/bench-broker --partitions 4 &
//! cargo run --release -p tickpanda-source --example spool-throughput -- localhost:9092 cryptocompare-raw 4
//! ```

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tickpanda_kafka::security::Brokers;
use tickpanda_source::clock::now_ms;
use tickpanda_source::publish::{Cluster, Publishers};
use tickpanda_source::spool::{Burst, LATENCY_MS, Limits, Spool, TopicId};

/// Frames of each part.
const FRAMES: usize = 1_500_000;
/// Frames that arrive together.
const BURST: usize = 256;
/// Frames a second in the part that measures latency.
const PACE: usize = 10_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(broker), Some(name), Some(partitions)) = (args.next(), args.next(), args.next())
    else {
        return Err("arguments: BROKER TOPIC PARTITIONS [FOLDER]".into());
    };
    let partitions: Vec<i32> = (0..partitions.parse()?).collect();
    let folder = args.next().unwrap_or_else(|| {
        std::env::temp_dir().join("spool-throughput").to_string_lossy().into_owned()
    });
    let _ = fs::remove_dir_all(&folder);
    let (spool, _) = Spool::open(folder.as_ref(), Limits::default(), 7)?;
    let topic = spool.topic(&name, &partitions, true)?;

    let part = Part::begin("append", &spool);
    append(&spool, topic, FRAMES, usize::MAX, None).await;
    part.end();
    full(&folder).await?;

    drop(spool);
    let opening = Instant::now();
    let (spool, recovered) = Spool::open(folder.as_ref(), Limits::default(), 8)?;
    println!("reopened {} MB in {:?}", recovered.bytes / 1_000_000, opening.elapsed());
    let topic = spool.topic(&name, &partitions, true)?;

    let part = Part::begin("publish", &spool);
    let cluster = Cluster { brokers: Arc::new(Brokers::plain(vec![broker])) };
    let publishers = Publishers::start(&spool, cluster, Duration::from_millis(5));
    published(&spool).await;
    part.end();

    let part = Part::begin("both", &spool);
    append(&spool, topic, FRAMES, 200_000, None).await;
    published(&spool).await;
    part.end();

    let before = spool.meter().latency.counts();
    if std::env::var("QUIET").is_ok() {
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    let part = Part::begin("10 k frames/s", &spool);
    append(&spool, topic, 10 * PACE, usize::MAX, Some(PACE)).await;
    published(&spool).await;
    part.end();
    let counts = spool.meter().latency.counts();
    let counts: Vec<u64> = counts.iter().zip(before).map(|(now, before)| now - before).collect();
    for quantile in [0.5, 0.99, 0.999] {
        println!("  {quantile}: at most {} ms", at(&counts, quantile));
    }
    publishers.stop(Duration::from_secs(1)).await;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Appends to a spool that is full: for every segment that is begun, one goes and is counted.
async fn full(beside: &str) -> Result<(), Box<dyn Error>> {
    let folder = format!("{beside}-full");
    let _ = fs::remove_dir_all(&folder);
    let (spool, _) = Spool::open(folder.as_ref(), Limits { bytes: 64 << 20 }, 7)?;
    let topic = spool.topic("raw", &[0, 1, 2, 3], true)?;
    append(&spool, topic, FRAMES / 4, usize::MAX, None).await;
    let part = Part::begin("append, full", &spool);
    append(&spool, topic, FRAMES, usize::MAX, None).await;
    part.end();
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Appends trades of 64 pairs, at most `ahead` of what is published.
async fn append(
    spool: &Arc<Spool>,
    topic: TopicId,
    frames: usize,
    ahead: usize,
    pace: Option<usize>,
) {
    let keys: Vec<String> = (0..64).map(|pair| format!("Coinbase~C{pair}~USD")).collect();
    let frame = format!(
        r#"{{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","F":"1","ID":"{:09}","TS":1618335982,"Q":0.0001,"P":63240.12,"TOTAL":6.324,"RTS":1618335982,"TSNS":325000000,"RTSNS":365000000}}"#,
        1
    );
    let mut burst = Burst::new(spool);
    let (began, mut done) = (Instant::now(), 0);
    let mut longest = Duration::ZERO;
    while done < frames {
        while spool.waiting() > ahead as u64 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if let Some(pace) = pace {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let due = began.elapsed().as_millis() as usize * pace / 1_000;
            let now = now_ms();
            while done < due.min(frames) {
                burst.push(topic, keys[done % keys.len()].as_bytes(), frame.as_bytes(), now, None);
                done += 1;
            }
        } else {
            let now = now_ms();
            for n in 0..BURST {
                burst.push(topic, keys[n % keys.len()].as_bytes(), frame.as_bytes(), now, None);
            }
            done += BURST;
            tokio::task::yield_now().await;
        }
        let appending = Instant::now();
        spool.append(&mut burst).await;
        longest = longest.max(appending.elapsed());
    }
    println!("{:<14} {longest:?}", "longest append");
}

async fn published(spool: &Spool) {
    while spool.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn at(counts: &[u64], quantile: f64) -> String {
    let total: u64 = counts.iter().sum();
    let mut below = 0;
    for (count, bound) in counts.iter().zip(LATENCY_MS) {
        below += count;
        if below as f64 >= total as f64 * quantile {
            return bound.to_string();
        }
    }
    "more".to_owned()
}

struct Part<'a> {
    name: &'static str,
    spool: &'a Spool,
    frames: u64,
    requests: u64,
    wall: Instant,
    cpu: Duration,
}

impl<'a> Part<'a> {
    fn begin(name: &'static str, spool: &'a Spool) -> Self {
        let meter = spool.meter();
        let frames = meter.appended.get() + meter.published.get();
        Part {
            name,
            spool,
            frames,
            requests: meter.requests.get(),
            wall: Instant::now(),
            cpu: cpu(),
        }
    }

    fn end(self) {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), (cpu() - self.cpu).as_secs_f64());
        let meter = self.spool.meter();
        let mut frames = (meter.appended.get() + meter.published.get() - self.frames) as f64;
        let requests = meter.requests.get() - self.requests;
        if !self.name.starts_with("append") && self.name != "publish" {
            frames /= 2.0;
        }
        println!(
            "{:<14} {:>9.0} frames/s, {:.2} µs of CPU a frame, {} requests, {} MB resident ({} at most)",
            self.name,
            frames / wall,
            cpu * 1e6 / frames,
            requests,
            resident("VmRSS:"),
            resident("VmHWM:"),
        );
    }
}

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect::<Vec<_>>();
    let ticks = |field: usize| fields.get(field).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A line of the kernel's account of this process, in MB.
fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|l| l.strip_prefix(line)).unwrap_or_default();
    value.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1_000
}
