//! What a guest prints, by the broker's rules: one message a call of `fd_write`, cut to 1,024
//! bytes, and dropped whole if it is not text then. What is left waits in a [`LogBuffer`] and goes
//! out as [`LogEvent`]s, all of which a [`LogPipeline`] does.

mod buffer;
mod event;
mod pipeline;

pub use buffer::{LogBuffer, LogDrops};
pub use event::LogEvent;
pub use pipeline::LogPipeline;

/// A longer message is cut to this many bytes.
pub const MAX_LOG_BYTES: usize = 1024;

/// How the broker files a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Written to stdout.
    Info,
    /// Written to stderr.
    Warn,
}

/// Why the broker drops a message. It does so silently; this host tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogDrop {
    /// Not valid UTF-8, perhaps because a character was cut at byte 1,024.
    #[error("it is not UTF-8 within {MAX_LOG_BYTES} bytes")]
    NotUtf8,
    /// Other than newline and tab: a carriage return, an escape of terminal colours.
    #[error("it has a control character")]
    ControlCharacter,
}

/// One message of a guest, or the news that it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// From the file descriptor.
    pub level: LogLevel,
    /// The text, at most 1,024 bytes; newlines at its end included.
    pub text: Result<&'a str, LogDrop>,
    /// Whether the guest's message was longer.
    pub cut: bool,
}

/// The broker's rule, on a message or its first 1,024 bytes.
pub(crate) fn admit(message: &[u8]) -> Result<&str, LogDrop> {
    let cut = &message[..message.len().min(MAX_LOG_BYTES)];
    let text = std::str::from_utf8(cut).map_err(|_| LogDrop::NotUtf8)?;
    let is_control = |b: u8| b.is_ascii_control() && b != b'\n' && b != b'\t';
    if text.bytes().any(is_control) {
        return Err(LogDrop::ControlCharacter);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_or_dropped_as_in_the_broker() {
        let long = "x".repeat(1_030);
        let cut_through = format!("{}ü", "x".repeat(1_023));
        for (message, expected) in [
            ("hello\n\tworld ü\n", Ok("hello\n\tworld ü\n")),
            ("", Ok("")),
            (&long, Ok(&long[..1_024])),
            ("a\r\n", Err(LogDrop::ControlCharacter)),
            ("\x1b[31mred", Err(LogDrop::ControlCharacter)),
            ("\x7f", Err(LogDrop::ControlCharacter)),
            ("nul \0", Err(LogDrop::ControlCharacter)),
            (&cut_through, Err(LogDrop::NotUtf8)),
        ] {
            assert_eq!(admit(message.as_bytes()), expected);
        }
        assert_eq!(admit(b"\xff"), Err(LogDrop::NotUtf8));
    }
}
