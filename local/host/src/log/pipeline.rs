//! A transform's messages from its VM's thread to wherever its host prints them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use super::{LogBuffer, LogDrop, LogDrops, LogEvent, LogLevel, LogLine};
use crate::processor::chance;

/// What is done with messages that go out together, and with the news of one that never will.
type Print = Box<dyn Fn(Result<&[LogEvent], LogDrop>) + Send + Sync>;

/// A [`LogBuffer`] that a VM's thread and its host share.
///
/// ```text
///  fd_write ─▶ take ─▶ LogBuffer ── 500 ms, or nearly full ──▶ print
/// ```
pub struct LogPipeline {
    transform: String,
    buffer: Mutex<LogBuffer>,
    print: Print,
}

impl LogPipeline {
    /// For one transform; `print` is called by whoever flushes.
    pub fn new(
        transform: impl Into<String>,
        print: impl Fn(Result<&LogEvent, LogDrop>) + Send + Sync + 'static,
    ) -> Self {
        Self::gathered(transform, move |events| match events {
            Ok(events) => events.iter().for_each(|event| print(Ok(event))),
            Err(dropped) => print(Err(dropped)),
        })
    }

    /// The same, with messages that go out together handed over together.
    pub fn gathered(
        transform: impl Into<String>,
        print: impl Fn(Result<&[LogEvent], LogDrop>) + Send + Sync + 'static,
    ) -> Self {
        let (transform, print) = (transform.into(), Box::new(print));
        Self { transform, buffer: Mutex::default(), print }
    }

    /// For one transform; messages become events of `tracing` with the target `transform`, and a
    /// message that Redpanda would drop one of level debug that says why.
    pub fn traced(transform: &str) -> Self {
        Self::traced_and(transform, |_| {})
    }

    /// As [`LogPipeline::traced`], and `keep` gets what goes out together too, before the next goes out.
    pub fn traced_and(transform: &str, keep: impl Fn(&[LogEvent]) + Send + Sync + 'static) -> Self {
        let name = transform.to_owned();
        Self::gathered(transform, move |events| match events {
            Ok(events) => {
                events.iter().for_each(|event| trace(&name, event));
                keep(events);
            }
            Err(dropped) => {
                let transform = &name;
                tracing::debug!(target: "transform", transform, "a message that Redpanda would drop: {dropped}");
            }
        })
    }

    fn buffer(&self) -> MutexGuard<'_, LogBuffer> {
        // A message is taken in whole or not at all, whatever panics.
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message: for [`VmConfig::log`](crate::VmConfig::log). It flushes when that is due, so that a guest
    /// which prints without end is not dropped because its host waits for it.
    pub fn take(&self, line: LogLine<'_>) {
        if let Err(dropped) = line.text {
            (self.print)(Err(dropped));
        }
        let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let unix_nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let now = Instant::now();
        self.buffer().push(&self.transform, line, now, unix_nanos, chance());
        self.flush_if_due(now);
    }

    /// When the messages are to go out: the host's to see to.
    pub fn due(&self) -> Option<Instant> {
        self.buffer().due()
    }

    /// Prints the messages, if it is time.
    pub fn flush_if_due(&self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.flush();
        }
    }

    /// Prints the messages.
    pub fn flush(&self) {
        // Held while they are printed, so that they stay in order.
        let mut buffer = self.buffer();
        let events = buffer.flush();
        if !events.is_empty() {
            (self.print)(Ok(&events));
        }
    }

    /// Messages that nobody saw.
    pub fn dropped(&self) -> LogDrops {
        self.buffer().dropped()
    }
}

fn trace(transform: &str, event: &LogEvent) {
    let text = event.text.trim_end();
    match event.level {
        LogLevel::Info => tracing::info!(target: "transform", transform, "{text}"),
        LogLevel::Warn => tracing::warn!(target: "transform", transform, "{text}"),
    }
}

impl fmt::Debug for LogPipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogPipeline").field("transform", &self.transform).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::{LogLevel, admit};
    use super::*;

    #[test]
    fn messages_are_printed_in_order_and_a_full_buffer_is_let_go_by_the_guest_itself() {
        let printed = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&printed);
        let pipeline = LogPipeline::new("t", move |event| {
            to.lock().unwrap().push(event.map(|event| event.text.clone()));
        });
        let take = |text: &str| {
            pipeline.take(LogLine {
                level: LogLevel::Info,
                text: admit(text.as_bytes()),
                cut: false,
            });
        };
        (0..600).for_each(|n| take(&format!("{n:0>1024}")));
        take("\r");
        assert!(printed.lock().unwrap().len() > 400, "nobody flushed but the guest");
        pipeline.flush();
        let printed = printed.lock().unwrap();
        let texts: Vec<&String> = printed.iter().filter_map(|event| event.as_ref().ok()).collect();
        assert_eq!(texts.len(), 600);
        assert!(texts.is_sorted());
        assert_eq!((pipeline.dropped().total(), pipeline.due()), (1, None));
    }
}
