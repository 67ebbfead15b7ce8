//! Who runs the server. PostgreSQL refuses root, so that root needs somebody else, who must be able
//! to enter the folders:
//!
//! 1. an account that exists (`postgres`, else `nobody`), by `setpriv`;
//! 2. where a folder on the way keeps that account out: root itself inside a user namespace, where
//!    it has that account's number and PostgreSQL is content, while the files stay root's;
//! 3. else an error that names the folder.
//!
//! Permissions are tried, not computed: access lists and mount options count too.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::DatabaseError;

/// An account that may run PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Account {
    /// We are an ordinary user.
    Ourselves,
    /// We are root and step down to this one.
    User { name: String, uid: u32, gid: u32 },
    /// We are root and stay it, in a user namespace where our number is this one.
    Namespace { uid: u32, gid: u32 },
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Account {
    /// An account that can run `bin` and enter `folder`. If all that is in its way is `folder`'s own
    /// parent, and that is ours, it is let through there (`o+x`: entering, not listing).
    pub(crate) fn choose(bin: &Path, folder: &Path) -> Result<Self, DatabaseError> {
        if !is_root() {
            return Ok(Account::Ourselves);
        }
        let user = Self::step_down()?;
        let mut blocked = user.blocked_by(bin)?;
        if blocked.is_none() {
            blocked = user.blocked_by(folder)?;
            if let Some(parent) =
                blocked.as_deref().filter(|blocked| Some(*blocked) == folder.parent())
                && let_through(parent)?
            {
                blocked = user.blocked_by(folder)?;
            }
        }
        let Some(blocking) = blocked else { return Ok(user) };
        let Account::User { name, uid, gid } = user else { return Ok(user) };
        let inside = Account::Namespace { uid, gid };
        if matches!((inside.blocked_by(bin), inside.blocked_by(folder)), (Ok(None), Ok(None))) {
            return Ok(inside);
        }
        Err(DatabaseError::Blocked { folder: blocking, account: name })
    }

    /// The account that root steps down to.
    fn step_down() -> Result<Self, DatabaseError> {
        let file = Path::new("/etc/passwd");
        let passwd = fs::read_to_string(file).map_err(DatabaseError::io("read", file))?;
        ["postgres", "nobody"].iter().find_map(|name| in_passwd(&passwd, name)).ok_or_else(|| {
            let source = io::Error::new(
                io::ErrorKind::NotFound,
                "neither postgres nor nobody is in /etc/passwd",
            );
            DatabaseError::Io { doing: "find a user to run PostgreSQL".into(), source }
        })
    }

    /// Whether root's stepped-down account can enter `folder`; always for an ordinary user.
    pub(crate) fn can_enter(folder: &Path) -> Result<bool, DatabaseError> {
        Ok(!is_root() || Self::step_down()?.blocked_by(folder)?.is_none())
    }

    /// What to put before a command so that this account runs it. The process keeps its id.
    pub(crate) fn prefix(&self) -> Vec<String> {
        match self {
            Account::Ourselves => vec![],
            Account::User { uid, gid, .. } => {
                vec![
                    "setpriv".into(),
                    format!("--reuid={uid}"),
                    format!("--regid={gid}"),
                    "--clear-groups".into(),
                    "--".into(),
                ]
            }
            Account::Namespace { uid, gid } => {
                vec![
                    "unshare".into(),
                    "--user".into(),
                    format!("--map-user={uid}"),
                    format!("--map-group={gid}"),
                    "--".into(),
                ]
            }
        }
    }

    /// User and group that files must belong to, seen from here; `None` where they do anyway.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        match self {
            Account::Ourselves => None,
            Account::User { uid, gid, .. } => Some((*uid, *gid)),
            Account::Namespace { .. } => Some((0, 0)),
        }
    }

    /// The outermost folder on the way to `path`, and that itself, which this account can't enter.
    fn blocked_by(&self, path: &Path) -> Result<Option<PathBuf>, DatabaseError> {
        const TRY: &str = r#"for f; do [ -x "$f" ] || { printf %s "$f"; exit 3; }; done"#;
        let mut way: Vec<&Path> = path.ancestors().collect();
        way.reverse();
        let mut command = self.command("sh");
        command
            .arg("-c")
            .arg(TRY)
            .arg("sh")
            .args(way)
            .current_dir("/")
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let output = command.output().map_err(DatabaseError::io("find out who can enter", path))?;
        match output.status.code() {
            Some(0) => Ok(None),
            Some(3) => {
                use std::os::unix::ffi::OsStringExt;
                Ok(Some(std::ffi::OsString::from_vec(output.stdout).into()))
            }
            _ => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(DatabaseError::io("change the user for", path)(io::Error::other(said)))
            }
        }
    }

    /// A command that this account runs.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut words = self.prefix();
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command
    }
}

/// Adds `o+x` to a folder if it is ours. False if it is not.
fn let_through(folder: &Path) -> Result<bool, DatabaseError> {
    let meta = fs::metadata(folder).map_err(DatabaseError::io("look at", folder))?;
    if meta.uid() != rustix::process::geteuid().as_raw() {
        return Ok(false);
    }
    let mode = meta.mode() & 0o7777 | 0o001;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
        .map_err(DatabaseError::io("chmod o+x", folder))?;
    tracing::debug!(folder = %folder.display(), "let the database's user pass (chmod o+x)");
    Ok(true)
}

/// An account from the text of `/etc/passwd`.
fn in_passwd(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [found, _, uid, gid, ..] = fields[..] else { return None };
        let (uid, gid) = (uid.parse().ok()?, gid.parse().ok()?);
        (found == name && uid != 0).then(|| Account::User { name: name.into(), uid, gid })
    })
}

/// Gives a folder and all in it to an owner, without following links.
pub(crate) fn give(folder: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let meta = fs::symlink_metadata(folder)?;
    if meta.is_dir() {
        for entry in fs::read_dir(folder)? {
            give(&entry?.path(), (uid, gid))?;
        }
    }
    if (meta.uid(), meta.gid()) != (uid, gid) {
        std::os::unix::fs::lchown(folder, Some(uid), Some(gid))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name_and_is_never_root() {
        let passwd = "root:x:0:0::/root:/bin/sh\nmypostgres:x:7:7::/:/\nbroken\npostgres:x:101:104:,,,:/:/bin/sh\ntoor:x:0:0::/:/\n";
        let found = in_passwd(passwd, "postgres");
        assert_eq!(found, Some(Account::User { name: "postgres".into(), uid: 101, gid: 104 }));
        assert_eq!(in_passwd(passwd, "nobody"), None);
        assert_eq!(in_passwd(passwd, "toor"), None);
    }
}
