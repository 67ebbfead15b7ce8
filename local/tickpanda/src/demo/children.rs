//! The programs that the demo runs beside itself: the same binaries that production uses.
//!
//! Each child's standard input is a pipe that we hold. It is never written to: when we go, however
//! we go, it closes, and the child stops. `kill -9` of the demo leaves no orphans. Each is a process
//! group of its own, because Ctrl-C at a terminal signals a whole group, and the children must end in
//! the order in which data leaves them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A running program.
pub(crate) struct Child {
    name: &'static str,
    process: Process,
    /// Held so that the child sees its end when we end.
    _lifeline: Option<ChildStdin>,
    log: PathBuf,
    copier: JoinHandle<()>,
}

impl Child {
    /// Starts the program `binary` that lies beside our own, its log in `logs/{name}.log`.
    pub(crate) async fn start(
        name: &'static str,
        binary: &str,
        logs: &Path,
        configure: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let program = std::env::current_exe()
            .context("cannot find out where this program lies")?
            .with_file_name(binary);
        let mut command = Command::new(&program);
        command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .env("NO_COLOR", "1");
        command.process_group(0);
        // The demo's broker is its own, in plain text, whatever the user's cluster asks for. Not taken
        // away but set to nothing, which a line of `.env` does not change.
        for variable in tickpanda_kafka::settings::VARIABLES {
            command.env(variable, "");
        }
        configure(&mut command);
        let mut process = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({})", program.display()))?;
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).await;
        let file = file.with_context(|| format!("cannot write {}", log.display()))?;
        let stderr = process.stderr.take().context("the child's stderr is piped")?;
        let copier = tokio::spawn(copy_log(name, stderr, file));
        let lifeline = process.stdin.take();
        Ok(Child { name, process, _lifeline: lifeline, log, copier })
    }

    /// The child's standard output, where it is piped.
    pub(crate) fn stdout(&mut self) -> Option<ChildStdout> {
        self.process.stdout.take()
    }

    /// An error where the child is gone: none of them ends by itself.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self.process.try_wait().with_context(|| format!("cannot watch {}", self.name))? {
            None => Ok(()),
            Some(status) => {
                bail!("{} ended ({status}); its log is {}", self.name, self.log.display())
            }
        }
    }

    /// Asks the child to end (SIGTERM), and kills it where it has not after `deadline`.
    ///
    /// # Errors
    /// Where it did not end as asked: a source that gave frames up says so by its exit code.
    pub(crate) async fn stop(mut self, deadline: Duration) -> Result<()> {
        if let Some(pid) = self.pid() {
            // An error means that it is gone already, which `wait` tells us too.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let status = match timeout(deadline, self.process.wait()).await {
            Ok(status) => status,
            Err(_) => {
                eprintln!("{} did not end within {deadline:?}: killed", self.name);
                self.process.kill().await?;
                self.process.wait().await
            }
        };
        // The rest of its log; the pipe ends with the child.
        let _late = timeout(Duration::from_secs(1), &mut self.copier).await;
        let status = status.with_context(|| format!("cannot wait for {}", self.name))?;
        if !status.success() {
            bail!("{} ended with {status}; its log is {}", self.name, self.log.display());
        }
        Ok(())
    }

    /// Its name and the most memory it ever had resident, in bytes.
    pub(crate) fn peak_memory(&self) -> (&'static str, Option<u64>) {
        (self.name, self.process.id().and_then(|pid| peak_memory(OsStr::new(&pid.to_string()))))
    }

    fn pid(&self) -> Option<rustix::process::Pid> {
        self.process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(rustix::process::Pid::from_raw)
    }
}

/// `VmHWM` of a process (`self` for ours), in bytes.
pub(crate) fn peak_memory(pid: &OsStr) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// Everything goes to the log file; what a person should know now also to our stderr.
async fn copy_log(name: &'static str, from: impl AsyncRead + Unpin, mut file: File) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(mut line)) = lines.next_segment().await {
        let text = String::from_utf8_lossy(&line);
        if text.contains(" WARN ") || text.contains(" ERROR ") || text.starts_with("error") {
            eprintln!("{name}: {}", text.trim());
        }
        line.push(b'\n');
        if let Err(error) = file.write_all(&line).await {
            eprintln!("{name}: its log can't be written any more: {error}");
            break;
        }
    }
    let _flushed = file.flush().await;
}
