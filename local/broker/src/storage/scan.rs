//! Going through a segment's batches: by their headers alone, or checking every byte.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::batch::{HEADER, Header};
use crate::settings::MAX_BATCH;

/// Read at once when hopping from header to header: many small batches, or one header.
const CHUNK: usize = 16 << 10;

/// Hops over the batches between two positions of a file. Ends early at what is no batch.
pub(crate) struct Headers<'a> {
    file: &'a File,
    position: u64,
    end: u64,
    chunk: Vec<u8>,
    chunk_at: u64,
}

impl<'a> Headers<'a> {
    pub(crate) fn new(file: &'a File, position: u64, end: u64) -> Self {
        Self { file, position, end, chunk: Vec::new(), chunk_at: position }
    }

    /// The next batch's position and header; `None` where no whole batch follows.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Header)>> {
        let at = self.position;
        if self.end.saturating_sub(at) < HEADER as u64 {
            return Ok(None);
        }
        let inside = usize::try_from(at - self.chunk_at).unwrap_or(usize::MAX);
        if self.chunk.len().saturating_sub(inside) < HEADER {
            let size = usize::try_from(self.end - at).unwrap_or(CHUNK).min(CHUNK);
            self.chunk.resize(size, 0);
            self.file.read_exact_at(&mut self.chunk, at)?;
            self.chunk_at = at;
        }
        let inside = usize::try_from(at - self.chunk_at).unwrap_or(usize::MAX);
        let Ok(header) = Header::parse(&self.chunk[inside..]) else {
            return Ok(None);
        };
        if header.magic != 2 || header.size < HEADER || header.size as u64 > self.end - at {
            return Ok(None);
        }
        self.position = at + header.size as u64;
        Ok(Some((at, header)))
    }
}

/// Reads batches of a file with all their bytes, checking each; ends at the first that is torn,
/// damaged or out of order.
pub(crate) struct Intact<'a> {
    headers: Headers<'a>,
    expected: i64,
    body: Vec<u8>,
}

impl<'a> Intact<'a> {
    /// `expected` is the offset that the first batch must have.
    pub(crate) fn new(file: &'a File, end: u64, expected: i64) -> Self {
        Self { headers: Headers::new(file, 0, end), expected, body: Vec::new() }
    }

    /// The next batch's position and header.
    pub(crate) fn next(&mut self) -> io::Result<Option<(u64, Header)>> {
        let Some((at, header)) = self.headers.next()? else {
            return Ok(None);
        };
        if !header.follows(self.expected) || header.size > MAX_BATCH {
            return Ok(None);
        }
        self.body.resize(header.size, 0);
        self.headers.file.read_exact_at(&mut self.body, at)?;
        if !header.checksum_matches(&self.body) {
            return Ok(None);
        }
        self.expected = header.next_offset();
        Ok(Some((at, header)))
    }
}
