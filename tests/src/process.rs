//! A program of ours as the process that a user starts, its log at hand.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::demo::PATIENCE;

/// A running program. Killed where the test fails.
pub struct Process {
    name: &'static str,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts it; its log goes to the test's output too, under this name.
    pub fn start(name: &'static str, mut command: Command) -> Self {
        command.env("NO_COLOR", "1").stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("{name}: {line}");
                lines.lock().expect("a list of lines").push(line);
            }
        });
        Process { name, child, log, reader: Some(reader) }
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All that it has said so far.
    pub fn log(&self) -> Vec<String> {
        self.log.lock().expect("a list of lines").clone()
    }

    /// Lines of its log with this in them.
    pub fn lines_with(&self, part: &str) -> usize {
        let log = self.log.lock().expect("a list of lines");
        log.iter().filter(|line| line.contains(part)).count()
    }

    /// Waits until it has said this.
    pub async fn says(&self, part: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.lines_with(part) == 0 {
            assert!(Instant::now() < deadline, "{} does not say `{part}`", self.name);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("a signal");
    }

    /// SIGTERM; how it ended, and after how long.
    pub fn stop(mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        self.signal(rustix::process::Signal::TERM);
        (self.wait(), start.elapsed())
    }

    /// How it ended by itself, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().expect("it can be waited for")?;
        // What it said last is in the log then.
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends with the log");
        }
        Some(status)
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.has_ended() {
                return status;
            }
            assert!(Instant::now() < deadline, "{} does not end", self.name);
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
