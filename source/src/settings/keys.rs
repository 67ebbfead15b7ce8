//! The vendor's keys: from the environment, `.env` or a file. There is no flag for a key, because
//! every user of a machine can read the flags of every process.

use std::path::{Path, PathBuf};

use clap::builder::{OsStringValueParser, TypedValueParser as _};

use crate::api_key::ApiKey;
use crate::error::SourceError;

/// Variable of the API key, or of several.
pub const API_KEY: &str = "CRYPTOCOMPARE_API_KEY";
const FILE: &str = "--api-key-file (CRYPTOCOMPARE_API_KEY_FILE)";
/// More than any account has: a wrong file, rather.
const MAX_KEYS: usize = 16;
/// A bare word of so many letters and digits is hardly the name of a file. Keys have 64.
const LIKE_A_KEY: usize = 24;

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[allow(missing_docs)]
pub struct KeyArgs {
    /// File that holds the API key, or several, one a line; instead of the variable
    /// CRYPTOCOMPARE_API_KEY, over which it wins
    #[arg(
        long,
        env = "CRYPTOCOMPARE_API_KEY_FILE",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from), // a variable may be empty
        value_name = "FILE"
    )]
    pub api_key_file: Option<PathBuf>,
}

impl KeyArgs {
    /// The keys, each once and at least one. `variable` is the value of [`API_KEY`], if set.
    ///
    /// # Errors
    /// [`SourceError::Setting`], never with a key in it.
    pub(crate) fn keys(&self, variable: Option<&str>) -> Result<Vec<ApiKey>, SourceError> {
        // A variable that is set to nothing names no file.
        if let Some(path) = self.api_key_file.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            let refuse = |problem| SourceError::Setting { name: FILE, problem };
            let shown = shown(path);
            let text = std::fs::read_to_string(path)
                .map_err(|error| refuse(format!("{shown}: {error}")))?;
            let text: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            return match parse(text.iter().copied()) {
                Ok(keys) if keys.is_empty() => Err(refuse(format!(
                    "{shown}: the file holds no key (one a line, visible ASCII)"
                ))),
                keys => keys.map_err(|problem| refuse(format!("{shown}: {problem}"))),
            };
        }
        let refuse =
            |problem: &str| SourceError::Setting { name: API_KEY, problem: problem.into() };
        let keys = parse(variable.unwrap_or_default().split(',')).map_err(|bad| refuse(&bad))?;
        if keys.is_empty() {
            return Err(refuse(
                "not set: CryptoCompare needs an API key; put it into the environment, into .env, or into a file for --api-key-file",
            ));
        }
        Ok(keys)
    }
}

/// A path, unless somebody has given the key in the place of its file.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    if text.len() >= LIKE_A_KEY && text.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return "(not shown, it looks like a key and must be the name of a file)".to_owned();
    }
    text
}

/// Each key once, in their order; empty entries are skipped. A refusal counts and does not quote.
fn parse<'a>(entries: impl Iterator<Item = &'a str>) -> Result<Vec<ApiKey>, String> {
    let mut keys = Vec::new();
    for (number, entry) in entries.map(str::trim).filter(|entry| !entry.is_empty()).enumerate() {
        let Some(key) = ApiKey::new(entry) else {
            let number = number + 1;
            return Err(format!(
                "key {number} is not usable: a key is visible ASCII without spaces"
            ));
        };
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.len() > MAX_KEYS {
        return Err(format!("{} keys, and {MAX_KEYS} are the most", keys.len()));
    }
    Ok(keys)
}
