//! Small JSON files in the state folder, replaced as a whole: a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a file holds; `None` where there is none yet.
///
/// # Errors
/// It can't be read, or holds something else (then nothing is guessed: an operator has to look).
pub fn load<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces the file. When it returns, a crash of the process or of the machine does not bring the old
/// one back.
///
/// # Errors
/// The folder can't be written.
pub fn save<T: Serialize>(path: &Path, what: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut file = File::create(&new)?;
    file.write_all(&serde_json::to_vec(what)?)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Replaces the file as [`save`] does, without waiting for the disk: a crash of the process leaves one of
/// the two, after one of the machine the file may be damaged.
///
/// # Errors
/// The folder can't be written.
pub fn replace<T: Serialize>(path: &Path, what: &T) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(what)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_damage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(load::<Vec<u64>>(&path).unwrap(), None);
        for what in [vec![1u64, 2, 3], vec![]] {
            save(&path, &what).unwrap();
            assert_eq!(load(&path).unwrap(), Some(what));
        }
        fs::write(&path, b"[1,").unwrap();
        assert!(load::<Vec<u64>>(&path).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left over");
    }
}
