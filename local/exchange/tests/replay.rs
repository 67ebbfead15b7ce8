//! A recording over the wire: verbatim, in order, once.

#[allow(dead_code, reason = "each test program uses its part")]
mod common;

use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{Client, KEY, eventually, start, type_of, types, until_it_waits};
use tickpanda_exchange::{ExchangeConfig, Feed, Rate, make_trades, scan_replay};

fn config(path: &Path, rate: Rate) -> ExchangeConfig {
    let mut config =
        ExchangeConfig::new(KEY, Feed::Replay(scan_replay(path).expect("a sound recording")));
    config.rate = rate;
    config
}

fn recorded() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trades-eth-usdt-50.jsonl"))
}

#[tokio::test]
async fn a_recording_arrives_byte_for_byte_after_load_complete_and_without_a_snapshot() {
    let exchange = start(config(recorded(), Rate::Unlimited)).await;
    let mut client = Client::connect(&exchange).await;
    assert_eq!(types(&client.take(1).await), "20");
    assert_eq!(exchange.subs(), ["0~Binance~ETH~USDT"]);
    // Any name is taken: what comes is in the file.
    client.subscribe(&["0~Binance~ETH~USDT", "whatever"]).await;
    assert_eq!(types(&client.until("3").await), "16 3");
    let expected = std::fs::read_to_string(recorded()).unwrap();
    assert_eq!(client.take(50).await, expected.lines().collect::<Vec<_>>());
    eventually(|| exchange.stats().replay_finished).await;
    assert_eq!(exchange.stats().frames, 50);
    exchange.shutdown().await;
}

#[tokio::test]
async fn control_frames_are_left_out_and_everything_else_is_sent_as_it_stands() {
    let lines = [
        r#"{"TYPE":"20", "MESSAGE":"STREAMERWELCOME"}"#,
        r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","P":63240.10}"#,
        r#"{"TYPE":"999", "MESSAGE":"HEARTBEAT", "TIMEMS":1582817678330}"#,
        "{}",
        r#" { "P" : 1e-7 , "TYPE" : 77 } "#,
        r#"{"TYPE":"5","MARKET":"CCCAGG","FROMSYMBOL":"Ü","TOSYMBOL":"USD"}"#,
    ];
    for (end, last) in [("\n", "\n"), ("\r\n", "\r\n"), ("\n", "")] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(file, "{}{last}", lines.join(end)).unwrap();
        let exchange = start(config(file.path(), Rate::Unlimited)).await;
        let mut client = Client::connect(&exchange).await;
        client.subscribe(&["x"]).await;
        client.until("3").await;
        assert_eq!(client.take(4).await, [lines[1], lines[3], lines[4], lines[5]]);
        eventually(|| exchange.stats().replay_finished).await;
        exchange.shutdown().await;
    }
}

#[tokio::test]
async fn a_reconnect_continues_after_the_last_frame_that_was_handed_over() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    make_trades(5_000, 3, &mut file).unwrap();
    let expected = std::fs::read_to_string(file.path()).unwrap();
    let expected: Vec<&str> = expected.lines().collect();
    let rate = Rate::PerSecond(NonZeroU32::new(20_000).unwrap());
    let exchange = start(config(file.path(), rate)).await;

    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["x"]).await;
    client.until("3").await;
    let first = client.take(1_000).await;
    assert_eq!(first, expected[..1_000]);
    client.close().await;
    eventually(|| exchange.stats().open_sockets == 0).await;
    let handed = usize::try_from(exchange.stats().frames).unwrap();
    assert!((1_000..5_000).contains(&handed) && !exchange.stats().replay_finished, "{handed}");

    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["x"]).await;
    client.until("3").await;
    assert_eq!(client.take(5_000 - handed).await, expected[handed..]);
    eventually(|| exchange.stats().replay_finished).await;
    exchange.shutdown().await;
}

#[tokio::test]
async fn a_client_that_reads_slowly_gets_every_frame() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    make_trades(100_000, 3, &mut file).unwrap();
    let exchange = start(config(file.path(), Rate::Unlimited)).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["x"]).await;
    client.until("3").await;
    // 20 MB are more than the socket's buffers: the exchange has to wait.
    let sent = until_it_waits(&exchange).await;
    assert!(sent < 100_000 && !exchange.stats().replay_finished, "{sent}");
    let expected = std::fs::read_to_string(file.path()).unwrap();
    assert!(client.take(100_000).await.iter().map(String::as_str).eq(expected.lines()));
    eventually(|| exchange.stats().replay_finished).await;
    exchange.shutdown().await;
}

#[tokio::test]
async fn a_replay_takes_so_many_names_and_no_more() {
    let exchange = start(config(recorded(), Rate::Unlimited)).await;
    let mut client = Client::connect(&exchange).await;
    client.take(1).await;
    let mut answered = [0, 0];
    for half in 0..2 {
        let names: Vec<String> = (0..30_000).map(|n| format!("{half}~{n}")).collect();
        client.subscribe(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let frames = client.until("3").await;
        for (answered, kind) in answered.iter_mut().zip(["16", "429"]) {
            *answered += frames.iter().filter(|frame| type_of(frame) == kind).count();
        }
    }
    assert_eq!(answered, [50_000, 1]);
    exchange.shutdown().await;
}

#[tokio::test]
async fn the_rate_is_kept() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    make_trades(2_001, 3, &mut file).unwrap();
    let rate = Rate::PerSecond(NonZeroU32::new(2_000).unwrap());
    let exchange = start(config(file.path(), rate)).await;
    let mut client = Client::connect(&exchange).await;
    client.subscribe(&["x"]).await;
    client.until("3").await;
    let begun = Instant::now();
    client.take(2_001).await;
    // At least a second; no upper bound, for the machine may be busy.
    assert!(begun.elapsed() > Duration::from_millis(950), "{:?}", begun.elapsed());
    exchange.shutdown().await;
}
