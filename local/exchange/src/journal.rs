//! What was handed to sockets, as a file: one JSON object a line.
//!
//! The promise: every data frame that a client can have received is in here, in the order of its socket, and its line was
//! written before the frame was. A frame that is in here need not have arrived: it may have been in a buffer when
//! the socket ended. So of each socket a client has a prefix of what is in here; all of it where the exchange said goodbye
//! with a close frame and the client read up to that.
//!
//! Control frames (welcome, heartbeats, answers, errors) are not in here, as the source does not publish them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JournalLine {
    /// Milliseconds since the epoch, by the exchange's clock.
    pub at: u64,
    /// Which socket, from 1.
    pub socket: u64,
    /// What happened.
    pub event: JournalEvent,
    /// The subscription that brings the frame; none for `{}` and for what nobody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The frame's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<usize>,
    /// XXH3-128 of the frame, seed 0, as `xxh128sum` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xxh128: Option<String>,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JournalEvent {
    /// The socket is about to be welcomed.
    Opened,
    /// A frame of a subscription's first payload.
    Snapshot,
    /// A live frame.
    Frame,
    /// A frame that a fault made: garbage, `{}`, a frame too large.
    Extra,
    /// The exchange is through with the socket.
    Closed,
}

/// The file.
#[derive(Debug)]
pub(crate) struct Journal {
    file: Mutex<BufWriter<File>>,
    failed: AtomicBool,
}

impl Journal {
    /// Begins a new file; one that is there is replaced.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let file = BufWriter::with_capacity(64 * 1024, File::create(path)?);
        Ok(Journal { file: Mutex::new(file), failed: AtomicBool::new(false) })
    }

    /// A frame is about to be handed to a socket.
    pub(crate) fn frame(
        &self,
        at: u64,
        socket: u64,
        event: JournalEvent,
        sub: Option<&str>,
        frame: &[u8],
    ) {
        let line = JournalLine {
            at,
            socket,
            event,
            sub: sub.map(str::to_owned),
            bytes: Some(frame.len()),
            xxh128: Some(format!("{:032x}", xxh3_128(frame))),
        };
        self.write(&line);
    }

    /// A socket opens or closes.
    pub(crate) fn socket(&self, at: u64, socket: u64, event: JournalEvent) {
        self.write(&JournalLine { at, socket, event, sub: None, bytes: None, xxh128: None });
        self.flush();
    }

    /// Hands what was written to the system: from here on, it survives the exchange.
    pub(crate) fn flush(&self) {
        let flushed = self.file.lock().unwrap_or_else(PoisonError::into_inner).flush();
        self.note(flushed);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    fn write(&self, line: &JournalLine) {
        if self.has_failed() {
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = serde_json::to_writer(&mut *file, line)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        drop(file);
        self.note(written);
    }

    /// A journal that has a hole is none: after the first failure nothing more is written.
    fn note(&self, result: io::Result<()>) {
        if let Err(error) = result
            && !self.failed.swap(true, Ordering::AcqRel)
        {
            tracing::error!(%error, "the journal of sent frames ends: it can't be written");
        }
    }
}

/// Reads a journal. A last line that is not whole, as an exchange that was killed leaves it, is left out.
///
/// # Errors
/// The file's, or a line that is none of a journal.
pub fn read_journal(path: &Path) -> io::Result<Vec<JournalLine>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut lines, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line)? > 0 {
        if line.ends_with('\n') {
            lines.push(serde_json::from_str(&line)?);
        }
        line.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again_up_to_a_torn_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let journal = Journal::create(file.path()).unwrap();
        journal.socket(1, 1, JournalEvent::Opened);
        journal.frame(2, 1, JournalEvent::Frame, Some("0~A~\"~C"), b"{}");
        journal.frame(3, 1, JournalEvent::Extra, None, &[0xff]);
        journal.flush();
        let mut lines = read_journal(file.path()).unwrap();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[1].sub.as_deref(), Some("0~A~\"~C"));
        // As `printf '{}' | xxh128sum` prints it.
        assert_eq!(lines[1].xxh128.as_deref(), Some(EMPTY_OBJECT));
        assert!(!journal.has_failed());
        let text = std::fs::read_to_string(file.path()).unwrap();
        std::fs::write(file.path(), &text[..text.len() - 5]).unwrap();
        lines.pop();
        assert_eq!(read_journal(file.path()).unwrap(), lines);
    }

    const EMPTY_OBJECT: &str = "dc7048f8f8747f561349cde127705c16";
}
