//! What a program takes: wall time, its own CPU time, its largest memory. For benchmarks.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// What a run took.
pub struct Measured {
    /// From start to end.
    pub wall: Duration,
    /// User and system time.
    pub cpu: Duration,
    /// Largest resident memory.
    pub peak_bytes: u64,
}

/// Runs it.
///
/// # Panics
/// Where it does not end with 0.
pub async fn run(mut command: Command) -> Measured {
    let running = move || {
        let start = Instant::now();
        let mut child = command.stdin(Stdio::null()).spawn().expect("the program starts");
        let folder = format!("/proc/{}", child.id());
        let pid = Pid::from_child(&child);
        let mut peak_bytes = 0;
        // Not reaped yet: the kernel keeps its times until then, its memory only while it runs.
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        while waitid(WaitId::Pid(pid), options).expect("it is our child").is_none() {
            peak_bytes = peak(&folder).unwrap_or(peak_bytes);
            std::thread::sleep(Duration::from_millis(5));
        }
        let wall = start.elapsed();
        let cpu = cpu(&folder).expect("a child that is not reaped has its times");
        let status = child.wait().expect("it is our child");
        assert!(status.success(), "{command:?} ended with {status}");
        Measured { wall, cpu, peak_bytes }
    };
    tokio::task::spawn_blocking(running).await.expect("no panic")
}

/// CPU time that a running child has used, and the largest memory it has had, in bytes.
pub fn so_far(pid: u32) -> (Duration, u64) {
    let folder = format!("/proc/{pid}");
    (cpu(&folder).unwrap_or_default(), peak(&folder).unwrap_or_default())
}

fn peak(folder: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// From Linux's clock ticks, of which there are a hundred in a second.
fn cpu(folder: &str) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("{folder}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let times = rest.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis(times.sum::<Option<u64>>()? * 10))
}
