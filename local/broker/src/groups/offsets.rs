//! Offsets that clients keep at the broker, by group, topic id and partition; in one JSON file
//! that is replaced as a whole.
//!
//! Bounded: so many entries in all, so long a group's name, so much metadata each.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::limits;
use crate::error::BrokerError;
use crate::storage::{id_text, write_atomically};

/// Offsets kept at most, over all groups.
const MOST: usize = 10_000;
/// Metadata kept with an offset, in bytes: Kafka's default.
const MOST_METADATA: usize = 4096;

/// An offset and what the client wants to remember with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub(crate) offset: i64,
    pub(crate) metadata: String,
}

/// One partition's offset to keep.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Commit {
    #[serde(with = "id_text")]
    pub(crate) topic: Uuid,
    pub(crate) partition: i32,
    pub(crate) committed: Committed,
}

/// Why offsets were not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitError {
    #[error("more than {MOST} offsets")]
    Full,
    #[error("a group's name of more than {} bytes", limits::NAME)]
    Name,
    #[error("metadata of more than {MOST_METADATA} bytes")]
    Metadata,
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// By topic id and partition: an offset is never inherited by a topic of the same name.
pub(crate) type Offsets = BTreeMap<(Uuid, i32), Committed>;

/// All groups' offsets.
#[derive(Debug)]
pub(super) struct OffsetStore {
    path: PathBuf,
    groups: Mutex<BTreeMap<String, Offsets>>,
}

impl OffsetStore {
    /// Reads what was kept; nothing where there is no file.
    pub(super) fn load(path: PathBuf) -> Result<Self, BrokerError> {
        let corrupt =
            |e: serde_json::Error| BrokerError::Corrupt { path: path.clone(), what: e.to_string() };
        let lists: BTreeMap<String, Vec<Commit>> = match fs::read(&path) {
            Ok(json) => serde_json::from_slice(&json).map_err(corrupt)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(BrokerError::io("read", &path)(error)),
        };
        let map = |list: Vec<Commit>| {
            list.into_iter().map(|c| ((c.topic, c.partition), c.committed)).collect()
        };
        let groups = lists.into_iter().map(|(group, list)| (group, map(list))).collect();
        Ok(Self { path, groups: Mutex::new(groups) })
    }

    /// Keeps the offsets; once this returns they survive the process.
    pub(super) fn commit(&self, group: &str, commits: Vec<Commit>) -> Result<(), CommitError> {
        if group.len() > limits::NAME {
            return Err(CommitError::Name);
        }
        if commits.iter().any(|commit| commit.committed.metadata.len() > MOST_METADATA) {
            return Err(CommitError::Metadata);
        }
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = groups.values().map(Offsets::len).sum();
        let known = groups.get(group);
        let is_new =
            |c: &&Commit| known.is_none_or(|known| !known.contains_key(&(c.topic, c.partition)));
        if kept + commits.iter().filter(is_new).count() > MOST {
            return Err(CommitError::Full);
        }
        if commits.is_empty() {
            return Ok(());
        }
        let before = known.cloned();
        let offsets = groups.entry(group.to_owned()).or_default();
        offsets.extend(commits.into_iter().map(|c| ((c.topic, c.partition), c.committed)));
        self.save(&groups).inspect_err(|_| {
            // Nobody may be told of an offset that a restart would not know.
            match before {
                Some(before) => _ = groups.insert(group.to_owned(), before),
                None => _ = groups.remove(group),
            }
        })?;
        Ok(())
    }

    fn save(&self, groups: &BTreeMap<String, Offsets>) -> io::Result<()> {
        let list = |offsets: &Offsets| -> Vec<Commit> {
            let one = |(&(topic, partition), committed): (&(Uuid, i32), &Committed)| Commit {
                topic,
                partition,
                committed: committed.clone(),
            };
            offsets.iter().map(one).collect()
        };
        let lists: BTreeMap<&String, Vec<Commit>> =
            groups.iter().map(|(group, offsets)| (group, list(offsets))).collect();
        let json = serde_json::to_vec(&lists).map_err(io::Error::from)?;
        write_atomically(&self.path, &json)
    }

    /// Forgets those of a group's offsets that `which` says; whether there were any.
    pub(super) fn forget(
        &self,
        group: &str,
        which: impl Fn(Uuid, i32) -> bool,
    ) -> io::Result<bool> {
        self.forget_all(|name, topic, partition| name == group && which(topic, partition))
    }

    /// Forgets the offsets of a topic that is gone.
    pub(super) fn forget_topic(&self, topic: Uuid) -> io::Result<()> {
        self.forget_all(|_, kept, _| kept == topic).map(drop)
    }

    fn forget_all(&self, which: impl Fn(&str, Uuid, i32) -> bool) -> io::Result<bool> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left = groups.clone();
        for (group, offsets) in &mut left {
            offsets.retain(|(topic, partition), _| !which(group, *topic, *partition));
        }
        left.retain(|_, offsets| !offsets.is_empty());
        if left == *groups {
            return Ok(false);
        }
        self.save(&left)?;
        *groups = left;
        Ok(true)
    }

    /// The groups that have offsets.
    pub(super) fn names(&self) -> Vec<String> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// What a group has kept.
    pub(super) fn offsets(&self, group: &str) -> Offsets {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(group).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_that_could_not_be_written_is_told_to_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("offsets.json");
        let store = OffsetStore::load(path.clone()).unwrap();
        let commit = |offset| {
            let committed = Committed { offset, metadata: String::new() };
            vec![Commit { topic: Uuid::from_u128(1), partition: 0, committed }]
        };
        let kept = |group: &str| {
            store.offsets(group).into_values().map(|committed| committed.offset).collect::<Vec<_>>()
        };
        store.commit("g", commit(7)).unwrap();
        // A folder can't be replaced by a file.
        fs::remove_file(&path).unwrap();
        fs::create_dir_all(path.join("in the way")).unwrap();
        for group in ["g", "new"] {
            assert!(matches!(store.commit(group, commit(9)), Err(CommitError::Io(_))));
        }
        assert_eq!((kept("g"), kept("new")), (vec![7], vec![]));
        assert_eq!(store.names(), ["g"]);
    }
}
