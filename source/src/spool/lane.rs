//! A lane: one partition's queue on disk. Appended at its end, read and acknowledged from its front.
//!
//! ```text
//!  00000000000000000000.log   00000000000000065536.log   00000000000000131072.log
//!  ├── acknowledged ──┤├────────────── waiting ──────────────────┤ ◀─ appended here
//!                     ▲ ack
//! ```
//!
//! A segment whose records are all acknowledged is deleted, unless it is the newest.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use tickpanda_model::key::UNKNOWN;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::ack::{AckFile, Acked};
use super::books::{Books, lock};
use super::lost::{Lost, Tally};
use super::record;
use super::request::Request;
use super::segment::{self, Segment};
use crate::sub::Kind;

/// One partition's queue.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: i32,
    pub(super) folder: PathBuf,
    pub(super) books: Arc<Books>,
    pub(super) state: Mutex<State>,
    /// Its publisher waits for this.
    pub(crate) ready: Notify,
}

#[derive(Debug)]
pub(super) struct State {
    /// Oldest first; positions never overlap, and what lies between two was cut off.
    pub(super) segments: VecDeque<Segment>,
    /// Whether the newest segment takes no more.
    pub(super) sealed: bool,
    pub(super) acked: Acked,
    pub(super) ack: AckFile,
    /// Position of the next record to be appended, and its index.
    pub(super) end: u64,
    pub(super) next_index: u32,
    /// When the first record that waits was received, or the one before it, ms since the epoch.
    pub(super) head_ms: i64,
    /// When the first record was appended of those that nobody has read yet.
    pub(super) opened: Option<Instant>,
    /// So many waiting bytes end the publisher's linger.
    pub(super) enough: u64,
    /// Whether the disk knows all of its files' names.
    pub(super) named: bool,
}

impl State {
    /// Records that wait, damaged ones included.
    pub(super) fn waiting(&self) -> u64 {
        self.next_index.wrapping_sub(self.acked.index).into()
    }
}

/// Encoded records on their way into a lane.
#[derive(Debug, Default)]
pub(crate) struct Load {
    pub(crate) bytes: Vec<u8>,
    /// Bytes that have been written.
    pub(crate) written: usize,
    /// Whether its records have their numbers from before.
    pub(crate) numbered: bool,
}

/// What has become of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is in the lane.
    All,
    /// A part is, the rest has to go into another segment.
    Part,
    /// There is no room for its next record.
    NoRoom,
}

/// What waits in a lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// When the first record was appended that nobody has read yet; `None` where all were read, by an
    /// attempt that failed.
    pub(crate) opened: Option<Instant>,
    pub(crate) bytes: u64,
}

impl Lane {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Writes as much of the load as the newest segment takes, or a new one, and at most `room`
    /// bytes. Numbers are drawn from `next`, and only for what is written.
    ///
    /// # Errors
    /// The disk's. Nothing was written then.
    pub(super) fn write(
        &self,
        load: &mut Load,
        next: &mut u64,
        segment_bytes: u64,
        room: u64,
    ) -> io::Result<Written> {
        let mut state = self.state();
        let waiting = load.bytes.get_mut(load.written..).unwrap_or_default();
        if waiting.is_empty() {
            return Ok(Written::All);
        }
        let first = record::peek(waiting);
        let used = match state.segments.back() {
            Some(newest) if !state.sealed && newest.own != load.numbered => newest.size(),
            _ => 0,
        };
        let fresh = used == 0 || used + first.size as u64 > segment_bytes;
        let used = if fresh { 0 } else { used };

        let (mut n, mut index, mut chunk, mut records) = (*next, state.next_index, 0, 0);
        let (mut last_ms, mut sequenced) = (first.received_at, false);
        while chunk < waiting.len() {
            let record = record::peek(&waiting[chunk..]);
            let size = (chunk + record.size) as u64;
            if size > room || (chunk > 0 && used + size > segment_bytes) {
                break;
            }
            let number = (record.sequenced && !load.numbered).then_some((self.books.run, n));
            record::number(&mut waiting[chunk..], index, number);
            n += u64::from(number.is_some());
            index = index.wrapping_add(1);
            chunk += record.size;
            records += 1;
            last_ms = record.received_at;
            sequenced |= record.sequenced;
        }
        if chunk == 0 {
            return Ok(Written::NoRoom);
        }

        let bytes = &waiting[..chunk];
        self.books.check_disk(chunk as u64)?;
        if fresh {
            let file = segment::create(&self.folder, state.end)?;
            file.write_all_at(bytes, 0).inspect_err(|_| {
                // Without this its name would be taken for a segment without records, which does no harm.
                let _ = fs::remove_file(segment::path(&self.folder, state.end));
            })?;
            let (begin, next_index) = (state.end, state.next_index);
            state.segments.push_back(Segment {
                first: begin,
                end: begin,
                next_index,
                first_ms: first.received_at,
                last_ms,
                sequenced,
                own: !load.numbered,
                synced: begin,
                file: Some(Arc::new(file)),
            });
            (state.sealed, state.named) = (false, false);
        } else if let Some(newest) = state.segments.back_mut() {
            let file = newest.open(&self.folder)?;
            file.write_all_at(bytes, newest.size()).inspect_err(|_| {
                // What a crash would find there otherwise is a part of what is written again.
                let _ = file.set_len(newest.size());
            })?;
        }

        let size = chunk as u64;
        if state.waiting() == 0 {
            state.head_ms = first.received_at;
        }
        let idle = state.opened.is_none();
        let before = state.end - state.acked.position;
        state.end += size;
        (*next, state.next_index) = (n, index);
        if let Some(newest) = state.segments.back_mut() {
            newest.end += size;
            newest.next_index = index;
            newest.last_ms = last_ms;
            newest.sequenced |= sequenced;
        }
        if idle {
            state.opened = Some(Instant::now());
        }
        self.books.bytes.add(size);
        self.books.waiting.add(records as u64);
        if !load.numbered {
            self.books.meter.appended.add(records);
        }
        let enough = before < state.enough && before + size >= state.enough;
        drop(state);
        if idle || enough {
            self.ready.notify_one();
        }
        load.written += chunk;
        Ok(if load.written == load.bytes.len() { Written::All } else { Written::Part })
    }

