//! Runs the demo as a user would: the program itself, its output read, its exit code judged.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for two cores that everything else in the test run shares.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A command for `tickpanda demo` with the built transform, its broker on a free port, in a working
/// folder without a `.env`.
pub fn demo(work: &Path, database: Option<&str>) -> Command {
    let mut command = Command::new(program("tickpanda"));
    command
        .arg("demo")
        .args(["--kafka-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .current_dir(work);
    for variable in ["DATABASE_URL", "CRYPTOCOMPARE_API_KEY", "KAFKA_BROKERS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    if let Some(url) = database {
        command.env("DATABASE_URL", url);
    }
    command.env(crate::wasm::VARIABLE, crate::wasm::path());
    command
}

/// Runs to the end; panics with everything it said where it did not end with 0.
pub fn succeed(command: &mut Command) -> Output {
    let output = command.output().expect("the demo starts");
    assert!(
        output.status.success(),
        "the demo ended with {}\n--- stdout\n{}\n--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The object that `--json` wrote.
pub fn sums(file: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(file).expect("--json wrote its file")).expect("JSON")
}

/// A program of this workspace, built by `cargo xtask test` (or `cargo build --release --bins`).
pub fn program(name: &str) -> PathBuf {
    // A test lies in target/release/deps, another program beside the one that is looked for.
    let this = std::env::current_exe().expect("this program has a path");
    let mut built = this.ancestors().skip(1).take(2).map(|folder| folder.join(name));
    let built = built.find(|program| program.is_file());
    built.unwrap_or_else(|| panic!("{name} is missing: run the tests by `cargo xtask test`"))
}

/// A demo that goes on while the test looks at it. Killed where the test fails.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it, its output read line by line.
    pub fn start(command: &mut Command) -> Self {
        command.process_group(0).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the demo starts");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                println!("{line}");
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Running { child, lines }
    }

    /// The next line for which `wanted` gives something.
    pub fn wait_for<T>(&mut self, what: &str, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return found;
                    }
                }
                Err(error) => panic!("no line with {what}: {error}"),
            }
        }
    }

    /// `kill -9`, as the operator's worst day; waits until all that it started has gone too.
    ///
    /// # Panics
    /// Where one of its children outlives it.
    pub fn kill(mut self) {
        let children = children_of(self.child.id());
        assert!(children.len() >= 3, "exchange, source and sink run: {children:?}");
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = children.iter().find(|pid| is_running(**pid)) {
            assert!(Instant::now() < deadline, "process {left} outlived the demo that was killed");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ctrl-C at a terminal: a signal to the whole process group.
    pub fn interrupt(&self) {
        let group = format!("-{}", self.child.id());
        let sent = Command::new("kill").args(["-INT", "--", &group]).status();
        let sent = sent.expect("kill is there");
        assert!(sent.success());
    }

    /// Waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it can be watched") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the demo did not end");
    }
}

/// State and parent of a process.
fn stat(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|(state, _)| state != 'Z')
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("this is Linux");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|(_, its)| its == parent)).collect()
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped_already = self.child.wait();
    }
}
