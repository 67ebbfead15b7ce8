//! A server's data folder, from nothing to ready to start.
//!
//! ```text
//! FOLDER/                ours, 0711 for root
//!   owner.lock           locked by the process that wants the server; free when that one is gone
//!   server.lock          locked by the server's processes; free when the last of them is gone
//!   server.log           the server's log; server.log.1 is the one before
//!   postgresql.conf      written at each start
//!   custom.conf          the user's own settings, if any
//!   cluster/             PostgreSQL's data directory, belongs to the account that runs it
//! ```
//!
//! Locks are the kernel's, so that no crash leaves one behind; what a `postmaster.pid` says is
//! believed only if that process really is a server on this directory.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::DatabaseError;
use crate::account::{Account, give, is_root};
use crate::cache::Cache;
use crate::programs::Programs;

/// A killed run's server gets this long to end: its shutdown writes out all that it holds in memory.
const OLD_SERVER: Duration = Duration::from_secs(90);
/// A second run that is about to end gets this long.
const OLD_OWNER: Duration = Duration::from_secs(2);
/// The log is put aside when it is larger (bytes).
const LOG_LIMIT: u64 = 8 << 20;
/// A Unix socket's path has at most this many bytes.
const SOCKET_PATH_LIMIT: usize = 107;

/// A prepared data folder, held for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    account: Account,
    socket_folder: PathBuf,
    /// Folders that the supervisor removes at the end.
    temporary: Option<PathBuf>,
    temporary_socket: Option<PathBuf>,
    _owner: File,
}

impl Folder {
    /// Makes or takes over the folder (`None`: a temporary one), waiting for an earlier run's
    /// server to end.
    pub(crate) fn prepare(
        wanted: Option<&Path>,
        programs: &Programs,
        cache: &Cache,
        durable: bool,
    ) -> Result<Self, DatabaseError> {
        // Kept until the supervisor has the duty to remove it: an early error removes it here.
        let mut temporary = None;
        let root = match wanted {
            Some(folder) => {
                let folder =
                    std::path::absolute(folder).map_err(DatabaseError::io("find", folder))?;
                fs::create_dir_all(&folder).map_err(DatabaseError::io("make", &folder))?;
                // Without links, so that each folder on the way can be tried.
                fs::canonicalize(&folder).map_err(DatabaseError::io("find", &folder))?
            }
            None => {
                let folder = temporary_folder("tickpanda-db-")?;
                temporary.insert(folder).path().to_owned()
            }
        };
        if is_root() {
            set_mode(&root, 0o711)?;
        }
        let account = Account::choose(&programs.bin, &root)?;
        let owner = lock(&root.join("owner.lock"), OLD_OWNER)?
            .ok_or_else(|| DatabaseError::InUse { folder: root.clone() })?;
        // Nobody may touch the cluster before the old server has ended.
        drop(server_lock(&root)?);
        let cluster = root.join("cluster");
        if cluster.join("PG_VERSION").is_file() {
            take_over(&cluster, programs, &account)?;
        } else {
            copy_template(&cluster, programs, cache, &account, durable && wanted.is_some())?;
        }
        let mut temporary_socket = None;
        let mut socket_folder = cluster;
        if socket_folder.as_os_str().len() + "/.s.PGSQL.65535".len() > SOCKET_PATH_LIMIT {
            let folder = temporary_socket.insert(short_folder()?);
            give_to(folder.path(), &account)?;
            socket_folder = folder.path().to_owned();
        }
        Ok(Folder {
            root,
            account,
            socket_folder,
            temporary: temporary.map(tempfile::TempDir::keep),
            temporary_socket: temporary_socket.map(tempfile::TempDir::keep),
            _owner: owner,
        })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn cluster(&self) -> PathBuf {
        self.root.join("cluster")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    pub(crate) fn socket_folder(&self) -> &Path {
        &self.socket_folder
    }

    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// What the supervisor removes at the end.
    pub(crate) fn to_remove(&self) -> [Option<&Path>; 2] {
        [self.temporary.as_deref(), self.temporary_socket.as_deref()]
    }

    /// The lock to hand to the server.
    pub(crate) fn server_lock(&self) -> Result<File, DatabaseError> {
        server_lock(&self.root)
    }

    /// The log, open for appending and reading.
    pub(crate) fn open_log(&self) -> Result<File, DatabaseError> {
        let log = self.log();
        if fs::metadata(&log).is_ok_and(|meta| meta.len() > LOG_LIMIT) {
            let before = self.root.join("server.log.1");
            fs::rename(&log, before).map_err(DatabaseError::io("put aside", &log))?;
        }
        File::options()
            .append(true)
            .create(true)
            .open(&log)
            .map_err(DatabaseError::io("open", &log))
    }
}

/// Checks a data directory that is there already.
fn take_over(cluster: &Path, programs: &Programs, account: &Account) -> Result<(), DatabaseError> {
    let file = cluster.join("PG_VERSION");
    let made_by = fs::read_to_string(&file).map_err(DatabaseError::io("read", &file))?;
    if made_by.trim() != programs.major {
        let (made_by, ours) = (made_by.trim().to_owned(), programs.major.clone());
        return Err(DatabaseError::WrongVersion { folder: cluster.to_owned(), made_by, ours });
    }
    let meta = fs::metadata(cluster).map_err(DatabaseError::io("look at", cluster))?;
    if !is_root() && meta.uid() != rustix::process::geteuid().as_raw() {
        return Err(DatabaseError::WrongOwner { folder: cluster.to_owned() });
    }
    give_to(cluster, account)?;
    // We hold the lock, so the server that left this file is gone, unless somebody started one by
    // hand. PostgreSQL itself would be stopped by any process that has come to have that number.
    let file = cluster.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    if let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok())
        && is_server_on(pid, cluster)
    {
        return Err(DatabaseError::ForeignServer { folder: cluster.to_owned(), pid });
    }
    fs::remove_file(&file).map_err(DatabaseError::io("remove", &file))
}

/// Whether the process is a server on this data directory.
fn is_server_on(pid: u32, cluster: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let wanted = cluster.as_os_str().as_bytes();
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == wanted))
}

