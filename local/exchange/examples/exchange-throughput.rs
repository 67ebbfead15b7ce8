//! How fast a replay is: the exchange on one side, a bare tokio-tungstenite loop that only counts on the
//! other, in one process on loopback. `cargo run --release -p tickpanda-exchange --example exchange-throughput [FRAMES] [journal]`,
//! the latter with a journal.
//!
//! CPU time is read per thread (Linux), so that the exchange's share can be told from the client's.

use std::io::BufWriter;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tickpanda_exchange::{Exchange, ExchangeConfig, Feed, Rate, make_trades, scan_replay};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let frames: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |n| n.parse())?;
    let file = tempfile::NamedTempFile::new()?;
    let begun = Instant::now();
    make_trades(frames, 1, &mut BufWriter::new(file.reopen()?))?;
    report("make_trades", frames, begun.elapsed(), None);
    let begun = Instant::now();
    let scan = scan_replay(file.path())?;
    report("scan_replay", scan.frames, begun.elapsed(), None);

    let mut config = ExchangeConfig::new("key", Feed::Replay(scan));
    config.rate = Rate::Unlimited;
    let journal = tempfile::NamedTempFile::new()?;
    if std::env::args().nth(2).is_some_and(|word| word == "journal") {
        config.journal = Some(journal.path().to_owned());
    }
    // The exchange has a runtime of one thread, whose CPU time is its own.
    let (give, take) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = std::thread::spawn(move || -> Result<Duration, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let exchange = Exchange::start(config).await?;
            give.send(exchange.ws_url())?;
            let _ = stopped.await;
            exchange.shutdown().await;
            Ok(thread_cpu()?)
        })
    });
    let url = take.recv()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Making and scanning the frames was this thread's work too.
    let before = thread_cpu()?;
    let elapsed = runtime.block_on(async {
        let (mut socket, _) = connect_async(format!("{url}?api_key=key")).await?;
        let begun = Instant::now();
        socket.send(Message::text(r#"{"action":"SubAdd","subs":["all"]}"#)).await?;
        // Welcome, 16 and 3 come on top.
        let mut left = frames + 3;
        while left > 0 {
            match socket.next().await.ok_or("the exchange left")?? {
                Message::Text(_) => left -= 1,
                _ => continue,
            }
        }
        let elapsed = begun.elapsed();
        let _ = stop.send(());
        Ok::<_, Failure>(elapsed)
    })?;
    let cpu = server.join().map_err(|_| "the exchange panicked")??;
    report("replay, exchange", frames, elapsed, Some(cpu));
    report("replay, reader", frames, elapsed, Some(thread_cpu()? - before));
    Ok(())
}

fn report(what: &str, frames: u64, elapsed: Duration, cpu: Option<Duration>) {
    let rate = frames as f64 / elapsed.as_secs_f64();
    let cpu = cpu.map_or(String::new(), |cpu| {
        format!(", {:.2} µs of CPU a frame", cpu.as_secs_f64() * 1e6 / frames as f64)
    });
    println!("{what}: {frames} frames in {elapsed:.2?}, {rate:.0}/s{cpu}");
}

/// This thread's CPU time: fields 14 and 15 of its stat file, in hundredths of a second.
fn thread_cpu() -> std::io::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/thread-self/stat")?;
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    Ok(Duration::from_millis(10 * fields.iter().skip(11).take(2).sum::<u64>()))
}
