//! Reading a segment's records one after the other, and going on behind what is damaged.
//!
//! Where a record's body is damaged, its length still tells where the next one begins. Where the
//! length is, the next bytes that are a record by both checksums are it. How many records were lost
//! between the two, their indices tell.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::record::{HEADER, Header};

/// Bytes read at once.
const WINDOW: usize = 256 * 1024;

/// Reads a part of a segment.
pub(crate) struct Scanner<'a> {
    file: &'a File,
    /// Where the next record begins in the file.
    at: u64,
    /// Where to stop.
    end: u64,
    /// Bytes of the file from `window_at` on.
    window: Vec<u8>,
    window_at: u64,
    /// Bytes that were no record.
    damaged: u64,
}

impl<'a> Scanner<'a> {
    /// Reads `file` from byte `at`, where a record begins, up to byte `end`.
    pub(crate) fn new(file: &'a File, at: u64, end: u64) -> Self {
        Scanner { file, at, end, window: Vec::new(), window_at: at, damaged: 0 }
    }

    /// Where the last record ended.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes passed over so far that were no record, or a damaged one.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged
    }

    /// The next record that is whole: its header, where it begins, and its body. At the end `None`:
    /// what follows the last record, if anything, is none.
    ///
    /// # Errors
    /// The file can't be read.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Header, u64, &[u8])>> {
        let mut at = self.at;
        loop {
            let left = self.end.saturating_sub(at);
            if left < HEADER as u64 || !self.load(at, HEADER)? {
                self.damaged += self.end.saturating_sub(self.at);
                return Ok(None);
            }
            let Some(header) = Header::decode(self.loaded(at)) else {
                at += 1;
                continue;
            };
            let size = header.size();
            if size as u64 > left || !self.load(at, size)? {
                at += 1;
                continue;
            }
            if !header.fits(&self.loaded(at)[HEADER..size]) {
                at += size as u64;
                continue;
            }
            self.damaged += at - self.at;
            self.at = at + size as u64;
            return Ok(Some((header, at, &self.loaded(at)[HEADER..size])));
        }
    }

    /// What the window has from `at` on.
    fn loaded(&self, at: u64) -> &[u8] {
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        self.window.get(from..).unwrap_or_default()
    }

    /// Has so many bytes from `at` on in the window; false where the file is shorter.
    fn load(&mut self, at: u64, bytes: usize) -> io::Result<bool> {
        if self.loaded(at).len() >= bytes {
            return Ok(true);
        }
        let passed = self.window.len() - self.loaded(at).len();
        self.window.drain(..passed);
        self.window_at = at;
        let mut filled = self.window.len();
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        self.window.resize(bytes.max(WINDOW).min(left).max(filled), 0);
        while filled < self.window.len() {
            match self.file.read_at(&mut self.window[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.window.truncate(filled);
        Ok(filled >= bytes)
    }
}
