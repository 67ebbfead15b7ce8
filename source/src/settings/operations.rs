//! What operators see of a source: its name, its state folder, HTTP.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tickpanda_program::http::Listen;

use super::parse;

/// A default for the spool: some days of a busy vendor's trades.
const SPOOL_BYTES: &str = "4GiB";

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Operations")]
#[allow(missing_docs)]
pub struct OperationArgs {
    /// Folder for what must outlive the process: the run ledger, the spool, the place in the control
    /// topic
    #[arg(
        long,
        env = "TICKPANDA_SOURCE_STATE_DIR",
        hide_env_values = true,
        default_value = "tickpanda-source-state",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,

    /// Bytes on disk that may wait for the broker, such as 512MiB or 4GiB. When it is full, the oldest
    /// frames go, and are counted and written down as a gap
    #[arg(long, env = "TICKPANDA_SPOOL_BYTES", hide_env_values = true, default_value = SPOOL_BYTES, value_parser = parse::bytes, value_name = "SIZE")]
    pub spool_bytes: u64,

    /// This source's name in commands and replies, unlike any other source's [default: the host's name
    /// and the state folder, HOST:/FOLDER]
    #[arg(long, env = "TICKPANDA_SOURCE_NAME", hide_env_values = true, value_parser = parse::name, value_name = "NAME")]
    pub name: Option<String>,

    /// Serve /live, /ready, /state and /metrics on this address, `127.0.0.1:9191`. Off where it is not
    /// set; each program of a machine needs a port of its own, and port 0 takes a free one (see the log)
    #[arg(long, env = "SOURCE_HTTP_LISTEN", hide_env_values = true, value_name = "ADDRESS:PORT")]
    pub http_listen: Option<Listen>,

    /// How many seconds the oldest unpublished frame may wait for /ready to say yes
    #[arg(long, env = "SOURCE_READY_LAG", hide_env_values = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub ready_lag: u64,

    /// For how many seconds no sub at all may have data for /ready to say yes
    #[arg(long, env = "SOURCE_READY_SILENCE", hide_env_values = true, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub ready_silence: u64,
}

/// What `/ready` lets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// How long the oldest unpublished record may wait.
    pub lag: Duration,
    /// For how long no sub at all may have data.
    pub silence: Duration,
}

impl OperationArgs {
    /// The name given, or the host's and the state folder's.
    pub(super) fn name(&self) -> String {
        self.name
            .clone()
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| default(&self.state_dir))
    }

    pub(super) fn listen(&self) -> Option<SocketAddr> {
        self.http_listen.and_then(Listen::address)
    }

    pub(super) fn ready(&self) -> Ready {
        Ready {
            lag: Duration::from_secs(self.ready_lag),
            silence: Duration::from_secs(self.ready_silence),
        }
    }
}

/// Two sources of a machine have two state folders, because the ledger in it is locked.
fn default(state_dir: &Path) -> String {
    let folder = std::path::absolute(state_dir).unwrap_or_else(|_| state_dir.to_owned());
    let name = format!("{}:{}", host(), folder.display());
    let name: String = name.chars().filter(|c| !c.is_control()).collect();
    // Its end tells more than its beginning, if it must be cut.
    let cut = name.char_indices().rev().nth(parse::MAX_NAME - 1).map_or(0, |(at, _)| at);
    name[cut..].to_owned()
}

fn host() -> String {
    let of_file = |path| std::fs::read_to_string(path).ok();
    let known = [of_file("/proc/sys/kernel/hostname"), of_file("/etc/hostname")];
    let known = known.into_iter().flatten().chain(std::env::var("HOSTNAME"));
    let mut names = known.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    names.next().unwrap_or_else(|| "source".to_owned())
}
