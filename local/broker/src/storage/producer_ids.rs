//! Ids for idempotent producers. None is ever given twice, whatever crashes: they are taken from the
//! disk in blocks, and what a crash leaves of a block is lost.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::meta::write_atomically;
use crate::error::BrokerError;

/// Ids taken at once.
const BLOCK: i64 = 1000;

/// Gives ids.
#[derive(Debug)]
pub(crate) struct ProducerIds {
    path: PathBuf,
    block: Mutex<Block>,
}

/// What is left of the block in hand, and where the next begins.
#[derive(Debug)]
struct Block {
    next: i64,
    end: i64,
}

impl ProducerIds {
    /// The file at `path` holds the first id that nobody has been given; it need not be there.
    pub(crate) fn load(path: PathBuf) -> Result<Self, BrokerError> {
        let next = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| BrokerError::Corrupt {
                path: path.clone(),
                what: "it should hold one number".to_owned(),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(BrokerError::io("read", &path)(error)),
        };
        Ok(Self { path, block: Mutex::new(Block { next, end: next }) })
    }

    /// An id that nobody has.
    pub(crate) fn draw(&self) -> io::Result<i64> {
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        if block.next == block.end {
            let end = block.end + BLOCK;
            write_atomically(&self.path, end.to_string().as_bytes())?;
            block.end = end;
        }
        let id = block.next;
        block.next += 1;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_id_is_given_twice_however_often_the_broker_starts() {
        let dir = tempfile::tempdir().unwrap();
        let mut given = std::collections::HashSet::new();
        for _ in 0..3 {
            let ids = ProducerIds::load(dir.path().join("producer-ids")).unwrap();
            assert!((0..1500).all(|_| given.insert(ids.draw().unwrap())));
        }
    }
}
