//! Entries on disk, spread over files by their keys, so that all that belongs to a key comes back
//! together and no file need be larger than the memory it is given.
//!
//! ```text
//!  push ─▶ 64 files by the key's first 6 bits ─┬─ small enough ─▶ sorted in memory ─▶ a group a key
//!                                              └─ too large ─▶ 64 files by the next 6 bits ─▶ …
//! ```

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::entry::{ENTRY, Entry};

/// Files of one level.
const FILES: usize = 64;
/// Bits of the key that choose one of them.
const BITS: u32 = 6;
/// The largest file that is read into memory, in bytes.
const IN_MEMORY: u64 = 24 << 20;
/// Behind so many levels a file holds a few keys with very many entries each, which no further split
/// would part: it is read into memory whatever its size.
const LEVELS: u32 = 5;
/// Bytes gathered for a file before they are written.
const BUFFER: usize = 32 << 10;

/// Files that are being filled.
pub(crate) struct Buckets {
    files: Vec<(PathBuf, BufWriter<File>)>,
    level: u32,
    in_memory: u64,
    entries: u64,
}

impl Buckets {
    /// Makes the files in `dir`, which should go with them.
    pub(crate) fn new(dir: &Path) -> io::Result<Self> {
        Self::on_level(dir, 0, IN_MEMORY)
    }

    fn on_level(dir: &Path, level: u32, in_memory: u64) -> io::Result<Self> {
        let open = |number| {
            let path = dir.join(format!("{level}-{number}"));
            let file = File::create_new(&path)?;
            Ok((path, BufWriter::with_capacity(BUFFER, file)))
        };
        let files = (0..FILES).map(open).collect::<io::Result<_>>()?;
        Ok(Buckets { files, level, in_memory, entries: 0 })
    }

    /// Takes an entry.
    pub(crate) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        self.entries += 1;
        let bits = entry.key >> (128 - BITS * (self.level + 1));
        let number = (bits % FILES as u128) as usize;
        self.files[number].1.write_all(&entry.to_bytes())
    }

    /// How many entries it has taken.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Hands over all entries, those of a key together, and removes the files.
    pub(crate) fn groups(self, each: &mut impl FnMut(&[Entry])) -> io::Result<()> {
        let Buckets { files, level, in_memory, .. } = self;
        let flush = |(path, file): (PathBuf, BufWriter<File>)| {
            // An error of `into_inner` carries the file; what matters is why.
            file.into_inner().map_err(|error| error.into_error()).map(|_| path)
        };
        let paths = files.into_iter().map(flush).collect::<io::Result<Vec<_>>>()?;
        for path in paths {
            if fs::metadata(&path)?.len() > in_memory && level + 1 < LEVELS {
                Self::split(&path, level + 1, in_memory)?.groups(each)?;
            } else {
                let mut entries = read(&path)?;
                entries.sort_unstable_by_key(|entry| (entry.key, entry.side, entry.place()));
                entries.chunk_by(|a, b| a.key == b.key).for_each(&mut *each);
            }
            if path.exists() {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// The entries of a file on the next level; the file is removed, so that the disk holds them once.
    fn split(path: &Path, level: u32, in_memory: u64) -> io::Result<Self> {
        let parent = path.parent().unwrap_or(Path::new("."));
        let mut buckets = Self::on_level(parent, level, in_memory)?;
        let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
        let mut bytes = [0; ENTRY];
        for _ in 0..fs::metadata(path)?.len() / ENTRY as u64 {
            file.read_exact(&mut bytes)?;
            buckets.push(&Entry::from_bytes(&bytes))?;
        }
        fs::remove_file(path)?;
        Ok(buckets)
    }
}

fn read(path: &Path) -> io::Result<Vec<Entry>> {
    let length = fs::metadata(path)?.len();
    let mut entries = Vec::with_capacity(usize::try_from(length).unwrap_or(0) / ENTRY);
    let mut file = BufReader::with_capacity(1 << 20, File::open(path)?);
    let mut bytes = [0; ENTRY];
    for _ in 0..length / ENTRY as u64 {
        file.read_exact(&mut bytes)?;
        entries.push(Entry::from_bytes(&bytes));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::audit::entry::{Hasher, Place};
    use proptest::prelude::*;
    use tickpanda_sink::row::Table;

    fn entry(key: u128, offset: i64) -> Entry {
        let place = Place { topic: 0, partition: 0, offset };
        Entry { key, ..Hasher::default().unstorable(Table::Ticks, place, 0) }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        /// Also where files must be split, and where no split parts what they hold.
        #[test]
        fn every_entry_comes_back_once_and_with_all_of_its_key(
            keys in prop::collection::vec((0u128..40, any::<bool>()), 0..400),
            in_memory in 0u64..4000,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut buckets = Buckets::on_level(dir.path(), 0, in_memory).unwrap();
            let mut expected = BTreeMap::<u128, Vec<i64>>::new();
            for (offset, (key, low)) in (0i64..).zip(keys) {
                // Keys that differ in their first bits, and keys that differ in their last.
                let key = if low { key } else { key << 118 };
                buckets.push(&entry(key, offset)).unwrap();
                expected.entry(key).or_default().push(offset);
            }
            let mut found = BTreeMap::new();
            buckets.groups(&mut |group: &[Entry]| {
                let offsets = group.iter().map(|entry| entry.offset).collect::<Vec<_>>();
                assert!(found.insert(group[0].key, offsets).is_none(), "a key comes once");
            }).unwrap();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "no file is left");
        }
    }
}