    /// What waits.
    pub(crate) fn pending(&self) -> Pending {
        let state = self.state();
        Pending { opened: state.opened, bytes: state.end - state.acked.position }
    }

    /// Has the publisher woken when so many bytes wait, before its linger is over.
    pub(crate) fn wake_at(&self, bytes: usize) {
        self.state().enough = bytes as u64;
    }

    /// When its oldest record that waits was received, or the one before it. `None` where none waits.
    pub(crate) fn oldest_ms(&self) -> Option<i64> {
        let state = self.state();
        (state.waiting() > 0).then_some(state.head_ms)
    }

    /// The broker has acknowledged what was read for a request. False where it had been given up for lost
    /// in the meantime.
    pub(crate) fn acknowledge(&self, request: &Request) -> bool {
        let gone = self.pass(request);
        if gone {
            request.settle(&self.books);
        }
        gone
    }

    /// What was read for a request waits here no longer. False where it had been given up for lost.
    pub(super) fn pass(&self, request: &Request) -> bool {
        let mut state = self.state();
        let (position, index) = request.upto();
        if position <= state.acked.position {
            return request.is_empty();
        }
        let head = request.first_index().unwrap_or(index);
        let damaged = head.wrapping_sub(state.acked.index);
        if damaged > 0 {
            let segment = state.segments.iter().find(|segment| segment.end >= position);
            let ms = request.received().next().or(segment.map(|segment| segment.last_ms));
            let own = segment.is_some_and(|segment| segment.own && segment.sequenced);
            self.lose_damaged(damaged.into(), own, (ms.unwrap_or(0), ms.unwrap_or(0)));
        }
        self.books.waiting.sub(index.wrapping_sub(state.acked.index).into());
        request.newest(&mut state.acked.newest);
        (state.acked.position, state.acked.index) = (position, index);
        state.head_ms = request.received().last().unwrap_or(state.head_ms);
        self.note(&mut state);
        self.tidy(&mut state);
        true
    }

    /// Deletes the lane, of which nothing waits.
    pub(super) fn remove(&self) -> io::Result<()> {
        let mut state = self.state();
        while !state.segments.is_empty() {
            self.remove_front(&mut state);
        }
        fs::remove_dir_all(&self.folder)
    }

    /// Writes down how far the lane is acknowledged.
    pub(super) fn note(&self, state: &mut State) {
        if state.acked.position == state.end {
            // Nobody waits any more for what there was: the next record is told of.
            state.opened = None;
        }
        let acked = state.acked;
        if state.ack.write(&acked).is_err() {
            self.books.meter.disk_errors.add(1);
        }
    }

    /// Deletes segments that are acknowledged, but not the newest.
    pub(super) fn tidy(&self, state: &mut State) {
        while state.segments.len() > 1 {
            let Some(oldest) = state.segments.front() else { break };
            if oldest.end > state.acked.position {
                break;
            }
            self.remove_front(state);
        }
    }

    /// Deletes the oldest segment. Where that fails, the next start does it.
    pub(super) fn remove_front(&self, state: &mut State) {
        let Some(oldest) = state.segments.pop_front() else { return };
        if fs::remove_file(segment::path(&self.folder, oldest.first)).is_err() {
            self.books.meter.disk_errors.add(1);
        }
        if state.segments.is_empty() {
            state.sealed = true;
        }
        self.books.bytes.sub(oldest.size());
    }

    /// Accounts for records that can't be read any more, received from when to when. `own`: this run has
    /// numbered them. (Those of earlier runs were not counted when the spool was opened.)
    pub(super) fn lose_damaged(&self, count: u64, own: bool, (first_ms, last_ms): (i64, i64)) {
        let (topic, key) = (self.topic.to_string(), UNKNOWN.to_owned());
        let mut tally = Tally::default();
        tally.add(Lost { topic, key, kind: Kind::Other, count, first_ms, last_ms });
        self.books.meter.damaged.add(usize::try_from(count).unwrap_or(usize::MAX));
        self.books.lose(&tally);
        if own {
            self.books.settle(self.books.run, count);
        }
        let (topic, partition) = (&self.topic, self.partition);
        warn!(%topic, partition, records = count, "the spool is damaged on disk: records are lost");
    }
}
