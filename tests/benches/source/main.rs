//! What the source costs: frames from a WebSocket to acknowledged on the local broker, beside a bare
//! tokio-tungstenite loop that reads the same frames and does nothing with them.
//!
//! ```text
//!  feeder (frames laid out beforehand) ──ws──▶ tickpanda-source ──▶ local broker, no transform
//!                                      ──ws──▶ bare loop (this program, run again)
//! ```
//!
//! By turns, so that a neighbour on the machine meets both. `cargo xtask bench source` builds the programs
//! and runs this.

mod feeder;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::StreamExt as _;
use serde_json::json;
use tickpanda_broker::{Broker, BrokerConfig};
use tickpanda_model::topic;
use tickpanda_tests::{demo, measured, source};

use feeder::{Feeder, Frames};

/// Frames a second, where the way of a single frame is measured.
const RATE: u32 = 10_000;
const WARM_UP: Duration = Duration::from_secs(2);

/// What is measured.
#[derive(Parser)]
struct Arguments {
    /// Frames to send.
    #[arg(long, default_value_t = 2_000_000)]
    frames: u64,
    /// How often each side is measured; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Partitions of the raw topic.
    #[arg(long, default_value_t = 4)]
    partitions: i32,
    /// For how many seconds single frames are followed, at 10,000 a second.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Write the numbers to this file, as one flat object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// One small round: that it works, not how fast.
    #[arg(long)]
    test: bool,
    /// Reads this address's frames until it closes: the other side of the comparison.
    #[arg(long, hide = true)]
    bare: Option<String>,
    /// `cargo bench` says so.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    // As the source's.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(run(arguments));
}

async fn run(mut arguments: Arguments) {
    if let Some(url) = arguments.bare {
        return read_only(&url).await;
    }
    if arguments.test {
        // As many as the bare loop needs for a time that the kernel's clock ticks can tell from none.
        (arguments.frames, arguments.rounds, arguments.seconds) = (400_000, 1, 1);
    }
    let frames = Frames::trades(arguments.frames);
    println!("{} frames, {} partitions", frames.len(), arguments.partitions);
    let n = frames.len() as f64;
    let (mut sources, mut bares) = (Vec::new(), Vec::new());
    for round in 1..=arguments.rounds {
        let bare = bare(&frames).await;
        let source = source(&frames, arguments.partitions).await;
        println!(
            "round {round}: source {:>7.0} frames/s ({:.2} µs of its CPU a frame, {:.0} MB), \
             bare loop {:>7.0} frames/s ({:.2} µs), ratio of CPU {:.1}",
            n / source.wall.as_secs_f64(),
            micros(source.cpu, n),
            source.peak_bytes as f64 / 1e6,
            n / bare.wall.as_secs_f64(),
            micros(bare.cpu, n),
            source.cpu.as_secs_f64() / bare.cpu.as_secs_f64(),
        );
        sources.push(source);
        bares.push(bare);
    }
    let latency = latency(&frames, arguments.partitions, Duration::from_secs(arguments.seconds));
    let (p50, p99) = latency.await;
    println!("at {RATE} frames/s from frame to acknowledged: p50 {p50:.1} ms, p99 {p99:.1} ms");
    let numbers = json!({
        "frames_per_second": median(sources.iter().map(|it| n / it.wall.as_secs_f64())),
        "cpu_us_per_frame": median(sources.iter().map(|it| micros(it.cpu, n))),
        "bare_frames_per_second": median(bares.iter().map(|it| n / it.wall.as_secs_f64())),
        "bare_cpu_us_per_frame": median(bares.iter().map(|it| micros(it.cpu, n))),
        "cpu_ratio_to_bare": median(
            sources.iter().zip(&bares).map(|(a, b)| a.cpu.as_secs_f64() / b.cpu.as_secs_f64()),
        ),
        "p50_ms": p50,
        "p99_ms": p99,
        "rss_bytes": sources.iter().map(|it| it.peak_bytes).max(),
    });
    if let Some(file) = arguments.json {
        std::fs::write(&file, format!("{numbers:#}\n")).unwrap_or_else(|error| {
            panic!("can't write the numbers to {}: {error}", file.display())
        });
    }
}

/// What one side took, from the first frame sent to the last one through.
struct Took {
    wall: Duration,
    cpu: Duration,
    peak_bytes: u64,
}

/// The source's side: until the broker has every frame.
async fn source(frames: &Frames, partitions: i32) -> Took {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), partitions).await;
    let feeder = Feeder::bind().await;
    let mut program = Program(start_source(&feeder, &broker, frames, folder.path(), 5));
    let mut socket = feeder.accept(true).await;
    let (before, _) = measured::so_far(program.0.id());
    let started = Instant::now();
    feeder::send_all(&mut socket, frames).await;
    while records(&broker) < frames.len() {
        assert!(program.0.try_wait().expect("our child").is_none(), "the source ended");
        assert!(started.elapsed() < Duration::from_secs(300), "the source stands still");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let wall = started.elapsed();
    // Its last acknowledgement is a moment behind the broker.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (cpu, peak_bytes) = measured::so_far(program.0.id());
    assert_eq!(records(&broker), frames.len());
    drop(program);
    broker.shutdown().await.expect("the broker stops");
    Took { wall, cpu: cpu - before, peak_bytes }
}

