//! Runs `tickpanda transform run` as a user would, its log read line by line.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::demo::{PATIENCE, program};

/// A command that runs a module from `in` to `out` and `copies`, in a working folder without a `.env`.
pub fn command(work: &Path, wasm: &Path, broker: SocketAddr, more: &[&str]) -> Command {
    let mut command = Command::new(program("tickpanda"));
    command.args(["transform", "run"]).arg(wasm).current_dir(work);
    command.args(["--brokers", &broker.to_string(), "--input-topic", "in"]);
    command.args(["--output-topic", "out", "--output-topic", "copies"]).args(more);
    command.env_remove("KAFKA_BROKERS").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command
}

/// Runs one that is to end by itself.
pub fn output(command: &mut Command) -> Output {
    command.output().expect("the runner starts")
}

/// A runner that goes on while the test looks at what it does. Killed where the test fails.
pub struct Runner {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Runner {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the runner starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                eprintln!("runner: {line}");
                lines.lock().expect("a list of lines").push(line);
            }
        });
        Self { child, log }
    }

    /// Lines of its log with this in them.
    pub fn lines_with(&self, part: &str) -> usize {
        let log = self.log.lock().expect("a list of lines");
        log.iter().filter(|line| line.contains(part)).count()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// SIGTERM; waits for its end, which must be a success.
    ///
    /// # Panics
    /// Where it does not end, or not with 0.
    pub fn stop(mut self) {
        let sent = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(sent.expect("kill is there").success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be watched") {
                break status;
            }
            assert!(Instant::now() < deadline, "the runner did not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        };
        assert!(status.success(), "the runner ended with {status}");
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}
