//! The run ledger, `runs.jsonl` in the state folder: a line when a run starts and one when it ends
//! having published all it drew numbers for.
//!
//! Whoever counts sequence numbers on the raw topic reads it to tell the numbers that a killed run
//! had drawn but not published (no end line) from lost ones.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::SourceError;

/// Name of the file in the state folder.
pub const FILE: &str = "runs.jsonl";

/// An open ledger. It is locked: two sources must not share a state folder.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    file: File,
}

impl Ledger {
    /// Opens the ledger of a state folder, which is made if missing. A line torn by a crash is
    /// ended, so that it spoils no other.
    ///
    /// # Errors
    /// [`SourceError::Ledger`], as from the other methods.
    pub fn open(state_dir: &Path) -> Result<Self, SourceError> {
        let path = state_dir.join(FILE);
        let open = || {
            fs::create_dir_all(state_dir)?;
            let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
            file.try_lock().map_err(|error| match error {
                TryLockError::WouldBlock => {
                    io::Error::new(io::ErrorKind::WouldBlock, "another source is using this folder")
                }
                TryLockError::Error(error) => error,
            })?;
            if file.seek(SeekFrom::End(0))? > 0 {
                file.seek(SeekFrom::End(-1))?;
                let mut last = [0];
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    file.write_all(b"\n")?;
                }
            }
            Ok(file)
        };
        let file = open().map_err(|error| SourceError::Ledger { path: path.clone(), error })?;
        Ok(Ledger { path, file })
    }

    /// Writes down that a run has started (ms since the epoch), before it draws its first number.
    pub fn started(&mut self, run: u64, at: i64) -> Result<(), SourceError> {
        self.write(&json!({"run": format!("{run:016x}"), "started_at": at}))
    }

    /// Writes down that a run has ended with all of its `published` numbers acknowledged.
    pub fn ended(&mut self, run: u64, at: i64, published: u64) -> Result<(), SourceError> {
        self.write(&json!({"run": format!("{run:016x}"), "ended_at": at, "published": published}))
    }

    fn write(&mut self, line: &Value) -> Result<(), SourceError> {
        let write = |file: &mut File| -> io::Result<()> {
            file.write_all(format!("{line}\n").as_bytes())?;
            file.sync_data()
        };
        let path = &self.path;
        write(&mut self.file).map_err(|error| SourceError::Ledger { path: path.clone(), error })
    }
}

/// How each run in a state folder's ledger ended: the number it had published, or `None` where it
/// was killed. Nothing where there is no ledger yet; a torn line says nothing.
///
/// # Errors
/// The file is there and can't be read.
pub fn endings(state_dir: &Path) -> io::Result<HashMap<u64, Option<u64>>> {
    let text = match fs::read_to_string(state_dir.join(FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        read => read?,
    };
    let mut endings = HashMap::new();
    for line in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let run = line["run"].as_str().and_then(|run| u64::from_str_radix(run, 16).ok());
        let Some(run) = run else { continue };
        let ending = endings.entry(run).or_insert(None);
        *ending = ending.or(line["published"].as_u64());
    }
    Ok(endings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_add_up_over_runs_and_a_torn_one_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("deep/state");
        Ledger::open(&state).unwrap().started(0xab, 5).unwrap();
        let path = state.join(FILE);
        fs::write(&path, format!("{}{{\"run\":\"00", fs::read_to_string(&path).unwrap())).unwrap();
        let mut ledger = Ledger::open(&state).unwrap();
        ledger.started(1, 7).unwrap();
        ledger.ended(1, 9, 42).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().map(serde_json::from_str::<Value>).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0].as_ref().unwrap()["run"], "00000000000000ab");
        assert!(lines[1].is_err());
        assert_eq!(lines[2].as_ref().unwrap()["started_at"], 7);
        let ended = json!({"run": "0000000000000001", "ended_at": 9, "published": 42});
        assert_eq!(lines[3].as_ref().unwrap(), &ended);
        assert_eq!(endings(&state).unwrap(), HashMap::from([(0xab, None), (1, Some(42))]));
    }

    #[test]
    fn a_folder_has_one_source_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = Ledger::open(folder.path()).unwrap();
        let second = Ledger::open(folder.path()).unwrap_err().to_string();
        assert!(second.contains("another source"), "{second}");
        drop(first);
        Ledger::open(folder.path()).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Ledger::open(file.path()).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