/// Makes the data directory a copy of the fresh one in the cache: beside its place, then renamed.
fn copy_template(
    cluster: &Path,
    programs: &Programs,
    cache: &Cache,
    account: &Account,
    sync: bool,
) -> Result<(), DatabaseError> {
    let template = programs.template(cache)?;
    let new = cluster.with_file_name("cluster.new");
    for old in [&new, cluster] {
        if old.exists() {
            fs::remove_dir_all(old).map_err(DatabaseError::io("remove the unfinished", old))?;
        }
    }
    let mut copy = Command::new("cp");
    copy.args(["-a", "--reflink=auto", "--"]).arg(template).arg(&new);
    run(copy, "copy the fresh data directory to", &new)?;
    give_to(&new, account)?;
    if sync {
        let mut command = account.command(&programs.bin.join("initdb").to_string_lossy());
        command.arg("--sync-only").arg("-D").arg(&new).current_dir("/");
        run(command, "write to disk", &new)?;
    }
    fs::rename(&new, cluster).map_err(DatabaseError::io("rename to", cluster))
}

fn run(mut command: Command, doing: &str, path: &Path) -> Result<(), DatabaseError> {
    let output = command.stdin(Stdio::null()).output().map_err(DatabaseError::io(doing, path))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(DatabaseError::io(doing, path)(std::io::Error::other(said)))
}

fn server_lock(root: &Path) -> Result<File, DatabaseError> {
    lock(&root.join("server.lock"), OLD_SERVER)?.ok_or_else(|| DatabaseError::StillStopping {
        folder: root.to_owned(),
        seconds: OLD_SERVER.as_secs(),
    })
}

/// Locks a file, made if needed; `None` if somebody else holds it for all that time.
fn lock(path: &Path, patience: Duration) -> Result<Option<File>, DatabaseError> {
    // Made by one call, opened read-only by another: nothing that gets the file can write to it.
    let make = File::options().append(true).create(true).open(path);
    make.map_err(DatabaseError::io("make", path))?;
    let file = File::open(path).map_err(DatabaseError::io("open", path))?;
    let deadline = Instant::now() + patience;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(DatabaseError::io("lock", path)(error)),
        }
    }
}

fn temporary_folder(prefix: &str) -> Result<tempfile::TempDir, DatabaseError> {
    let folder = std::env::temp_dir();
    tempfile::Builder::new()
        .prefix(prefix)
        .tempdir()
        .map_err(DatabaseError::io("make a temporary folder in", &folder))
}

/// A folder whose path is short enough for a socket, whatever `TMPDIR` says.
fn short_folder() -> Result<tempfile::TempDir, DatabaseError> {
    let folder = Path::new("/tmp");
    tempfile::Builder::new()
        .prefix("tickpanda-")
        .tempdir_in(folder)
        .map_err(DatabaseError::io("make a folder in", folder))
}

fn give_to(folder: &Path, account: &Account) -> Result<(), DatabaseError> {
    match account.owner() {
        Some(owner) => {
            give(folder, owner).map_err(DatabaseError::io("give to the database's user", folder))
        }
        None => Ok(()),
    }
}

fn set_mode(folder: &Path, mode: u32) -> Result<(), DatabaseError> {
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
        .map_err(DatabaseError::io("set the mode of", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_free_when_that_one_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap().expect("nobody has it");
        assert!(lock(&path, Duration::from_millis(30)).unwrap().is_none());
        drop(held);
        assert!(lock(&path, Duration::ZERO).unwrap().is_some());
    }

    #[test]
    fn a_reused_process_number_is_no_server() {
        let own = std::process::id();
        assert!(!is_server_on(own, Path::new("/no/such/cluster")));
        let name = std::env::args().next().expect("a program has a name");
        assert!(is_server_on(own, Path::new(&name)), "a word of the command line is found");
    }
}
