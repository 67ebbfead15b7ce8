//! The server's process under its supervisor (`supervise.sh`), which ends it when we let go of the
//! lifeline, by will or by death.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::DatabaseError;
use crate::conf::Conf;
use crate::folder::Folder;
use crate::programs::Programs;

/// See the file.
pub(crate) const SUPERVISE: &str = include_str!("supervise.sh");

/// A supervised server. Dropping it ends the server in the background.
#[derive(Debug)]
pub(crate) struct Process {
    child: Option<Child>,
    /// Open from the start: a temporary folder is gone with its server, but not what it said.
    log: File,
    log_start: u64,
}

impl Process {
    pub(crate) fn spawn(
        folder: &Folder,
        programs: &Programs,
        port: u16,
        durable: bool,
    ) -> Result<Self, DatabaseError> {
        let conf_file = folder.root().join("postgresql.conf");
        let conf = Conf {
            port,
            socket_folder: folder.socket_folder(),
            timescaledb: programs.timescaledb,
            durable,
        }
        .text();
        fs::write(&conf_file, conf).map_err(DatabaseError::io("write", &conf_file))?;
        readable_by_all(&conf_file)?;

        let mut command = Command::new("sh");
        command.args(["-c", SUPERVISE, "supervise.sh"]);
        command.args(folder.to_remove().map(|path| path.unwrap_or(Path::new(""))));
        command.args(folder.account().prefix());
        command.arg(programs.bin.join("postgres")).arg("-D").arg(folder.cluster());
        command.arg("-c").arg({
            let mut setting = std::ffi::OsString::from("config_file=");
            setting.push(&conf_file);
            setting
        });
        let log = folder.open_log()?;
        let log_start = log.metadata().map_err(DatabaseError::io("look at", &folder.log()))?.len();
        let own_log = log.try_clone().map_err(DatabaseError::io("open", &folder.log()))?;
        // The standard library opens the pipe's ends close-on-exec: no other child keeps it open.
        command.stdin(Stdio::piped()).stdout(folder.server_lock()?).stderr(log);
        // A group of its own: Ctrl-C in the terminal is for us, who still have rows to write.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        command.current_dir("/").env_remove("LD_PRELOAD").env_remove("LD_LIBRARY_PATH");
        let child = command.spawn().map_err(DatabaseError::io("run sh for", folder.root()))?;
        Ok(Process { child: Some(child), log: own_log, log_start })
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.as_mut().map_or(Ok(None), Child::try_wait)
    }

    /// What it has logged since its start, or why that can't be read.
    pub(crate) fn log(&mut self) -> String {
        let mut bytes = Vec::new();
        // A limit, for a server that says one thing all the time.
        let read = self
            .log
            .seek(SeekFrom::Start(self.log_start))
            .and_then(|_| (&self.log).take(1 << 20).read_to_end(&mut bytes));
        read.map_or_else(
            |error| error.to_string(),
            |_| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Tells the server to end. Does not wait.
    pub(crate) fn let_go(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.let_go();
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            // Somebody has to take note of its end; whether that succeeds matters to nobody.
            std::thread::spawn(move || child.wait());
        }
    }
}

/// The server's account reads it, and the umask may not allow that.
fn readable_by_all(file: &Path) -> Result<(), DatabaseError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
        .map_err(DatabaseError::io("set the mode of", file))
}
