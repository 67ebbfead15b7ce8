//! Messages on their way out of a core: gathered, bounded, and let go together.

use std::time::{Duration, Instant};

use super::{LogDrop, LogEvent, LogLine};

/// Bytes of messages that a core holds (`data_transforms_logging_buffer_capacity_bytes`).
const CAPACITY: usize = 500 << 10;
/// Held no longer than this (`data_transforms_logging_flush_interval_ms`).
const FLUSH_INTERVAL: Duration = Duration::from_millis(500);
/// Added by chance, so that cores do not flush at once.
const JITTER: Duration = Duration::from_millis(50);
/// From here on a flush does not wait.
const LOW_WATER: usize = CAPACITY / 10;

/// What a message costs beside its text and name, in bytes.
const OVERHEAD: usize = size_of::<LogEvent>();

/// Messages that nobody will see, by reason. The broker counts them together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogDrops {
    /// The buffer was full.
    pub full: u64,
    /// See [`LogDrop::NotUtf8`].
    pub not_utf8: u64,
    /// See [`LogDrop::ControlCharacter`].
    pub control_character: u64,
}

impl LogDrops {
    /// All together.
    pub fn total(&self) -> u64 {
        self.full + self.not_utf8 + self.control_character
    }
}

/// The messages of one core.
#[derive(Clone, Debug, Default)]
pub struct LogBuffer {
    events: Vec<LogEvent>,
    held: usize,
    flush_at: Option<Instant>,
    dropped: LogDrops,
}

impl LogBuffer {
    /// Takes a guest's message, or counts why not. `unix_nanos` is the time now as nanoseconds since the
    /// epoch; `chance`, from 0 to 1, decides when the flush is.
    pub fn push(
        &mut self,
        transform: &str,
        line: LogLine<'_>,
        now: Instant,
        unix_nanos: u64,
        chance: f64,
    ) {
        let text = match line.text {
            Ok(text) => text,
            Err(LogDrop::NotUtf8) => {
                self.dropped.not_utf8 += 1;
                return;
            }
            Err(LogDrop::ControlCharacter) => {
                self.dropped.control_character += 1;
                return;
            }
        };
        // The broker counts the text. What holds a short one costs more, and there must not be any number of them.
        let size = text.len().max(transform.len() + OVERHEAD);
        if self.held + size > CAPACITY {
            self.dropped.full += 1;
            return;
        }
        self.held += size;
        let (transform, text) = (transform.to_owned(), text.to_owned());
        self.events.push(LogEvent { transform, level: line.level, text, unix_nanos });
        let due = if CAPACITY - self.held <= LOW_WATER {
            now
        } else {
            now + FLUSH_INTERVAL + JITTER.mul_f64(chance.clamp(0.0, 1.0))
        };
        self.flush_at = Some(self.flush_at.map_or(due, |at| at.min(due)));
    }

    /// When the messages are to go out; `None` where there are none.
    pub fn due(&self) -> Option<Instant> {
        self.flush_at
    }

    /// The messages, in order. There is room for others now.
    pub fn flush(&mut self) -> Vec<LogEvent> {
        (self.held, self.flush_at) = (0, None);
        std::mem::take(&mut self.events)
    }

    /// What was dropped so far.
    pub fn dropped(&self) -> LogDrops {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LogLevel, admit};
    use super::*;

    fn push(buffer: &mut LogBuffer, message: &[u8], now: Instant) {
        let line = LogLine { level: LogLevel::Warn, text: admit(message), cut: false };
        buffer.push("t", line, now, 7, 1.0);
    }

    #[test]
    fn messages_go_out_half_a_second_after_the_first_or_when_it_is_nearly_full() {
        let now = Instant::now();
        let mut buffer = LogBuffer::default();
        assert_eq!(buffer.due(), None);
        push(&mut buffer, b"first", now);
        push(&mut buffer, b"second", now + Duration::from_millis(400));
        assert_eq!(buffer.due(), Some(now + Duration::from_millis(550)));
        let texts: Vec<String> = buffer.flush().into_iter().map(|event| event.text).collect();
        assert_eq!(texts, ["first", "second"]);
        assert_eq!((buffer.due(), buffer.flush()), (None, vec![]));

        let line = [b'x'; 1024];
        for _ in 0..449 {
            push(&mut buffer, &line, now);
        }
        assert_eq!(buffer.due(), Some(now + Duration::from_millis(550)));
        push(&mut buffer, &line, now);
        assert_eq!(buffer.due(), Some(now), "450 KiB of 500");
    }

    #[test]
    fn what_does_not_fit_or_is_no_text_is_counted() {
        let now = Instant::now();
        let mut buffer = LogBuffer::default();
        for _ in 0..503 {
            push(&mut buffer, &[b'x'; 2000], now);
        }
        push(&mut buffer, b"\xff", now);
        push(&mut buffer, b"\x1b[0m", now);
        push(&mut buffer, b"a\r\n", now);
        assert_eq!(buffer.dropped(), LogDrops { full: 3, not_utf8: 1, control_character: 2 });
        assert_eq!(buffer.dropped().total(), 6);
        assert_eq!(buffer.flush().len(), 500);
        push(&mut buffer, b"there is room again", now);
        assert_eq!(buffer.flush().len(), 1);
    }

    #[test]
    fn a_message_without_text_costs_what_holds_it() {
        let now = Instant::now();
        let mut buffer = LogBuffer::default();
        for _ in 0..CAPACITY {
            push(&mut buffer, b"", now);
        }
        let taken = buffer.flush().len();
        assert!(taken * size_of::<LogEvent>() <= CAPACITY, "{taken} messages");
        assert_eq!(buffer.dropped().full, (CAPACITY - taken) as u64);
    }
}
