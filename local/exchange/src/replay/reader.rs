//! Streams a recording to one connection at a time. It lives longer than a connection: the next
//! one continues after the last line that was handed to the one before.

use std::collections::VecDeque;
use std::io;

use axum::extract::ws::Utf8Bytes;
use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::line::is_control;
use super::scan::without_line_end;
use super::{MAX_LINE_BYTES, ReplayScan};

/// Read from the file at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Recording {
    file: File,
    /// Read, but not yet cut into lines.
    buffer: BytesMut,
    /// Cut, but not yet handed over: the frames of one chunk at most.
    ready: VecDeque<Utf8Bytes>,
    at_end: bool,
}

impl Recording {
    /// Opens a recording that was found sound.
    pub(crate) async fn open(scan: &ReplayScan) -> io::Result<Self> {
        let file = File::open(&scan.path).await?;
        Ok(Recording { file, buffer: BytesMut::new(), ready: VecDeque::new(), at_end: false })
    }

    /// Makes sure that [`Recording::next`] has something unless the recording is over. Cancelled, it
    /// loses nothing.
    pub(crate) async fn fill(&mut self) -> io::Result<()> {
        while self.ready.is_empty() && !self.at_end {
            self.buffer.reserve(CHUNK_BYTES);
            if self.file.read_buf(&mut self.buffer).await? == 0 {
                self.at_end = true;
                let rest = self.buffer.split().freeze();
                self.keep(rest)?;
            }
            while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                self.keep(line)?;
            }
            if self.buffer.len() > MAX_LINE_BYTES + 1 {
                return Err(changed());
            }
        }
        Ok(())
    }

    /// The next frame, which stays the next one until [`Recording::handed_over`].
    pub(crate) fn next(&self) -> Option<Utf8Bytes> {
        self.ready.front().cloned()
    }

    /// The next frame is with the client now.
    pub(crate) fn handed_over(&mut self) {
        self.ready.pop_front();
    }

    /// Whether every line has been handed over.
    pub(crate) fn is_over(&self) -> bool {
        self.at_end && self.ready.is_empty()
    }

    /// Keeps a line if it is a data frame, without copying it.
    fn keep(&mut self, line: Bytes) -> io::Result<()> {
        let text = line.slice(..without_line_end(&line).len());
        // Only after the last line end is there nothing; the scan refused blank lines.
        if !text.is_empty() && !is_control(&text) {
            self.ready.push_back(Utf8Bytes::try_from(text).map_err(|_| changed())?);
        }
        Ok(())
    }
}

/// The scan would have refused what is read now.
fn changed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the recording has changed since it was checked")
}
