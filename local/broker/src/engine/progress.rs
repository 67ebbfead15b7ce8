//! How far a transform has come, on disk: one small JSON file for each, replaced as a whole.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tickpanda_host::processor::PartitionCommit;
use uuid::Uuid;

use super::deployment::Deployment;
use super::spec::StartFrom;
use crate::batch::Header;
use crate::error::BrokerError;
use crate::storage::{Partition, Topic, id_text, write_atomically};

/// Of so many removed transforms it is remembered how far they were.
const MOST_REMOVED: usize = 100;

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
    /// Whether the transform is one that a restart brings back.
    #[serde(default)]
    kept: bool,
    /// Whether the transform has been removed: one that is deployed under its name is another. What it had done is
    /// shown until somebody has it collected, as Redpanda keeps it.
    #[serde(default)]
    removed: bool,
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
    /// The progress kept under the deployment's id; where there is none, positions by
    /// the deployment's start, kept at once, so that a restart does not move them.
    pub(super) fn load(
        dir: &Path,
        deployment: &Deployment,
        kept: bool,
        input: &Topic,
    ) -> Result<Self, BrokerError> {
        fs::create_dir_all(dir).map_err(BrokerError::io("make", dir))?;
        let mut state = read(&file(dir, deployment.id))?.unwrap_or_else(|| State {
            id: deployment.id,
            name: deployment.name.clone(),
            kept,
            removed: false,
            input: input.id,
            outputs: deployment.output_topics.clone(),
            next: BTreeMap::new(),
        });
        state.kept = kept;
        let outputs = &deployment.output_topics;
        let same_outputs = state.outputs == *outputs;
        let count = outputs.len();
        for (index, partition) in (0..).zip(&input.partitions) {
            let offsets = match state.next.get(&index) {
                Some(Offsets::Of(offsets)) if same_outputs && offsets.len() == count => continue,
                // What an output has is not known of another: all begin where all are done.
                Some(kept) => kept.least(),
                None => start(partition, deployment.start).map_err(BrokerError::io("read", dir))?,
            };
            state.next.insert(index, Offsets::Of(vec![offsets; count]));
        }
        state.outputs.clone_from(outputs);
        let progress = Self { path: file(dir, state.id), state };
        progress.save().map_err(BrokerError::io("write", &progress.path))?;
        Ok(progress)
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

/// Where one partition of a transform is, for one of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommittedOffset {
    /// `None` where the transform is no more.
    pub(crate) transform: Option<String>,
    pub(crate) partition: i32,
    /// Of the last record that is done; one before the start where nothing is.
    pub(crate) offset: i64,
}

/// What is kept of transforms; `name_of` gives the name of one that is there.
pub(super) fn committed(
    dir: &Path,
    name_of: impl Fn(Uuid) -> Option<String>,
) -> Result<Vec<CommittedOffset>, BrokerError> {
    let mut found = Vec::new();
    for (_, state) in all(dir)? {
        let transform = if state.removed { None } else { name_of(state.id) };
        for (partition, offsets) in &state.next {
            let offsets = match offsets {
                Offsets::Of(offsets) => offsets.clone(),
                Offsets::Common(offset) => vec![*offset; state.outputs.len()],
            };
            found.extend(offsets.into_iter().map(|next| CommittedOffset {
                transform: transform.clone(),
                partition: *partition,
                offset: next - 1,
            }));
        }
    }
    Ok(found)
}

/// Deletes what is kept of transforms that are no more.
pub(super) fn collect(dir: &Path, is_there: impl Fn(Uuid) -> bool) -> Result<(), BrokerError> {
    for (path, state) in all(dir)? {
        if state.removed || !is_there(state.id) {
            fs::remove_file(&path).map_err(BrokerError::io("delete", &path))?;
        }
    }
    Ok(())
}

/// What is kept under an id.
pub(super) fn peek(dir: &Path, id: Uuid) -> Result<Option<Progress>, BrokerError> {
    let path = file(dir, id);
    Ok(read(&path)?.map(|state| Progress { path, state }))
}

/// The transforms that `is_gone` names are no more. Nothing of them may be running.
pub(super) fn retire(dir: &Path, is_gone: impl Fn(Uuid, bool) -> bool) -> Result<(), BrokerError> {
    for (path, mut state) in all(dir)? {
        if !state.removed && is_gone(state.id, state.kept) {
            state.removed = true;
            let progress = Progress { path, state };
            progress.save().map_err(BrokerError::io("write", &progress.path))?;
        }
    }
    bury(dir)
}

/// Deletes what is kept of a transform.
pub(super) fn forget(dir: &Path, id: Uuid) -> Result<(), BrokerError> {
    let path = file(dir, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(BrokerError::io("delete", &path)),
    }
}

/// Deletes what is kept of those that were removed first, where they are too many.
fn bury(dir: &Path) -> Result<(), BrokerError> {
    let mut removed: Vec<_> = all(dir)?.into_iter().filter(|(_, state)| state.removed).collect();
    let changed = |path: &Path| fs::metadata(path).and_then(|it| it.modified()).ok();
    removed.sort_by_key(|(path, _)| changed(path));
    for (path, _) in removed.iter().rev().skip(MOST_REMOVED) {
        fs::remove_file(path).map_err(BrokerError::io("delete", path))?;
    }
    Ok(())
}

fn file(dir: &Path, id: Uuid) -> PathBuf {
    dir.join(format!("{id}.json"))
}

/// Everything that is kept; nothing where the folder has not been made yet.
fn all(dir: &Path) -> Result<Vec<(PathBuf, State)>, BrokerError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BrokerError::io("list", dir))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(BrokerError::io("list", dir))?.path();
        if path.extension().is_some_and(|extension| extension == "json")
            && let Some(state) = read(&path)?
        {
            found.push((path, state));
        }
    }
    Ok(found)
}

/// One file; `None` where it is not there.
fn read(path: &Path) -> Result<Option<State>, BrokerError> {
    let json = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        json => json.map_err(BrokerError::io("read", path))?,
    };
    let state = serde_json::from_slice(&json);
    state
        .map(Some)
        .map_err(|error| BrokerError::Corrupt { path: path.to_path_buf(), what: error.to_string() })
}

/// The id of what is kept under that name for that input topic, by a transform that is not `leaving`: one that a program
/// deployed which has ended since. What is kept for a topic that has been deleted is of no use to anybody, and removed.
pub(super) fn find(
    dir: &Path,
    name: &str,
    input: Uuid,
    leaving: impl Fn(Uuid) -> bool,
) -> Result<Option<Uuid>, BrokerError> {
    let mut found = None;
    let named = all(dir)?.into_iter().filter(|(_, state)| !state.removed && state.name == name);
    for (path, state) in named.filter(|(_, state)| !leaving(state.id)) {
        if state.input == input {
            found = Some(state.id);
        } else {
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
