//! How far a lane has been acknowledged, in its file `ack`: two places that are written in turn, so
//! that a write torn by a crash leaves the one before.
//!
//! Written with every acknowledged request and never synced: a killed process has written what it
//! wrote, and after a crash of the machine some requests are published again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::runs::Newest;

/// Name of the file in a lane's folder.
const FILE: &str = "ack";
/// crc, padding, generation, position, index, run, next, last frame, has a frame.
const PLACE: usize = 64;

/// What has been acknowledged, or is gone otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Acked {
    /// Up to which position of the lane.
    pub(crate) position: u64,
    /// Index of the record that begins there.
    pub(crate) index: u32,
    /// The newest of what lay before: its segments need not be there any more.
    pub(crate) newest: Newest,
}

/// The file.
#[derive(Debug)]
pub(crate) struct AckFile {
    file: File,
    generation: u64,
}

impl AckFile {
    /// Opens a lane's file, or makes it; with what it says, if it says anything.
    ///
    /// # Errors
    /// It can't be read or made.
    pub(crate) fn open(lane: &Path) -> io::Result<(Self, Option<Acked>)> {
        let path = lane.join(FILE);
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        // Its blocks are taken now: on a full disk it must still be possible to acknowledge.
        if file.metadata()?.len() < 2 * PLACE as u64 {
            file.write_all_at(&[0; 2 * PLACE], 0)?;
        }
        let mut places = [0; 2 * PLACE];
        file.read_exact_at(&mut places, 0)?;
        let (first, second) = places.split_at(PLACE);
        let newest = [first, second].into_iter().filter_map(decode).max_by_key(|(age, _)| *age);
        let generation = newest.map_or(0, |(generation, _)| generation);
        Ok((AckFile { file, generation }, newest.map(|(_, acked)| acked)))
    }

    /// Writes down what is acknowledged.
    ///
    /// # Errors
    /// It can't be written. Then the next call brings it.
    pub(crate) fn write(&mut self, acked: &Acked) -> io::Result<()> {
        let generation = self.generation + 1;
        self.file.write_all_at(&encode(generation, acked), (generation % 2) * PLACE as u64)?;
        self.generation = generation;
        Ok(())
    }
}

fn encode(generation: u64, acked: &Acked) -> [u8; PLACE] {
    let mut place = [0; PLACE];
    let newest = &acked.newest;
    let (run, next) = newest.run.unwrap_or_default();
    let frame = newest.frame_ms.unwrap_or_default().cast_unsigned();
    let said = u64::from(newest.run.is_some()) | u64::from(newest.frame_ms.is_some()) << 1;
    let fields =
        [generation, acked.position, u64::from(acked.index) << 32 | said, run, next, frame];
    for (field, at) in fields.iter().zip((8..).step_by(8)) {
        place[at..at + 8].copy_from_slice(&field.to_le_bytes());
    }
    let crc = crc32c::crc32c(&place[4..]);
    place[..4].copy_from_slice(&crc.to_le_bytes());
    place
}

fn decode(place: &[u8]) -> Option<(u64, Acked)> {
    let crc = u32::from_le_bytes(*place.first_chunk()?);
    if crc != crc32c::crc32c(&place[4..]) {
        return None;
    }
    let field =
        |n: usize| place[8 + 8 * n..].first_chunk().map_or(0, |eight| u64::from_le_bytes(*eight));
    let said = field(2);
    let newest = Newest {
        run: (said & 1 != 0).then(|| (field(3), field(4))),
        frame_ms: (said & 2 != 0).then(|| field(5).cast_signed()),
    };
    // The upper half of a u64.
    let index = u32::try_from(said >> 32).unwrap_or_default();
    Some((field(0), Acked { position: field(1), index, newest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn acked(position: u64) -> Acked {
        let newest = Newest { run: Some((7, position + 1)), frame_ms: Some(-3) };
        Acked { position, index: u32::MAX, newest }
    }

    #[test]
    fn the_last_write_counts_and_a_torn_one_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, said) = AckFile::open(folder.path()).unwrap();
        assert_eq!(said, None);
        for position in 1..=5 {
            file.write(&acked(position)).unwrap();
            let (again, said) = AckFile::open(folder.path()).unwrap();
            assert_eq!(said, Some(acked(position)));
            file = again;
        }
        // Generation 5 lies in the second place.
        let path = folder.path().join(FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[PLACE + 20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let (_, said) = AckFile::open(folder.path()).unwrap();
        assert_eq!(said, Some(acked(4)));
    }

    #[test]
    fn a_file_of_any_bytes_says_something_whole_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        for bytes in [vec![], vec![0xff; 5], vec![0xff; 2 * PLACE], vec![0; 500]] {
            std::fs::write(folder.path().join(FILE), bytes).unwrap();
            let (mut file, said) = AckFile::open(folder.path()).unwrap();
            assert_eq!(said, None);
            file.write(&acked(9)).unwrap();
            assert_eq!(AckFile::open(folder.path()).unwrap().1, Some(acked(9)));
        }
    }
}
