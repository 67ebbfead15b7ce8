//! Sources as the processes that a user starts, and what they leave on topics.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;
use tickpanda_kafka::{Client, ClientConfig, Record};

use crate::demo::{PATIENCE, program};
use crate::process::Process;

/// The key that all of them have.
pub const KEY: &str = "a-key-that-nobody-may-see";

/// A command for the source in a working folder without a `.env`, with its state in `state` there.
pub fn command(work: &Path) -> Command {
    let mut command = Command::new(program("tickpanda-source"));
    command.current_dir(work).env("CRYPTOCOMPARE_API_KEY", KEY);
    for variable in ["KAFKA_BROKERS", "RUST_LOG", "TICKPANDA_SUBS"] {
        command.env_remove(variable);
    }
    command
}

/// A running source.
pub struct Source(Process);

impl Source {
    /// Starts one that serves HTTP on a free port.
    pub fn start(work: &Path, brokers: &str, ws: &str, rest: &str, more: &[&str]) -> Self {
        let mut command = command(work);
        command.args(["--brokers", brokers, "--ws-url", ws, "--rest-url", rest]);
        command.args(["--state-dir", "state", "--http-listen", "127.0.0.1:0"]).args(more);
        Source(Process::start("source", command))
    }

    /// One that a command of the test's own has started.
    pub fn of(process: Process) -> Self {
        Source(process)
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn stop(self) -> (ExitStatus, Duration) {
        self.0.stop()
    }

    /// Where it serves HTTP, as soon as its log says so.
    pub fn http(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log();
            if let Some(address) = log.iter().find_map(|line| serves(line)) {
                return address.to_owned();
            }
            assert!(Instant::now() < deadline, "the source does not say where it serves HTTP");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Status code and body of one of its pages.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(&self.http(), path)
    }

    /// `/state`.
    pub fn state(&self) -> Value {
        serde_json::from_str(&self.get("/state").1).expect("JSON")
    }

    /// The sum of a metric over all of its labels; 0 where it is not there.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let of_name = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Deref for Source {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.0
    }
}

impl DerefMut for Source {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.0
    }
}

/// Where a source serves HTTP, if this line of its log says so.
pub fn serves(line: &str) -> Option<&str> {
    let (before, _) = line.split_once(" serves /live")?;
    Some(before.split_once("http://")?.1)
}

/// Status code and body of a page.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("an option");
    write!(socket, "GET {path} HTTP/1.0\r\nhost: test\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("it answers");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (code, body.to_owned())
}

/// Everything on a topic now, partition by partition, in order.
pub async fn read(brokers: &str, topic: &str) -> Vec<Vec<Record>> {
    let brokers = [brokers.to_owned()];
    let client = Client::connect(&brokers, ClientConfig::default()).await.expect("a client");
    let begin = client.offsets(topic, tickpanda_kafka::At::Earliest).await.expect("offsets");
    let end: BTreeMap<i32, i64> = client
        .offsets(topic, tickpanda_kafka::At::Latest)
        .await
        .expect("offsets")
        .into_iter()
        .collect();
    let mut partitions = Vec::new();
    for (partition, mut next) in begin {
        let mut records = Vec::new();
        while next < end[&partition] {
            let wait = Duration::from_millis(500);
            let read = client.read(topic, partition, next, 4 << 20, wait).await.expect("records");
            next = read.next_offset;
            records.extend(read.records);
        }
        partitions.push(records);
    }
    partitions
}

/// A header's text.
pub fn header<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    let header = record.headers.iter().rev().find(|header| header.0.as_ref() == name.as_bytes())?;
    std::str::from_utf8(header.1.as_ref()?).ok()
}

/// Waits for a condition; panics where it takes too long.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it takes too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