/// The bare loop's.
async fn bare(frames: &Frames) -> Took {
    let feeder = Feeder::bind().await;
    let program = std::env::current_exe().expect("our own path");
    let mut command = Command::new(program);
    command.args(["--bare", &feeder.url()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = Program(command.spawn().expect("it starts"));
    let mut socket = feeder.accept(false).await;
    let (before, _) = measured::so_far(child.0.id());
    let started = Instant::now();
    feeder::send_all(&mut socket, frames).await;
    drop(socket);
    // It says how many there were when the socket has ended, and waits to be measured.
    let mut stdout = child.0.stdout.take().expect("a pipe");
    let read = tokio::task::spawn_blocking(move || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(&mut stdout), &mut line)
            .expect("a line");
        line.trim().parse::<usize>().expect("a number")
    });
    let read = read.await.expect("no panic");
    let wall = started.elapsed();
    assert_eq!(read, frames.len() + 1, "the welcome and all frames");
    let (cpu, peak_bytes) = measured::so_far(child.0.id());
    Took { wall, cpu: cpu - before, peak_bytes }
}

/// Only reads.
async fn read_only(url: &str) {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.expect("it listens");
    let mut frames = 0usize;
    while let Some(Ok(message)) = socket.next().await {
        frames += usize::from(message.is_text());
    }
    println!("{frames}");
    tokio::time::sleep(Duration::from_secs(10)).await;
}

/// The 50th and 99th percentile in milliseconds, from the source's receipt of a frame (the record's own
/// timestamp) to the source's receipt of its acknowledgement, by the source's own histogram.
async fn latency(frames: &Frames, partitions: i32, lasts: Duration) -> (f64, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = broker(folder.path(), partitions).await;
    let feeder = Feeder::bind().await;
    let program = Program(start_source(&feeder, &broker, frames, folder.path(), 5));
    let mut socket = feeder.accept(true).await;
    let from = feeder::send_paced(&mut socket, frames, 0, RATE, WARM_UP).await;
    let log = folder.path().join("source.log");
    let before = histogram(&metrics(&log));
    feeder::send_paced(&mut socket, frames, from, RATE, lasts).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let after = histogram(&metrics(&log));
    drop(program);
    broker.shutdown().await.expect("the broker stops");
    let counts: Vec<(f64, f64)> =
        after.iter().zip(&before).map(|((le, a), (_, b))| (*le, a - b)).collect();
    (percentile(&counts, 0.5), percentile(&counts, 0.99))
}

/// `(le in ms, cumulative count)`, smallest first.
fn histogram(text: &str) -> Vec<(f64, f64)> {
    let name = "tickpanda_source_publish_seconds_bucket{le=\"";
    let lines = text.lines().filter_map(|line| line.strip_prefix(name));
    let pairs = lines.map(|line| {
        let (le, count) = line.split_once("\"} ").expect("a bucket");
        let le = if le == "+Inf" { f64::INFINITY } else { le.parse().expect("a number") };
        (le * 1000.0, count.parse().expect("a count"))
    });
    let pairs: Vec<(f64, f64)> = pairs.collect();
    assert!(!pairs.is_empty(), "no histogram in the metrics");
    pairs
}

/// Between two bounds as if evenly spread.
fn percentile(counts: &[(f64, f64)], share: f64) -> f64 {
    let total = counts.last().map_or(0.0, |(_, count)| *count);
    let wanted = total * share;
    let (mut low, mut below) = (0.0, 0.0);
    for (le, count) in counts {
        if *count >= wanted && *count > below {
            if le.is_infinite() {
                return low;
            }
            return low + (le - low) * (wanted - below) / (count - below);
        }
        (low, below) = (*le, *count);
    }
    low
}

/// The source's metrics; where it serves them stands in its log.
fn metrics(log: &Path) -> String {
    let text = std::fs::read_to_string(log).expect("a log");
    let address = text.lines().find_map(source::serves).expect("the log says where it serves");
    source::get(address, "/metrics").1
}

async fn broker(folder: &Path, partitions: i32) -> Broker {
    let broker = Broker::start(BrokerConfig::new(folder.join("broker"))).await.expect("a broker");
    broker.create_topic(topic::RAW, partitions, &[]).expect("a topic");
    broker
}

fn records(broker: &Broker) -> usize {
    let ends = broker.watermarks(topic::RAW);
    ends.iter().map(|(_, next)| usize::try_from(*next).expect("not negative")).sum()
}

fn start_source(
    feeder: &Feeder,
    broker: &Broker,
    frames: &Frames,
    folder: &Path,
    linger_ms: u64,
) -> Child {
    let subs = folder.join("subs");
    std::fs::write(&subs, frames.subs.replace(',', "\n")).expect("a file");
    let log = std::fs::File::create(folder.join("source.log")).expect("a file");
    let mut command = Command::new(demo::program("tickpanda-source"));
    command
        .args(["--ws-url", &feeder.url(), "--brokers", &broker.addr().to_string()])
        .args(["--history", "none", "--linger", &linger_ms.to_string()])
        .args(["--http-listen", "127.0.0.1:0"])
        .arg("--subs-file")
        .arg(&subs)
        .arg("--state-dir")
        .arg(folder.join("state"))
        .env("CRYPTOCOMPARE_API_KEY", "a-key")
        .env("RUST_LOG", "info,rskafka=off")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(log);
    command.spawn().expect("the source starts")
}

/// Killed at the end.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn micros(time: Duration, count: f64) -> f64 {
    time.as_secs_f64() * 1e6 / count
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
