//! A partition's log: its segments in order, appended at the end, deleted at the start.
//!
//! Plain and blocking; [`super::partition`] puts a lock around it and wakes readers. Times come
//! in as arguments.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::meta::write_atomically;
use super::producers::{Producers, SequenceError};
use super::segment::{Segment, Slice};
use super::sync::Syncer;
use crate::batch::{self, Header};
use crate::error::BrokerError;
use crate::settings::Live;

/// Why a checked batch was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendError {
    /// Larger than the topic's `max.message.bytes`.
    #[error("a batch of {size} bytes is larger than the topic's max.message.bytes={limit}")]
    TooLarge { size: usize, limit: usize },
    /// Not the next batch of its idempotent producer.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// The topic has been deleted.
    #[error("the topic has been deleted")]
    Deleted,
    /// The disk refused.
    #[error("cannot write the log: {0}")]
    Io(#[from] io::Error),
}

/// Where a batch went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    pub(crate) end: i64,
    pub(crate) start: i64,
    /// The broker's timestamp, or −1 where the producer's stays.
    pub(crate) append_time: i64,
}

/// The log of one partition. Its last segment is the active one; there always is one.
#[derive(Debug)]
pub(crate) struct Log {
    dir: PathBuf,
    segments: Vec<Segment>,
    start: i64,
    settings: Arc<Live>,
    producers: Producers,
    syncer: Syncer,
    /// Reused for every append, so that a batch is written with one call.
    scratch: Vec<u8>,
    deleted: bool,
}

impl Log {
    /// Opens the log in `dir`, which is made if missing. Cuts a torn tail and says so.
    pub(crate) fn open(
        dir: &Path,
        settings: Arc<Live>,
        syncer: Syncer,
        now: SystemTime,
    ) -> Result<Self, BrokerError> {
        fs::create_dir_all(dir).map_err(BrokerError::io("make", dir))?;
        let start = read_start(&dir.join("start"))?;
        let mut bases = segment_bases(dir).map_err(BrokerError::io("list", dir))?;
        bases.sort_unstable();
        let mut segments: Vec<Segment> = Vec::with_capacity(bases.len());
        let mut producers = Producers::default();
        let mut seen = |header: &Header| {
            let own = header.is_log_append_time();
            producers.note(header, if own { header.max_timestamp } else { -1 });
        };
        for (i, (base, path)) in bases.iter().enumerate() {
            if let Some(expected) = segments.last().map(|s| s.end).filter(|end| end != base) {
                let what = format!("the segment before it ends at offset {expected}");
                return Err(BrokerError::Corrupt { path: path.clone(), what });
            }
            if i + 1 < bases.len() {
                segments.push(Segment::open_closed(path.clone(), *base, &mut seen)?);
                continue;
            }
            let (segment, cut) = Segment::open_active(path.clone(), *base, &mut seen)?;
            if cut > 0 {
                tracing::warn!(
                    file = %path.display(), cut, end = segment.end,
                    "cut an incomplete or damaged tail of {cut} bytes"
                );
            }
            segments.push(segment);
        }
        if segments.is_empty() {
            let segment = Segment::create(dir, start, now)
                .map_err(BrokerError::io("make a segment in", dir))?;
            segments.push(segment);
        }
        // A damaged tail can have ended below what DeleteRecords had deleted up to.
        let end = segments[segments.len() - 1].end;
        let start = start.max(segments[0].base).min(end);
        Ok(Self {
            dir: dir.to_path_buf(),
            segments,
            start,
            settings,
            producers,
            syncer,
            scratch: Vec::new(),
            deleted: false,
        })
    }

    /// The first offset that can be read.
    pub(crate) fn start(&self) -> i64 {
        self.start
    }

    /// The offset that the next record will have.
    pub(crate) fn end(&self) -> i64 {
        self.segments[self.segments.len() - 1].end
    }

    /// The offset at which the segment begins that is being written.
    pub(crate) fn active_base(&self) -> i64 {
        self.segments[self.segments.len() - 1].base
    }

    /// Whether the topic is gone.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Nothing more is appended or read; the files are somebody else's to remove.
    pub(crate) fn set_deleted(&mut self) {
        self.deleted = true;
    }

    /// Appends one checked batch, whose `header` it is; of one that an idempotent producer sends again, only
    /// says where it is.
    pub(crate) fn append(
        &mut self,
        header: &Header,
        batch: &[u8],
        now: SystemTime,
    ) -> Result<Appended, AppendError> {
        if self.deleted {
            return Err(AppendError::Deleted);
        }
        let settings = self.settings.get();
        let limit = settings.max_message_bytes;
        if batch.len() > limit {
            return Err(AppendError::TooLarge { size: batch.len(), limit });
        }
        if let Some(kept) = self.producers.check(header)? {
            let (base_offset, append_time) = (kept.base_offset, kept.append_time);
            return Ok(Appended { base_offset, end: self.end(), start: self.start, append_time });
        }
        let base_offset = self.end();
        let mut header = Header { base_offset, ..*header };
        let mut append_time = -1;
        self.scratch.clear();
        self.scratch.extend_from_slice(batch);
        batch::place(&mut self.scratch, base_offset);
        if settings.log_append_time {
            append_time = millis(now);
            header.max_timestamp = append_time;
            batch::set_append_time(&mut self.scratch, header.attributes, append_time);
        }
        let active = &self.segments[self.segments.len() - 1];
        if active.size > 0 && active.size + batch.len() as u64 > settings.segment_bytes {
            self.roll(now)?;
        }
        let last = self.segments.len() - 1;
        self.segments[last].append(&header, &self.scratch, now)?;
        self.producers.note(&header, append_time);
        self.scratch.shrink_to(1 << 20);
        Ok(Appended { base_offset, end: header.next_offset(), start: self.start, append_time })
    }

