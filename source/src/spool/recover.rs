//! A lane as a former process has left it. What a crash tore off its end is cut; damage before that
//! is passed over, and counted when the publisher comes to it.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::warn;

use super::ack::{AckFile, Acked};
use super::books::Books;
use super::lane::{Lane, State};
use super::scan::Scanner;
use super::segment::{self, Segment};

/// What lay in a lane.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Of each run: the number after its greatest, and how many of its records wait.
    pub(super) runs: BTreeMap<u64, (u64, u64)>,
    /// When the newest frame of a WebSocket came.
    pub(super) frame_ms: Option<i64>,
}

/// A segment, read through.
struct Scanned {
    segment: Segment,
    first_index: u32,
    /// Index of the first record that is not acknowledged, and when it was received.
    head: Option<(u32, i64)>,
}

impl Lane {
    /// Opens the lane in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// The disk's.
    pub(super) fn open(
        folder: PathBuf,
        topic: Arc<str>,
        partition: i32,
        books: Arc<Books>,
    ) -> io::Result<(Self, Found)> {
        fs::create_dir_all(&folder)?;
        let (mut ack, said) = AckFile::open(&folder)?;
        let firsts = segment::list(&folder)?;
        // Without an ack file nothing is known to be acknowledged.
        let mut acked = said.unwrap_or_default();
        let mut found = Found::default();
        let mut segments: VecDeque<Segment> = VecDeque::new();
        let (mut first_index, mut head) = (None, None);
        for first in firsts.into_iter().rev() {
            let next = segments.front().map(|segment| segment.first);
            match scan(&folder, first, next, &acked, &mut found)? {
                Some(scanned) => {
                    first_index = Some(scanned.first_index);
                    head = scanned.head.or(head);
                    segments.push_front(scanned.segment);
                }
                None => fs::remove_file(segment::path(&folder, first))?,
            }
        }
        if said.is_none() {
            acked.position = segments.front().map_or(0, |segment| segment.first);
            acked.index = first_index.unwrap_or(0);
            // From now on it is: what is damaged at the very beginning is missed.
            ack.write(&acked)?;
        }
        // After a crash of the machine the ack file may know of records that the disk never had.
        let newest = segments.back().filter(|newest| newest.end > acked.position);
        let (end, next_index) =
            newest.map_or((acked.position, acked.index), |newest| (newest.end, newest.next_index));
        let (head, head_ms) = head.unwrap_or((next_index, 0));
        if head.wrapping_sub(acked.index) > u32::MAX / 2 {
            acked.index = head;
        }

        if let Some((run, next)) = acked.newest.run {
            let known = found.runs.entry(run).or_default();
            known.0 = known.0.max(next);
        }
        found.frame_ms = found.frame_ms.max(acked.newest.frame_ms);
        books.bytes.add(segments.iter().map(Segment::size).sum());
        let state = State {
            segments,
            sealed: true,
            acked,
            ack,
            end,
            next_index,
            head_ms,
            opened: None,
            enough: u64::MAX,
            named: false,
        };
        books.waiting.add(state.waiting());
        let state = Mutex::new(State { opened: (state.waiting() > 0).then(Instant::now), ..state });
        let ready = Notify::new();
        Ok((Lane { topic, partition, folder, books, state, ready }, found))
    }
}

/// Reads a segment through, the newest first; `next` is where the one after it begins. `None` where it
/// holds nothing that matters any more.
fn scan(
    folder: &std::path::Path,
    first: u64,
    next: Option<u64>,
    acked: &Acked,
    found: &mut Found,
) -> io::Result<Option<Scanned>> {
    let path = segment::path(folder, first);
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let length = file.metadata()?.len();
    let end = first.saturating_add(length).min(next.unwrap_or(u64::MAX));
    if end <= acked.position && next.is_some() {
        return Ok(None);
    }
    let mut scanner = Scanner::new(&file, 0, end - first);
    let mut seen: Option<Scanned> = None;
    let mut head = None;
    while let Some((header, at, _)) = scanner.next()? {
        let scanned = seen.get_or_insert_with(|| Scanned {
            segment: Segment {
                first,
                end,
                next_index: header.index,
                first_ms: header.received_at,
                last_ms: header.received_at,
                sequenced: false,
                own: false,
                synced: end,
                file: None,
            },
            first_index: header.index,
            head: None,
        });
        let segment = &mut scanned.segment;
        segment.next_index = header.index.wrapping_add(1);
        segment.last_ms = header.received_at;
        let waits = first + at >= acked.position;
        if waits && head.is_none() {
            head = Some((header.index, header.received_at));
        }
        if header.is_sequenced() {
            segment.sequenced = true;
            let run = found.runs.entry(header.run).or_default();
            run.0 = run.0.max(header.n.saturating_add(1));
            run.1 += u64::from(waits);
            if !header.is_rest() {
                found.frame_ms = found.frame_ms.max(Some(header.received_at));
            }
        }
    }
    let (whole, damaged) = (scanner.at(), scanner.damaged());
    let Some(mut scanned) = seen else { return Ok(None) };
    scanned.head = head;
    if next.is_none() {
        scanned.segment.end = first + whole;
        if whole < length {
            warn!(segment = %path.display(), bytes = length - whole, "cut off what a crash has torn");
            file.set_len(whole)?;
        }
        // It may be younger than the last sync.
        scanned.segment.synced = first;
        scanned.segment.file = Some(Arc::new(file));
    } else if damaged > 0 {
        warn!(segment = %path.display(), bytes = damaged, "the spool is damaged on disk");
    }
    Ok(Some(scanned))
}
