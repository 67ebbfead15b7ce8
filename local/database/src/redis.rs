//! A Redis server for a test: Debian's own, unpacked into the cache as the database is, or one that
//! is installed on this machine. It keeps nothing, lives in a temporary folder, listens on 127.0.0.1,
//! and ends with the process that started it.

use std::fs::{self, File};
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::DatabaseError;
use crate::cache::{Cache, candidates, last_lines};
use crate::process::SUPERVISE;
use crate::source::Suite;

/// Longest wait for a server to answer or to end.
const PATIENCE: Duration = Duration::from_secs(30);
/// A port that was free a moment ago may be taken by somebody else; then another is tried.
const PORTS: usize = 5;

/// A running Redis server.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    arguments: Vec<String>,
    folder: PathBuf,
    supervisor: Child,
}

impl Redis {
    /// Starts a server on a free port, with these command line arguments besides our own.
    ///
    /// The first call on a machine may download about 10 MB; later ones work without a network.
    ///
    /// # Errors
    /// There is no `redis-server` and none can be fetched, or it does not start.
    pub async fn start(arguments: &[&str]) -> Result<Self, DatabaseError> {
        let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
        let mut tries = 1;
        loop {
            match Self::start_on(free_port()?, arguments.clone()).await {
                Err(DatabaseError::RedisNotStarted { .. }) if tries < PORTS => tries += 1,
                started => return started,
            }
        }
    }

    /// Where it listens on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`, and waits for its end. What it held is gone.
    ///
    /// # Errors
    /// It can't be killed.
    pub fn kill(&mut self) -> Result<(), DatabaseError> {
        let file = self.folder.join("redis.pid");
        let text = fs::read_to_string(&file).map_err(DatabaseError::io("read", &file))?;
        let number = text.trim().parse().ok().and_then(rustix::process::Pid::from_raw);
        let gone = || std::io::ErrorKind::NotFound.into();
        let pid =
            number.ok_or_else(gone).map_err(DatabaseError::io("find the server in", &file))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .map_err(|error| DatabaseError::io("kill the server of", &file)(error.into()))?;
        self.supervisor.wait().map_err(DatabaseError::io("wait for the server of", &file))?;
        Ok(())
    }

    /// Starts it anew on the same port, empty, after [`Redis::kill`].
    ///
    /// # Errors
    /// As [`Redis::start`].
    pub async fn start_again(&mut self) -> Result<(), DatabaseError> {
        *self = Self::start_on(self.port, self.arguments.clone()).await?;
        Ok(())
    }

    async fn start_on(port: u16, arguments: Vec<String>) -> Result<Self, DatabaseError> {
        let launched = arguments.clone();
        let launched = tokio::task::spawn_blocking(move || launch(port, &launched)).await;
        let (supervisor, folder, mut log) = launched.map_err(|error| DatabaseError::Io {
            doing: "prepare Redis".into(),
            source: std::io::Error::other(error),
        })??;
        let mut redis = Redis { port, arguments, folder, supervisor };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = redis.supervisor.try_wait();
            let ended =
                ended.map_err(DatabaseError::io("wait for the server of", &redis.folder))?;
            // It writes the file when it has its port, so that it is not a stranger who answers.
            if ended.is_none() && redis.folder.join("redis.pid").is_file() && answers(port).await {
                return Ok(redis);
            }
            if ended.is_some() || Instant::now() > deadline {
                let mut said = String::new();
                let _ = log.read_to_string(&mut said);
                return Err(DatabaseError::RedisNotStarted { log: last_lines(&said, 4) });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take()); // the lifeline
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.supervisor.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Whether a Redis server answers there, also one that wants a password first.
async fn answers(port: u16) -> bool {
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(b"PING\r\n").await?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await?;
        Ok::<_, std::io::Error>(matches!(&answer, b"+PONG" | b"-NOAU"))
    };
    matches!(tokio::time::timeout(Duration::from_secs(1), ask).await, Ok(Ok(true)))
}

/// The supervisor, its folder, and the log, open for reading: the supervisor removes the folder at its end.
fn launch(port: u16, arguments: &[String]) -> Result<(Child, PathBuf, File), DatabaseError> {
    let program = program()?;
    let temporary = tempfile::Builder::new().prefix("tickpanda-redis-").tempdir();
    let temporary =
        temporary.map_err(DatabaseError::io("make a folder in", &std::env::temp_dir()))?;
    let folder = temporary.path();
    let log = folder.join("redis.log");
    let output = File::create(&log).map_err(DatabaseError::io("make", &log))?;
    let errors = output.try_clone().map_err(DatabaseError::io("open", &log))?;
    let log = File::open(&log).map_err(DatabaseError::io("open", &log))?;
    let mut command = Command::new("sh");
    command.args(["-c", SUPERVISE, "supervise.sh"]).arg(folder).arg("").arg(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    command.args(["--appendonly", "no", "--dir"]).arg(folder);
    command.arg("--pidfile").arg(folder.join("redis.pid")).args(arguments);
    command.stdin(Stdio::piped()).stdout(output).stderr(errors).current_dir("/");
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH");
    let child = command.spawn().map_err(DatabaseError::io("run sh for", folder))?;
    Ok((child, temporary.keep(), log)) // the supervisor removes it
}

/// Debian's program from the cache, fetched if need be, or else one on PATH.
fn program() -> Result<PathBuf, DatabaseError> {
    let cache = Cache::open(&candidates(|name| std::env::var(name).ok()))?;
    cached(&cache, "redis", "redis-server").or_else(|error| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut found = std::env::split_paths(&path).map(|folder| folder.join("redis-server"));
        found.find(|program| program.is_file()).ok_or(error)
    })
}

/// Debian's `promtool`, which checks what Prometheus shall read; fetched if need be.
///
/// # Errors
/// It can't be fetched.
pub fn promtool() -> Result<PathBuf, DatabaseError> {
    let cache = Cache::open(&candidates(|name| std::env::var(name).ok()))?;
    cached(&cache, "prometheus", "promtool")
}

fn cached(cache: &Cache, name: &str, program: &str) -> Result<PathBuf, DatabaseError> {
    let suite = Suite::Trixie.name();
    let program = cache.folder().join(suite).join(name).join("usr/bin").join(program);
    if !Path::new(&program).is_file() {
        tracing::info!("fetching {name} from Debian's packages (once)");
        let doing = format!("fetching {name} from Debian {suite}");
        cache.provision(name, &[suite], &doing)?;
    }
    Ok(program)
}

fn free_port() -> Result<u16, DatabaseError> {
    let bound = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bound| bound.local_addr());
    bound
        .map(|address| address.port())
        .map_err(DatabaseError::io("find a free port on", Path::new("127.0.0.1")))
}
