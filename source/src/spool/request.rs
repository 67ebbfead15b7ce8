//! What a publisher has read from its lane for one produce request. Its buffers are kept and used
//! again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use tickpanda_kafka::BatchEncoder;
use tickpanda_model::header;

use super::books::Books;
use super::lane::Lane;
use super::record::{self, HEADER, blank};
use super::runs::Newest;
use super::scan::Scanner;

/// Records in the order of their lane.
#[derive(Debug, Default)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    /// Each with where its body begins.
    records: Vec<(record::Header, usize)>,
    /// Position and index behind the last record.
    upto: (u64, u32),
    /// The records are published without their values: the topic takes less than it should.
    blank: bool,
}

/// A segment to read from.
struct Source {
    file: Arc<File>,
    first: u64,
    end: u64,
    /// Where to begin.
    at: u64,
    /// Whether it is the last one.
    last: bool,
}

/// What the bytes begin with.
enum Begin {
    Records,
    /// A record that needs so many.
    Longer(usize),
    /// No record.
    Damage,
}

impl Request {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Position and index behind its last record.
    pub(crate) fn upto(&self) -> (u64, u32) {
        self.upto
    }

    pub(super) fn first_index(&self) -> Option<u32> {
        self.records.first().map(|(header, _)| header.index)
    }

    /// The most that the records take on the wire.
    pub(crate) fn wire(&self) -> usize {
        self.records.iter().map(|(header, _)| header.wire()).sum()
    }

    /// When each record was received.
    pub(crate) fn received(&self) -> impl Iterator<Item = i64> {
        self.records.iter().map(|(header, _)| header.received_at)
    }

    /// Leaves out the values: for a record that the topic does not take.
    pub(crate) fn blank(&mut self) {
        self.blank = true;
    }

    /// Records whose value was left out.
    pub(crate) fn blanked(&self) -> usize {
        self.records.iter().filter(|(header, _)| self.blank || header.is_blank()).count()
    }

    /// Whether no record has a value.
    pub(crate) fn is_blank(&self) -> bool {
        self.blank || self.records.iter().all(|(header, at)| self.parts(header, *at).2.is_empty())
    }

    fn parts(&self, header: &record::Header, at: usize) -> (&[u8], &[u8], &[u8]) {
        header.parts(&self.bytes[at..at - HEADER + header.size()])
    }

    /// Key and whole record, as it lies in the spool, of each.
    pub(super) fn encoded(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.iter().map(|(header, at)| {
            let begin = at - HEADER;
            (self.parts(header, *at).0, &self.bytes[begin..begin + header.size()])
        })
    }

    /// Has the records encoded as one batch, as the topic gets them.
    pub(crate) fn encode(&self, encoder: &mut BatchEncoder) {
        let mut seq = Seq::new();
        for (header, at) in &self.records {
            let (key, raw, value) = self.parts(header, *at);
            let seq = header.is_sequenced().then(|| seq.text(header.run, header.n));
            let blank = (self.blank && !value.is_empty()).then(|| blank(value));
            let blank = blank.iter().flatten();
            let headers = record::headers(raw)
                .chain(blank.map(|(name, value)| (*name, value.as_slice())))
                .chain(seq.map(|seq| (header::SEQ, seq)))
                .map(|(name, value)| (name.as_bytes(), value));
            let value = if self.blank { &[] } else { value };
            encoder.push(header.received_at, Some(key), Some(value), headers);
        }
    }

    /// They wait no longer.
    pub(super) fn settle(&self, books: &Books) {
        let mut run = None;
        for (header, _) in self.records.iter().filter(|(header, _)| header.is_sequenced()) {
            match &mut run {
                Some((run, records)) if *run == header.run => *records += 1,
                _ => {
                    if let Some((run, records)) = run.replace((header.run, 1)) {
                        books.settle(run, records);
                    }
                }
            }
        }
        if let Some((run, records)) = run {
            books.settle(run, records);
        }
    }

    pub(super) fn newest(&self, newest: &mut Newest) {
        self.records.iter().for_each(|(header, _)| newest.see(header));
    }

    /// Takes what the bytes hold from their beginning, up to `most` on the wire.
    fn parse(&mut self, at: u64, most: usize) -> Begin {
        let (mut from, mut wire) = (0, 0);
        while let Some(header) = record::Header::decode(&self.bytes[from..]) {
            let body = from + HEADER;
            let end = from + header.size();
            let Some(bytes) = self.bytes.get(body..end) else {
                if from == 0 {
                    return Begin::Longer(header.size());
                }
                break;
            };
            wire += header.wire();
            if (from > 0 && wire > most) || !header.fits(bytes) {
                break;
            }
            self.records.push((header, body));
            self.upto = (at + end as u64, header.index.wrapping_add(1));
            from = end;
        }
        if from == 0 { Begin::Damage } else { Begin::Records }
    }
}