    /// Closes the active segment and begins another.
    fn roll(&mut self, now: SystemTime) -> io::Result<()> {
        let next = Segment::create(&self.dir, self.end(), now)?;
        let last = self.segments.len() - 1;
        if let Some(file) = self.segments[last].close() {
            self.syncer.sync(file);
        }
        self.segments.push(next);
        Ok(())
    }

    /// What there is from `offset` on within one segment; `None` at the log's end.
    pub(crate) fn slice_at(&self, offset: i64) -> io::Result<Option<Slice>> {
        let after = self.segments.partition_point(|segment| segment.base <= offset);
        match after.checked_sub(1) {
            Some(i) => self.segments[i].slice_at(offset),
            None => Ok(None),
        }
    }

    /// What there is from the first readable batch with a record at or after the time `at` (ms).
    pub(crate) fn slice_at_time(&self, at: i64) -> io::Result<Option<Slice>> {
        let candidates =
            self.segments.iter().filter(|s| s.max_timestamp >= at && s.end > self.start);
        for segment in candidates {
            if let Some(slice) = segment.slice_at_time(at, self.start)? {
                return Ok(Some(slice));
            }
        }
        Ok(None)
    }

    /// Moves the start up to `offset`, which is no more than the end; deletes what lies wholly
    /// before it. Returns the new start.
    pub(crate) fn delete_before(&mut self, offset: i64) -> io::Result<i64> {
        if offset > self.start {
            write_atomically(&self.dir.join("start"), offset.to_string().as_bytes())?;
            self.start = offset;
            self.drop_unreachable()?;
        }
        Ok(self.start)
    }

    /// Deletes whole closed segments that the topic's settings no longer keep. An active segment
    /// that nobody has appended to for `retention.ms` is closed first.
    pub(crate) fn retain(&mut self, now: SystemTime) -> io::Result<()> {
        if self.deleted {
            return Ok(());
        }
        let settings = self.settings.get();
        let mut drop = 0;
        if let Some(age) = settings.retention_ms.map(Duration::from_millis) {
            // A clock that went back makes nothing old.
            let old =
                |s: &Segment| now.duration_since(s.last_append).is_ok_and(|passed| passed > age);
            let active = &self.segments[self.segments.len() - 1];
            if active.size > 0 && old(active) {
                self.roll(now)?;
            }
            drop = self.segments[..self.segments.len() - 1].iter().take_while(|s| old(s)).count();
        }
        if let Some(limit) = settings.retention_bytes {
            let mut total: u64 = self.segments[drop..].iter().map(|s| s.size).sum();
            while drop + 1 < self.segments.len() && total - self.segments[drop].size >= limit {
                total -= self.segments[drop].size;
                drop += 1;
            }
        }
        if drop > 0 {
            self.start = self.start.max(self.segments[drop].base);
            self.drop_unreachable()?;
        }
        Ok(())
    }

    fn drop_unreachable(&mut self) -> io::Result<()> {
        while self.segments.len() > 1 && self.segments[0].end <= self.start {
            // A file that can't be deleted is tried again, before the ones behind it: a log with
            // a hole would not open.
            fs::remove_file(&self.segments[0].path)?;
            self.segments.remove(0);
        }
        Ok(())
    }

    /// The newest timestamp of all records, ms; −1 where there is none.
    pub(crate) fn max_timestamp(&self) -> i64 {
        let reachable = self.segments.iter().filter(|segment| segment.end > self.start);
        reachable.map(|segment| segment.max_timestamp).max().unwrap_or(-1)
    }

    /// Bytes on disk.
    pub(crate) fn size(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Hands the active segment to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self.segments[self.segments.len() - 1].active_file() {
            Some(file) => file.sync_data(),
            None => Ok(()),
        }
    }
}

/// Milliseconds since the epoch; 0 before it.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn read_start(path: &Path) -> Result<i64, BrokerError> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| BrokerError::Corrupt {
            path: path.to_path_buf(),
            what: "it should hold one number".to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(BrokerError::io("read", path)(error)),
    }
}

fn segment_bases(dir: &Path) -> io::Result<Vec<(i64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let base = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix(".log"));
        if let Some(base) = base.and_then(|digits| digits.parse().ok()) {
            found.push((base, path));
        }
    }
    Ok(found)
}
