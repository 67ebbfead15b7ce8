//! When the spool is full: which segment goes, and what is lost with it.

use std::io;

use super::lane::Lane;
use super::lost::{Tally, kind_of};
use super::record::Header;
use super::runs::Newest;
use super::scan::Scanner;

/// What goes first. What is the vendor's goes before what is ours: a gap event tells of many records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// All of it is acknowledged: nothing is lost.
    Acknowledged,
    /// Frames, in a segment that is not written any more.
    Frames,
    /// Frames, in a segment that is.
    NewestFrames,
    /// Records on topics of ours.
    Ours,
    /// The same in a segment that is still written.
    NewestOurs,
}

/// A lane's oldest segment: its rank, and when it began.
pub(super) type Candidate = (Rank, i64);

/// Which of the lanes has to give up its oldest segment.
pub(super) fn victim(lanes: impl Iterator<Item = Option<Candidate>>) -> Option<usize> {
    let candidates = lanes.enumerate().filter_map(|(lane, candidate)| Some((candidate?, lane)));
    candidates.min().map(|(_, lane)| lane)
}

impl Lane {
    /// Its oldest segment, if it has one.
    pub(super) fn candidate(&self) -> Option<Candidate> {
        let state = self.state();
        let oldest = state.segments.front()?;
        let newest = state.segments.len() == 1 && !state.sealed;
        let rank = match (oldest.sequenced, newest) {
            _ if oldest.end <= state.acked.position => Rank::Acknowledged,
            (true, false) => Rank::Frames,
            (true, true) => Rank::NewestFrames,
            (false, false) => Rank::Ours,
            (false, true) => Rank::NewestOurs,
        };
        Some((rank, oldest.first_ms))
    }

    /// Deletes its oldest segment, having counted what is lost with it.
    pub(super) fn evict(&self) {
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(oldest) = state.segments.front_mut() else { return };
        let (end, index, last_ms) = (oldest.end, oldest.next_index, oldest.last_ms);
        if end > state.acked.position {
            let mut tally = Tally::default();
            let mut newest = state.acked.newest;
            let mut seen = 0;
            let at = state.acked.position.max(oldest.first) - oldest.first;
            let read = oldest.open(&self.folder).and_then(|file| {
                let mut scanner = Scanner::new(&file, at, oldest.end - oldest.first);
                while let Some((header, _, body)) = scanner.next()? {
                    self.count(&header, body, &mut tally, &mut newest);
                    seen += 1;
                }
                io::Result::Ok(())
            });
            if read.is_err() {
                self.books.meter.disk_errors.add(1);
            }
            self.books.lose(&tally);
            let lost = index.wrapping_sub(state.acked.index);
            let unread = lost.saturating_sub(seen);
            if unread > 0 {
                let own = oldest.own && oldest.sequenced;
                self.lose_damaged(unread.into(), own, (oldest.first_ms, oldest.last_ms));
            }
            self.books.waiting.sub(lost.into());
            (state.acked.position, state.acked.index) = (end, index);
            state.acked.newest = newest;
            state.head_ms = last_ms;
            self.note(state);
        }
        self.remove_front(state);
    }

    fn count(&self, header: &Header, body: &[u8], tally: &mut Tally, newest: &mut Newest) {
        let (key, _, value) = header.parts(body);
        tally.see(&self.topic, key, kind_of(value, header.is_rest()), header.received_at);
        newest.see(header);
        if header.is_sequenced() {
            self.books.settle(header.run, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_whole_segment_goes_and_what_is_ours_goes_last() {
        use Rank::*;
        let table: [(&[Option<Candidate>], Option<usize>); 7] = [
            (&[], None),
            (&[None, None], None),
            (&[Some((Frames, 5)), Some((Frames, 3)), None], Some(1)),
            (&[Some((NewestFrames, 1)), Some((Frames, 9))], Some(1)),
            (&[Some((Ours, 1)), Some((NewestFrames, 9))], Some(1)),
            (&[Some((NewestOurs, 1)), Some((Ours, 9))], Some(1)),
            (&[Some((Frames, 1)), Some((Acknowledged, 9))], Some(1)),
        ];
        for (lanes, goes) in table {
            assert_eq!(victim(lanes.iter().copied()), goes, "{lanes:?}");
        }
    }
}
