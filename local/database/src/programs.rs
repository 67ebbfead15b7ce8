//! The server's programs: unpacked from Debian's packages, or found on this machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::DatabaseError;
use crate::account::Account;
use crate::cache::Cache;
use crate::source::{Source, Suite};

/// A `postgres` and an `initdb` that run.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The folder they are in.
    pub(crate) bin: PathBuf,
    /// The major version, `17`.
    pub(crate) major: String,
    /// Whether TimescaleDB lies beside them.
    pub(crate) timescaledb: bool,
    /// Where the cache keeps a fresh data directory of theirs.
    template: PathBuf,
}

impl Programs {
    /// What `source` asks for. A given database has none; the caller has dealt with it.
    pub(crate) fn obtain(source: &Source, cache: &Cache) -> Result<Self, DatabaseError> {
        match source {
            Source::Debian(suite) => Self::debian(*suite, cache),
            Source::Machine => Self::machine(cache).map_err(|tried| DatabaseError::NoDatabase { tried }),
            Source::Any | Source::Given(_) => Self::debian(Suite::Trixie, cache).or_else(|error| {
                let found = Self::machine(cache)
                    .map_err(|machine| DatabaseError::NoDatabase { tried: format!("{error}; {machine}") })?;
                tracing::warn!(%error, bin = %found.bin.display(), "no TimescaleDB: using the PostgreSQL of this machine");
                Ok(found)
            }),
        }
    }

    fn debian(suite: Suite, cache: &Cache) -> Result<Self, DatabaseError> {
        let folder = cache.folder().join(suite.name());
        let bin = folder.join(format!("root/usr/lib/postgresql/{}/bin", suite.major()));
        if !bin.is_dir() {
            tracing::info!(cache = %folder.display(), "fetching TimescaleDB from Debian's packages (once, about 40 MB)");
            let doing = format!("fetching TimescaleDB from Debian {}", suite.name());
            cache.provision("unpack", &[suite.name()], &doing)?;
        }
        let template = folder.join("template");
        Ok(Programs { bin, major: suite.major().to_string(), timescaledb: true, template })
    }

    /// The newest server found, or why there is none.
    fn machine(cache: &Cache) -> Result<Self, String> {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let mut found: Vec<Self> = installed_under(Path::new("/usr/lib/postgresql"))
            .into_iter()
            .chain(std::env::split_paths(&on_path).filter_map(|folder| real_bin(&folder)))
            .filter_map(|bin| {
                let major = major_of(&bin)?;
                let timescaledb = bin.with_file_name("lib").join("timescaledb.so").is_file();
                let template = cache.folder().join(format!("machine-{major}")).join("template");
                Some(Programs { bin, major, timescaledb, template })
            })
            .collect();
        found.sort_by_key(|programs| {
            (programs.timescaledb, programs.major.parse::<u32>().unwrap_or(0))
        });
        found.pop().ok_or_else(|| "no PostgreSQL under /usr/lib/postgresql or on PATH".into())
    }

    /// A fresh data directory to copy; made on first use.
    pub(crate) fn template(&self, cache: &Cache) -> Result<&Path, DatabaseError> {
        if !self.template.is_dir() {
            let account = Account::choose(&self.bin, cache.folder())?;
            let owner =
                account.owner().map(|(uid, gid)| format!("{uid}:{gid}")).unwrap_or_default();
            let prefix = account.prefix();
            let (bin, template) = (self.bin.to_string_lossy(), self.template.to_string_lossy());
            let mut args = vec![&*bin, &*template, &*owner];
            args.extend(prefix.iter().map(String::as_str));
            cache.provision("template", &args, "making a fresh data directory")?;
        }
        Ok(&self.template)
    }
}

/// Debian's layout: a folder a major version.
fn installed_under(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return vec![] };
    entries.filter_map(|entry| real_bin(&entry.ok()?.path().join("bin"))).collect()
}

/// Where `folder`'s `postgres` really is, if `initdb` is there too: links may lead elsewhere.
fn real_bin(folder: &Path) -> Option<PathBuf> {
    let bin = fs::canonicalize(folder.join("postgres")).ok()?.parent()?.to_owned();
    bin.join("initdb").is_file().then_some(bin)
}

fn major_of(bin: &Path) -> Option<String> {
    let mut command = Command::new(bin.join("postgres"));
    let output = command.arg("--version").stdin(Stdio::null()).output().ok()?;
    major_in(&String::from_utf8_lossy(&output.stdout))
}

/// The major version in what `postgres --version` prints.
fn major_in(said: &str) -> Option<String> {
    let version = said.split_once("(PostgreSQL) ")?.1;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_from_releases_and_betas() {
        for (said, major) in [
            ("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n", Some("15")),
            ("postgres (PostgreSQL) 18beta1", Some("18")),
            ("postgres (Something) 15", None),
            ("", None),
        ] {
            assert_eq!(major_in(said).as_deref(), major, "{said}");
        }
    }
}
