//! Reading a recording through before it is replayed: every line must be a frame, and the frames
//! say what a client has to subscribe to.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::MAX_LINE_BYTES;
use super::line::{self, Line};

/// More subscriptions than this would not fit into one SubAdd message. A socket takes no more either.
pub(crate) const MAX_SUBS: usize = 50_000;

/// Why a file can't be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file can't be opened or read.
    #[error("can't read the recording {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is not a frame.
    #[error(
        "line {line} of the recording {path} is no frame: {problem}. Expected on every line is one frame as \
         the vendor sends it: a JSON object with a TYPE, or {{}}"
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to replay.
    #[error("the recording {path} holds no data frame")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// One SubAdd can't name all of its pairs.
    #[error("the recording {path} needs more than {MAX_SUBS} subscriptions; split it")]
    TooManySubs {
        /// The file.
        path: PathBuf,
    },
}

/// A recording that was read through and found sound. The only way to get one is [`scan_replay`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ReplayScan {
    /// The file.
    pub path: PathBuf,
    /// What brings the recorded frames, e.g. `0~Coinbase~BTC~USD`, in order of first appearance. Frames of
    /// a TYPE that nobody knows, and `{}`, have none.
    pub subs: Vec<String>,
    /// The pairs in the frames, `{market}~{base}~{quote}`, in order of first appearance.
    pub pairs: Vec<String>,
    /// Data frames: the lines that will be sent.
    pub frames: u64,
    /// Control frames: the lines that will not.
    pub skipped: u64,
}

/// Reads `path` through and checks every line. Blocking: about half a second for a million lines.
///
/// # Errors
/// [`ReplayError`]; the first line that is not a frame is named by number.
pub fn scan_replay(path: &Path) -> Result<ReplayScan, ReplayError> {
    let io = |source| ReplayError::Io { path: path.to_owned(), source };
    let bad_line = |line, problem| ReplayError::Line { path: path.to_owned(), line, problem };
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path).map_err(io)?);
    let mut scan = ReplayScan {
        path: path.to_owned(),
        subs: Vec::new(),
        pairs: Vec::new(),
        frames: 0,
        skipped: 0,
    };
    let (mut subs, mut pairs) = (HashSet::new(), HashSet::new());
    let mut buffer = Vec::new();
    for number in 1.. {
        buffer.clear();
        let limit = MAX_LINE_BYTES as u64 + 2;
        if reader.by_ref().take(limit).read_until(b'\n', &mut buffer).map_err(io)? == 0 {
            break;
        }
        let bytes = without_line_end(&buffer);
        if bytes.len() > MAX_LINE_BYTES {
            return Err(bad_line(number, format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| bad_line(number, format!("it is not valid UTF-8: {error}")))?;
        match line::parse(text).map_err(|problem| bad_line(number, problem))? {
            Line::Control => scan.skipped += 1,
            Line::Data { pair, sub } => {
                scan.frames += 1;
                note(pair, &mut pairs, &mut scan.pairs);
                note(sub, &mut subs, &mut scan.subs);
                if scan.subs.len() > MAX_SUBS {
                    return Err(ReplayError::TooManySubs { path: path.to_owned() });
                }
            }
        }
    }
    if scan.frames == 0 {
        return Err(ReplayError::Empty { path: path.to_owned() });
    }
    Ok(scan)
}

/// The line without `\n` or `\r\n`.
pub(super) fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Appends `name` to `list` when it is new.
fn note(name: Option<String>, seen: &mut HashSet<String>, list: &mut Vec<String>) {
    if let Some(name) = name.filter(|name| !seen.contains(name)) {
        list.push(name.clone());
        seen.insert(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(content: &[u8]) -> Result<ReplayScan, ReplayError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        scan_replay(file.path())
    }

    const TRADE: &str = r#"{"TYPE":"0","M":"Coinbase","FSYM":"BTC","TSYM":"USD","P":1}"#;
    const INDEX: &str = r#"{"TYPE":"5","MARKET":"CCCAGG","FROMSYMBOL":"BTC","TOSYMBOL":"USD"}"#;
    const WELCOME: &str = r#"{"TYPE":"20", "MESSAGE":"STREAMERWELCOME"}"#;

    #[test]
    fn a_sound_file_is_counted_and_tells_its_subscriptions_once_each() {
        for end in ["\n", "\r\n", ""] {
            let content = [WELCOME, TRADE, "{}", INDEX, TRADE].join("\n") + end;
            let found = scan(content.as_bytes()).unwrap();
            assert_eq!((found.frames, found.skipped), (4, 1));
            assert_eq!(found.subs, ["0~Coinbase~BTC~USD", "5~CCCAGG~BTC~USD"]);
            assert_eq!(found.pairs, ["Coinbase~BTC~USD", "CCCAGG~BTC~USD"]);
        }
    }

    #[test]
    fn the_first_bad_line_is_named_by_number_with_what_was_expected() {
        let long = format!("{{\"TYPE\":\"0\",\"X\":\"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        for (bad, problem) in [
            (b"".as_slice(), "blank"),
            (br#"{"type":"0","raw":"{}"}"#, "no TYPE"),
            (b"{\"TYPE\":\"\xff\"}", "UTF-8"),
            (b"{\"TYPE\":", "not valid JSON"),
            (long.as_bytes(), "longer than"),
        ] {
            let content = [TRADE.as_bytes(), TRADE.as_bytes(), bad, TRADE.as_bytes()].join(&b'\n');
            let error = scan(&content).expect_err(problem).to_string();
            assert!(error.contains("line 3") && error.contains(problem), "{error}");
            assert!(error.contains("a JSON object with a TYPE, or {}"), "{error}");
        }
    }

    #[test]
    fn a_file_without_data_frames_or_without_existence_is_refused() {
        assert!(matches!(scan(b""), Err(ReplayError::Empty { .. })));
        assert!(matches!(scan(WELCOME.as_bytes()), Err(ReplayError::Empty { .. })));
        let missing = scan_replay(Path::new("no-such-recording.jsonl"));
        assert!(matches!(missing, Err(ReplayError::Io { .. })));
    }
}
