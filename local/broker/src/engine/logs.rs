//! What a guest prints, in the broker's log by Redpanda's rules.

use tickpanda_host::{LogLevel, LogPipeline};

/// The messages of one transform. Its thread is what a core is in Redpanda: it has a buffer of its own.
pub(super) fn pipeline(transform: &str) -> LogPipeline {
    let name = transform.to_owned();
    LogPipeline::new(transform, move |event| match event {
        Ok(event) => {
            let (transform, text) = (&name, event.text.trim_end());
            match event.level {
                LogLevel::Info => tracing::info!(target: "transform", transform, "{text}"),
                LogLevel::Warn => tracing::warn!(target: "transform", transform, "{text}"),
            }
        }
        Err(dropped) => {
            let transform = &name;
            tracing::debug!(target: "transform", transform, "a message that Redpanda would drop: {dropped}");
        }
    })
}
