//! A segment: a file of records in a lane's folder, named after the position at which it begins. A
//! position counts all bytes that the lane ever had.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is known of a segment.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Position of its first byte.
    pub(crate) first: u64,
    /// Position behind its last record.
    pub(crate) end: u64,
    /// Index behind its last record.
    pub(crate) next_index: u32,
    /// When its first record was received, milliseconds since the epoch.
    pub(crate) first_ms: i64,
    /// When its last record was received.
    pub(crate) last_ms: i64,
    /// Whether it holds anything of the vendor's.
    pub(crate) sequenced: bool,
    /// Whether this run has numbered its records. No segment has some of both.
    pub(crate) own: bool,
    /// Up to where the disk has it for certain.
    pub(crate) synced: u64,
    /// Open while it is written, not yet synced, or read.
    pub(crate) file: Option<Arc<File>>,
}

impl Segment {
    /// How long the file is.
    pub(crate) fn size(&self) -> u64 {
        self.end - self.first
    }

    /// The file, opened if it is not.
    pub(crate) fn open(&mut self, lane: &Path) -> io::Result<Arc<File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let path = path(lane, self.first);
        let file = Arc::new(OpenOptions::new().read(true).write(true).open(path)?);
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }
}

/// Name of the segment that begins at a position.
pub(crate) fn path(lane: &Path, first: u64) -> PathBuf {
    lane.join(format!("{first:020}.log"))
}

/// A new segment's file. One that was left there by a write that failed had no record.
pub(crate) fn create(lane: &Path, first: u64) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(true).read(true).write(true).open(path(lane, first))
}

/// Positions at which a lane's segments begin, in order. Other files are not ours.
pub(crate) fn list(lane: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(lane)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_suffix(".log"));
        firsts.extend(digits.filter(|d| d.len() == 20).and_then(|d| d.parse::<u64>().ok()));
    }
    firsts.sort_unstable();
    Ok(firsts)
}
