//! `.env` of the working folder or one above it: variables that the environment does not set.

use crate::BadSetting;

/// Reads `.env` into the environment. To be called before there is a second thread.
///
/// # Errors
/// A file that is there and can't be read or parsed; a missing one is normal.
pub fn dotenv() -> Result<(), BadSetting> {
    check(dotenvy::dotenv().map(drop))
}

fn check(read: dotenvy::Result<()>) -> Result<(), BadSetting> {
    let problem = match read {
        Err(error) if !error.not_found() => match error {
            // dotenvy's own message prints the line, and the line may hold the key.
            dotenvy::Error::LineParse(_, column) => {
                format!("a line is not NAME=value (column {column}; quote values with spaces)")
            }
            dotenvy::Error::Io(error) => error.to_string(),
            _ => "it can't be used".to_owned(),
        },
        _ => return Ok(()),
    };
    Err(BadSetting { name: ".env", problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_refused_without_showing_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "KEY=se cret value\n").unwrap();
        let error = check(dotenvy::from_path(file.path())).unwrap_err().to_string();
        assert!(error.contains(".env") && !error.contains("cret"), "{error}");
    }

    #[test]
    fn a_missing_file_is_normal() {
        let folder = tempfile::tempdir().unwrap();
        check(dotenvy::from_path(folder.path().join("none"))).unwrap();
    }
}
