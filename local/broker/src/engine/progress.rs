//! How far a transform has come, on disk: one small JSON file for each, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::spec::{StartFrom, TransformSpec};
use crate::error::BrokerError;
use crate::storage::{Partition, Topic, id_text, write_atomically};

/// Progress of one transform, with the file it lives in.
#[derive(Debug)]
pub(super) struct Progress {
    path: PathBuf,
    state: State,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    #[serde(with = "id_text")]
    id: Uuid,
    name: String,
    /// The input topic's id: a topic created again is begun anew.
    #[serde(with = "id_text")]
    input: Uuid,
    /// The next offset to transform, by input partition.
    next: BTreeMap<i32, i64>,
}

impl Progress {
    /// The progress kept for this transform and input topic; where there is none, positions by
    /// the spec's start, kept at once, so that a restart does not move them.
    pub(super) fn load(
        dir: &Path,
        spec: &TransformSpec,
        input: &Topic,
    ) -> Result<Self, BrokerError> {
        fs::create_dir_all(dir).map_err(BrokerError::io("make", dir))?;
        let kept = find(dir, &spec.name, input.id)?;
        let mut state = kept.unwrap_or_else(|| State {
            id: Uuid::new_v4(),
            name: spec.name.clone(),
            input: input.id,
            next: BTreeMap::new(),
        });
        for (index, partition) in (0..).zip(&input.partitions) {
            if let std::collections::btree_map::Entry::Vacant(entry) = state.next.entry(index) {
                entry.insert(start(partition, spec.start).map_err(BrokerError::io("read", dir))?);
            }
        }
        let progress = Self { path: dir.join(format!("{}.json", state.id)), state };
        progress.save().map_err(BrokerError::io("write", &progress.path))?;
        Ok(progress)
    }

    pub(super) fn id(&self) -> Uuid {
        self.state.id
    }

    /// The committed positions, by input partition.
    pub(super) fn next(&self) -> impl Iterator<Item = i64> {
        self.state.next.values().copied()
    }

    /// Keeps these positions. The outputs of all that lies before them must have been appended.
    pub(super) fn commit(&mut self, next: impl Iterator<Item = i64>) -> io::Result<()> {
        self.state.next = (0..).zip(next).collect();
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        write_atomically(&self.path, &serde_json::to_vec(&self.state)?)
    }
}

/// What is kept under that name for that input topic. What is kept under it for a topic that has
/// been deleted since is of no use to anybody, and removed.
fn find(dir: &Path, name: &str, input: Uuid) -> Result<Option<State>, BrokerError> {
    let mut found = None;
    for entry in fs::read_dir(dir).map_err(BrokerError::io("list", dir))? {
        let path = entry.map_err(BrokerError::io("list", dir))?.path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let json = fs::read(&path).map_err(BrokerError::io("read", &path))?;
        let state: State = serde_json::from_slice(&json).map_err(|error| BrokerError::Corrupt {
            path: path.clone(),
            what: error.to_string(),
        })?;
        if state.name == name && state.input == input {
            found = Some(state);
        } else if state.name == name {
            fs::remove_file(&path).map_err(BrokerError::io("delete", &path))?;
        }
    }
    Ok(found)
}

fn start(partition: &Partition, from: StartFrom) -> io::Result<i64> {
    let (start, end) = partition.watermarks();
    Ok(match from {
        StartFrom::Earliest => start,
        StartFrom::Latest => end,
        StartFrom::Timestamp(at) => {
            let found = partition.find_time(at).map_err(io::Error::other)?;
            match found {
                Some(slice) => {
                    let batch = slice.read(0, true)?;
                    let header = crate::batch::Header::parse(&batch).map_err(io::Error::other)?;
                    header.base_offset.max(start)
                }
                None => end,
            }
        }
    })
}