impl Lane {
    /// Reads what is to be published next: records of at most `most` bytes on the wire, or one that
    /// is larger, from the first on that is not acknowledged. Nothing where nothing waits; nothing,
    /// but to be acknowledged, where all that is left is damaged.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn read(&self, request: &mut Request, most: usize) -> io::Result<()> {
        request.records.clear();
        request.blank = false;
        request.upto = (0, 0);
        let mut from = None;
        let mut want = most;
        while let Some(source) = self.source(from, most)? {
            let left = usize::try_from(source.end - source.at).unwrap_or(usize::MAX);
            let want_now = want.max(HEADER).min(left);
            // A buffer grown for one large record is not kept.
            request.bytes.resize(want_now, 0);
            request.bytes.shrink_to(2 * most.max(HEADER));
            let read = fill(&source.file, &mut request.bytes, source.at - source.first)?;
            request.bytes.truncate(read);
            match request.parse(source.at, most) {
                Begin::Records => return Ok(()),
                Begin::Longer(size) if read == want_now && size <= left => {
                    (from, want) = (Some(source.at), size);
                }
                Begin::Longer(_) | Begin::Damage => {
                    want = most;
                    let end = source.end - source.first;
                    let mut scanner = Scanner::new(&source.file, source.at - source.first, end);
                    match scanner.next()? {
                        Some((_, at, _)) => from = Some(source.first + at),
                        None if source.last => {
                            request.upto = self.end_of(source.end);
                            return Ok(());
                        }
                        None => from = Some(source.end),
                    }
                }
            }
        }
        Ok(())
    }

    /// Where to read: the segment that holds position `from`, or the first one behind it.
    fn source(&self, from: Option<u64>, most: usize) -> io::Result<Option<Source>> {
        let mut state = self.state();
        let from = from.unwrap_or(0).max(state.acked.position);
        if state.end - state.acked.position <= most as u64 {
            // It will all be read: the next record's linger begins when it is appended.
            state.opened = None;
        }
        let end = state.end;
        let Some(segment) = state.segments.iter_mut().find(|segment| segment.end > from) else {
            return Ok(None);
        };
        Ok(Some(Source {
            file: segment.open(&self.folder)?,
            first: segment.first,
            end: segment.end,
            at: from.max(segment.first),
            last: segment.end == end,
        }))
    }

    /// Position and index behind the last record, where that lies at `end`; otherwise something was
    /// appended meanwhile, and what is damaged before it is passed over next time.
    fn end_of(&self, end: u64) -> (u64, u32) {
        let state = self.state();
        if state.end == end { (end, state.next_index) } else { (0, 0) }
    }

    /// Gives up what waits in the segment that is to be read next: the disk can't read it.
    pub(crate) fn give_up(&self) {
        let mut state = self.state();
        let from = state.acked.position;
        let Some(segment) = state.segments.iter().find(|segment| segment.end > from) else {
            return;
        };
        let (end, index) = (segment.end, segment.next_index);
        let times = (segment.first_ms, segment.last_ms);
        let own = segment.own && segment.sequenced;
        let newest = state.end == end;
        let lost = index.wrapping_sub(state.acked.index);
        self.lose_damaged(lost.into(), own, times);
        self.books.waiting.sub(lost.into());
        (state.acked.position, state.acked.index) = (end, index);
        state.head_ms = times.1;
        state.sealed |= newest;
        self.note(&mut state);
        self.tidy(&mut state);
    }
}

/// Reads until the buffer is full or the file ends; says how much that is.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The text `{run}:{n}` as [`header::Seq`] prints it, without the formatting machinery: this is per frame.
struct Seq {
    text: [u8; 17 + 20],
    /// The run that it begins with.
    run: Option<u64>,
}

impl Seq {
    fn new() -> Self {
        Seq { text: [0; 17 + 20], run: None }
    }

    fn text(&mut self, run: u64, mut n: u64) -> &[u8] {
        if self.run.replace(run) != Some(run) {
            self.text[..17].copy_from_slice(format!("{run:016x}:").as_bytes());
        }
        let mut digits = 1;
        let mut rest = n / 10;
        while rest > 0 {
            (digits, rest) = (digits + 1, rest / 10);
        }
        for at in (17..17 + digits).rev() {
            // A remainder of 10 fits every integer type.
            #[allow(clippy::cast_possible_truncation)]
            let digit = (n % 10) as u8;
            self.text[at] = b'0' + digit;
            n /= 10;
        }
        &self.text[..17 + digits]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seq_headers_are_those_of_the_model() {
        let mut seq = Seq::new();
        for (run, n) in [(1, 0), (1, 9), (1, 10), (u64::MAX, 12_345), (0xab, u64::MAX), (0xab, 7)] {
            let text = header::Seq { run, n }.to_string();
            assert_eq!(seq.text(run, n), text.as_bytes());
        }
    }
}
