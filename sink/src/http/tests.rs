//! The server over real sockets, with the parts that it asks in the state that a test wants.

use std::io;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Instant;

use clap::Parser as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::Settings;
use crate::database::Database;
use crate::decode::Feed;
use crate::offsets::{Counts, Place};
use crate::outage::Outage;
use crate::stats::Stats;
use crate::tests::bench;
use crate::writer::Outcome;

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A database that nobody serves.
fn nowhere() -> Database {
    // Port 1 is reserved and taken by nobody.
    let url = "postgres://u@127.0.0.1:1/d?sslmode=disable";
    Database::new(url.parse().unwrap(), 2)
}

/// A running server.
struct Running {
    at: SocketAddr,
    health: Arc<Health>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    async fn start(database: Database) -> Self {
        let server = bind(ANY).await.unwrap();
        let broker = Arc::new(Outage::new("the broker b:1".to_owned()));
        let (stats, lag) = (Arc::new(Stats::default()), Duration::from_secs(10));
        let health = Arc::new(Health::new(database, broker, stats, lag));
        let (at, stop) = (server.address(), CancellationToken::new());
        let task = tokio::spawn(run(server, Arc::clone(&health), stop.clone()));
        Running { at, health, stop, task }
    }

    async fn get(&self, path: &str) -> (u16, String) {
        get(self.at, path).await.unwrap()
    }

    /// The status of `/ready`, and its reasons.
    async fn ready(&self) -> (u16, Vec<String>) {
        let (status, body) = self.get("/ready").await;
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["ready"], status == 200, "{body}");
        (status, serde_json::from_value(body["reasons"].clone()).unwrap())
    }
}

/// Status and body of an answer; the connection ends with it.
async fn get(at: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(at).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or(io::ErrorKind::InvalidData)?, body.to_owned()))
}

fn place(partition: i32) -> Place {
    Place { cluster: "c".into(), topic: "tick-data".into(), partition }
}

#[tokio::test]
async fn ready_says_no_and_why_until_everything_serves_and_is_caught_up() {
    let bench = bench().await;
    let running = Running::start(bench.database.clone()).await;
    let (stats, broker) = (&running.health.stats, &running.health.broker);
    assert_eq!(running.ready().await, (503, vec!["the broker b:1 has not answered yet".into()]));
    broker.failed(&"no route");
    let (status, reasons) = running.ready().await;
    assert!(status == 503 && reasons.len() == 1, "{reasons:?}");
    assert!(reasons[0].contains("has not served for") && reasons[0].ends_with("no route"));

    broker.served();
    stats.claimed(2);
    stats.position(&place(0), 0, None);
    let unread = vec!["1 of 2 partitions of this sink were not read yet".to_owned()];
    assert_eq!(running.ready().await, (503, unread));
    let ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    stats.position(&place(1), 7, Some(ms - 60_000));
    let (status, reasons) = running.ready().await;
    assert!(status == 503 && reasons.len() == 1, "{reasons:?}");
    assert!(reasons[0].starts_with("tick-data/1 is 7 records and 60."), "{reasons:?}");
    stats.position(&place(1), 7, Some(ms - 5_000));
    stats.position(&place(0), 0, None);
    assert_eq!(running.ready().await, (200, vec![]));
    assert_eq!(running.get("/live").await, (200, "live\n".to_owned()));
    assert_eq!(running.get("/other").await.0, 404);
}

#[tokio::test]
async fn a_database_that_is_away_is_asked_although_nobody_writes() {
    let running = Running::start(nowhere()).await;
    running.health.broker.served();
    let (status, reasons) = running.ready().await;
    assert!(status == 503 && reasons.len() == 1, "{reasons:?}");
    assert!(reasons[0].starts_with("the database d at 127.0.0.1:1 has not served"), "{reasons:?}");
    let (_, metrics) = running.get("/metrics").await;
    assert!(metrics.contains("\ntickpanda_sink_database_up 0\n"), "{metrics}");
    assert!(metrics.contains("\ntickpanda_sink_broker_up 1\n"), "{metrics}");
}

