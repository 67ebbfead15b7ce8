//! One file of a partition's log: batches one after another, named after the first one's offset.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::index::Index;
use super::scan::{Headers, Intact};
use crate::batch::Header;
use crate::error::BrokerError;

/// A segment. Only the active one, the log's last, keeps its file open and is written.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: i64,
    pub(crate) path: PathBuf,
    /// Bytes of whole batches; what lies behind them in the file does not exist.
    pub(crate) size: u64,
    /// The offset after the last batch.
    pub(crate) end: i64,
    /// The newest timestamp of its records, ms.
    pub(crate) max_timestamp: i64,
    /// When it was last appended to: the age that `retention.ms` means.
    pub(crate) last_append: SystemTime,
    index: Index,
    open: Option<Arc<File>>,
}

/// Bytes of a segment that a reader may take, from the start of a batch to the end of one. Holds
/// the file, so that retention can delete it meanwhile.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl Segment {
    fn path(dir: &Path, base: i64) -> PathBuf {
        dir.join(format!("{base:020}.log"))
    }

    /// Makes a new, empty segment that begins at `base`, in place of whatever had its name.
    pub(crate) fn create(dir: &Path, base: i64, now: SystemTime) -> io::Result<Self> {
        let path = Self::path(dir, base);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        Ok(Self { open: Some(Arc::new(file)), ..Self::empty(path, base, now) })
    }

    fn empty(path: PathBuf, base: i64, last_append: SystemTime) -> Self {
        Self {
            base,
            path,
            size: 0,
            end: base,
            max_timestamp: -1,
            last_append,
            index: Index::new(),
            open: None,
        }
    }

    /// Opens a closed segment: hops over its headers, which `seen` is shown. It was complete when it was closed, so
    /// anything else is damage that no crash of ours explains.
    pub(crate) fn open_closed(
        path: PathBuf,
        base: i64,
        mut seen: impl FnMut(&Header),
    ) -> Result<Self, BrokerError> {
        let mut read = |path: &Path| -> io::Result<(Self, u64)> {
            let file = File::open(path)?;
            let meta = file.metadata()?;
            let mut segment = Self::empty(path.to_path_buf(), base, meta.modified()?);
            let mut headers = Headers::new(&file, 0, meta.len());
            while let Some((at, header)) = headers.next()? {
                if !header.follows(segment.end) {
                    break;
                }
                segment.note(at, &header);
                seen(&header);
            }
            Ok((segment, meta.len()))
        };
        let (segment, length) = read(&path).map_err(BrokerError::io("read", &path))?;
        if segment.size != length {
            let what = format!("no whole batch of the next offset at byte {}", segment.size);
            return Err(BrokerError::Corrupt { path, what });
        }
        Ok(segment)
    }

    /// Opens the last segment: checks every batch, whose headers `seen` is shown, and cuts what a crash
    /// left half-written.
    /// Returns how many bytes were cut.
    pub(crate) fn open_active(
        path: PathBuf,
        base: i64,
        mut seen: impl FnMut(&Header),
    ) -> Result<(Self, u64), BrokerError> {
        let mut read = |path: &Path| -> io::Result<(Self, u64)> {
            let file = OpenOptions::new().read(true).write(true).open(path)?;
            let meta = file.metadata()?;
            let mut segment = Self::empty(path.to_path_buf(), base, meta.modified()?);
            let mut batches = Intact::new(&file, meta.len(), base);
            while let Some((at, header)) = batches.next()? {
                segment.note(at, &header);
                seen(&header);
            }
            let cut = meta.len() - segment.size;
            if cut > 0 {
                file.set_len(segment.size)?;
            }
            segment.open = Some(Arc::new(file));
            Ok((segment, cut))
        };
        read(&path).map_err(BrokerError::io("read", &path))
    }

    fn note(&mut self, at: u64, header: &Header) {
        self.index.note(header.base_offset, at, self.max_timestamp);
        self.size = at + header.size as u64;
        self.end = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// Writes a batch behind the others. After an error the file's end is as before, or the
    /// error says that it is not.
    pub(crate) fn append(
        &mut self,
        header: &Header,
        batch: &[u8],
        now: SystemTime,
    ) -> io::Result<()> {
        let file = self.file()?;
        if let Err(error) = file.write_all_at(batch, self.size) {
            file.set_len(self.size)?;
            return Err(error);
        }
        self.note(self.size, header);
        self.last_append = now;
        Ok(())
    }

    /// No more appends: gives up the open file, for somebody to sync.
    pub(crate) fn close(&mut self) -> Option<Arc<File>> {
        self.open.take()
    }

    /// The open file of the active segment.
    pub(crate) fn active_file(&self) -> Option<&Arc<File>> {
        self.open.as_ref()
    }

    fn file(&self) -> io::Result<Arc<File>> {
        match &self.open {
            Some(file) => Ok(Arc::clone(file)),
            None => File::open(&self.path).map(Arc::new),
        }
    }

    /// From the batch that holds `offset` to the end; `None` if there is none.
    pub(crate) fn slice_at(&self, offset: i64) -> io::Result<Option<Slice>> {
        self.seek(self.index.before_offset(offset), |header| header.next_offset() > offset)
    }

    /// From the first batch with a record at or after the time `at` (ms) to the end, leaving out
    /// batches that lie wholly before the offset `start`.
    pub(crate) fn slice_at_time(&self, at: i64, start: i64) -> io::Result<Option<Slice>> {
        self.seek(self.index.before_time(at), |header| {
            header.max_timestamp >= at && header.next_offset() > start
        })
    }

    fn seek(&self, from: u64, found: impl Fn(&Header) -> bool) -> io::Result<Option<Slice>> {
        let file = self.file()?;
        let mut headers = Headers::new(&file, from, self.size);
        while let Some((position, header)) = headers.next()? {
            if found(&header) {
                return Ok(Some(Slice { file, position, end: self.size }));
            }
        }
        Ok(None)
    }
}

impl Slice {
    /// Bytes there are, all of them whole batches.
    pub(crate) fn len(&self) -> u64 {
        self.end - self.position
    }

    /// Whole batches, as many as fit into `max` bytes; if `at_least_one`, then the first one even
    /// if it alone is larger.
    ///
    /// Reads the file directly, also from async code: it is mostly in the page cache, where a
    /// read costs less than a hop to another thread.
    pub(crate) fn read(&self, max: usize, at_least_one: bool) -> io::Result<Bytes> {
        let available = usize::try_from(self.len()).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::zeroed(available.min(max.max(crate::batch::HEADER)));
        self.file.read_exact_at(&mut bytes, self.position)?;
        let mut whole = 0;
        while let Ok(header) = Header::parse(&bytes[whole..]) {
            if header.size > bytes.len() - whole {
                if whole == 0 && at_least_one {
                    let have = bytes.len();
                    bytes.resize(header.size.min(available), 0);
                    self.file.read_exact_at(&mut bytes[have..], self.position + have as u64)?;
                    whole = bytes.len();
                }
                break;
            }
            whole += header.size;
        }
        bytes.truncate(whole);
        Ok(bytes.freeze())
    }
}
