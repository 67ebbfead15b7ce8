//! A process that owns a server (`tickpanda-database`), so that a test can kill it.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test file uses some of it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Everything here is waited for this long.
pub const DEADLINE: Duration = Duration::from_secs(60);

pub struct Owner {
    child: Child,
    pub kind: String,
    pub url: String,
    pub socket_url: String,
}

/// A command for the program, for one database server, whatever the environment of the tests names.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickpanda-database"));
    for name in ["DATABASE_URL", "TIMESCALEDB_HOST", "TIMESCALEDB_PORT", "TIMESCALEDB_USERNAME"] {
        command.env_remove(name);
    }
    command.env_remove("TIMESCALEDB_PASSWORD").env_remove("TIMESCALEDB_DATABASE");
    command.stdin(Stdio::null());
    command
}

impl Owner {
    pub fn start(data_dir: Option<&Path>) -> Self {
        let mut command = program();
        command.args(data_dir);
        Self::start_with(command)
    }

    pub fn start_with(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("the program says three lines").expect("as text");
        Owner { kind: line(), url: line(), socket_url: line(), child }
    }

    /// The folder of its socket, which is the data directory itself.
    pub fn socket_folder(&self) -> String {
        let options: sqlx::postgres::PgConnectOptions = self.socket_url.parse().expect("a URL");
        options.get_socket().expect("a socket").to_string_lossy().into_owned()
    }

    /// `kill -9`, without a chance to clean up.
    pub fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    pub async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.socket_url).await.expect("it answers");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect(sql);
    }

    pub async fn count(&self, table: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.url).await.expect("it answers");
        let sql = format!("select count(*) from {table}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.expect("a count")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until it holds.
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The number in a data directory's `postmaster.pid`.
pub fn server_pid(cluster: &Path) -> u32 {
    let text = std::fs::read_to_string(cluster.join("postmaster.pid")).expect("a server runs");
    text.lines().next().and_then(|line| line.trim().parse().ok()).expect("a number")
}

/// Whether the process exists and is no zombie.
pub fn alive(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}