#[tokio::test]
async fn prometheus_own_checker_finds_nothing_wrong_with_the_metrics() {
    let running = Running::start(nowhere()).await;
    let stats = &running.health.stats;
    let counts = Counts { records: 3, rows: 2, duplicates: 1, refused: 0 };
    stats.wrote(Feed::Ticks, Outcome::Committed(counts), Duration::from_millis(3));
    stats.retried("database", "connection");
    stats.dead_letters(tickpanda_model::dead_letter::Stage::Sink, "refused", 1);
    stats.position(&Place { topic: "odd \"\\\n".into(), ..place(0) }, 1, Some(1));
    let (status, text) = running.get("/metrics").await;
    assert_eq!(status, 200);
    let checked = tokio::task::spawn_blocking(move || {
        let promtool = tickpanda_database::redis::promtool().unwrap();
        let mut check = std::process::Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        io::Write::write_all(&mut check.stdin.take().unwrap(), text.as_bytes()).unwrap();
        check.wait_with_output().unwrap()
    });
    let checked = checked.await.unwrap();
    let said = [checked.stdout, checked.stderr].concat();
    assert!(checked.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[tokio::test]
async fn the_server_ends_with_the_sink() {
    let running = Running::start(nowhere()).await;
    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(1), running.task).await.expect("at once").unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_by_name() {
    let taken = TcpListener::bind(ANY).await.unwrap();
    let at = taken.local_addr().unwrap();
    let error = bind(at).await.unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let error = error.to_string();
    assert!(error.starts_with("SINK_HTTP_LISTEN: cannot listen on 127.0.0.1:"), "{error}");
}

#[test]
fn nothing_listens_that_nobody_asked_for_and_wrong_values_are_refused_by_name() {
    let parse = |args: &[&str]| {
        Settings::try_parse_from(std::iter::once(&"sink").chain(args))
            .map_err(|error| error.to_string())
    };
    assert_eq!(parse(&[]).unwrap().http.listen(), None);
    assert_eq!(parse(&["--http-listen", ""]).unwrap().http.listen(), None);
    let at = parse(&["--http-listen", "[::1]:9190"]).unwrap().http.listen();
    assert_eq!(at, Some("[::1]:9190".parse().unwrap()));
    for args in [["--http-listen", "9190"], ["--ready-lag", "0"]] {
        assert!(parse(&args).unwrap_err().contains(args[0]), "{args:?}");
    }
}

/// The whole sink with a database and a broker that nobody serves.
#[tokio::test]
async fn a_sink_whose_outside_is_away_lives_is_not_ready_and_stops_within_a_second() {
    let free = TcpListener::bind(ANY).await.unwrap().local_addr().unwrap();
    let settings = Settings::try_parse_from([
        "sink",
        "--brokers",
        "127.0.0.1:1",
        "--database-url",
        "postgres://u@127.0.0.1:1/d?sslmode=disable",
        "--redis-host",
        "127.0.0.1",
        "--redis-port",
        "1",
        "--http-listen",
        &free.to_string(),
    ]);
    let stop = CancellationToken::new();
    let sink = crate::run(settings.unwrap(), stop.clone());
    let operator = async {
        let deadline = Instant::now() + Duration::from_secs(30);
        while get(free, "/live").await.ok().is_none_or(|(status, _)| status != 200) {
            assert!(Instant::now() < deadline, "it does not live");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (status, body) = get(free, "/ready").await.unwrap();
        assert_eq!(status, 503);
        assert!(body.contains("the database d at 127.0.0.1:1"), "{body}");
        assert!(body.contains("the broker 127.0.0.1:1"), "{body}");
        stop.cancel();
        Instant::now()
    };
    let (ended, stopped) = tokio::join!(sink, operator);
    ended.unwrap();
    assert!(stopped.elapsed() < Duration::from_secs(1), "{:?}", stopped.elapsed());
}
