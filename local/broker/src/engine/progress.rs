//! How far a transform has come, on disk: one small JSON file for each, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tickpanda_host::processor::PartitionCommit;
use uuid::Uuid;

use super::spec::{StartFrom, TransformSpec};
use crate::batch::Header;
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
    /// The output topics for which the offsets are.
    #[serde(default)]
    outputs: Vec<String>,
    /// By input partition, for each output the offset behind the last batch that is done.
    next: BTreeMap<i32, Offsets>,
}

/// Files that were written before outputs had offsets of their own hold one number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
enum Offsets {
    Of(Vec<i64>),
    Common(i64),
}

impl Offsets {
    /// Where all outputs are done.
    fn least(&self) -> i64 {
        match self {
            Self::Of(offsets) => offsets.iter().copied().min().unwrap_or(0),
            Self::Common(offset) => *offset,
        }
    }
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
            outputs: spec.output_topics.clone(),
            next: BTreeMap::new(),
        });
        let same_outputs = state.outputs == spec.output_topics;
        let count = spec.output_topics.len();
        for (index, partition) in (0..).zip(&input.partitions) {
            let offsets = match state.next.get(&index) {
                Some(Offsets::Of(offsets)) if same_outputs && offsets.len() == count => continue,
                // What an output has is not known of another: all begin where all are done.
                Some(kept) => kept.least(),
                None => start(partition, spec.start).map_err(BrokerError::io("read", dir))?,
            };
            state.next.insert(index, Offsets::Of(vec![offsets; count]));
        }
        state.outputs.clone_from(&spec.output_topics);
        let progress = Self { path: file(dir, state.id), state };
        progress.save().map_err(BrokerError::io("write", &progress.path))?;
        Ok(progress)
    }

    pub(super) fn id(&self) -> Uuid {
        self.state.id
    }

    /// What is kept of an input partition.
    pub(super) fn kept(&self, partition: usize) -> PartitionCommit {
        let offsets = i32::try_from(partition).ok().and_then(|index| self.state.next.get(&index));
        let outputs = match offsets {
            Some(Offsets::Of(offsets)) => offsets.iter().copied().map(Some).collect(),
            Some(Offsets::Common(_)) | None => vec![None; self.state.outputs.len()],
        };
        PartitionCommit { partition, outputs }
    }

    /// Keeps these positions. The outputs of all that lies before them must have been appended.
    pub(super) fn commit(&mut self, commits: &[PartitionCommit]) -> io::Result<()> {
        for commit in commits {
            let index = i32::try_from(commit.partition).map_err(io::Error::other)?;
            // Each was found when this was loaded.
            let offsets = commit.outputs.iter().map(|next| next.unwrap_or(0)).collect();
            self.state.next.insert(index, Offsets::Of(offsets));
        }
        self.save()
    }

    fn save(&self) -> io::Result<()> {
        write_atomically(&self.path, &serde_json::to_vec(&self.state)?)
    }
}

/// Forgets the progress with this id.
pub(super) fn forget(dir: &Path, id: Uuid) -> Result<(), BrokerError> {
    let path = file(dir, id);
    fs::remove_file(&path).map_err(BrokerError::io("delete", &path))
}

fn file(dir: &Path, id: Uuid) -> PathBuf {
    dir.join(format!("{id}.json"))
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
    let at_time = match from {
        StartFrom::Timestamp(at) => first_batch(partition, at)?,
        _ => None,
    };
    Ok(from.offset(start, end, at_time))
}

/// The first offset of the first batch with a record at or after the time `at` (ms).
fn first_batch(partition: &Partition, at: i64) -> io::Result<Option<i64>> {
    let Some(slice) = partition.find_time(at).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let header = Header::parse(&slice.read(0, true)?).map_err(io::Error::other)?;
    Ok(Some(header.base_offset))
}
