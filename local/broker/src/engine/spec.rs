//! What a transform is: its module, its topics, its environment, where it starts.

use std::collections::BTreeSet;

use crate::error::BrokerError;

/// A transform to deploy.
#[derive(Debug, Clone)]
pub struct TransformSpec {
    /// 1 to 128 bytes without control characters. Progress is kept under this name.
    pub name: String,
    /// The WebAssembly module, as `rpk transform build` makes it.
    pub wasm: Vec<u8>,
    /// Where records come from; must exist.
    pub input_topic: String,
    /// Where they go, 1 to 8; must exist. The first is the default.
    pub output_topics: Vec<String>,
    /// Environment of the guest, besides `REDPANDA_INPUT_TOPIC` and `REDPANDA_OUTPUT_TOPIC_<n>`.
    pub env: Vec<(String, String)>,
    /// Where it starts on a topic that it has not worked on before.
    pub start: StartFrom,
}

/// Where a transform without progress starts.
pub use tickpanda_host::processor::StartPosition as StartFrom;
/// When the engine does things: as the broker, or promptly, which is the default.
pub use tickpanda_host::processor::Timing as TransformTiming;

impl TransformSpec {
    /// The broker's rules for names, topics and environment.
    pub(super) fn check(&self) -> Result<(), BrokerError> {
        let refuse = |what: &str| {
            Err(BrokerError::InvalidTransform { name: self.name.clone(), what: what.to_owned() })
        };
        let control = |text: &str| text.chars().any(|c| c.is_ascii_control());
        if self.name.is_empty() || self.name.len() > 128 || control(&self.name) {
            return refuse("its name must have 1 to 128 bytes and no control characters");
        }
        let outputs: BTreeSet<_> = self.output_topics.iter().collect();
        if !(1..=8).contains(&self.output_topics.len()) || outputs.len() != self.output_topics.len()
        {
            return refuse("it must have 1 to 8 different output topics");
        }
        if outputs.contains(&self.input_topic) {
            return refuse("its input topic must not be an output topic");
        }
        if self.env.len() > 128 {
            return refuse("it has more than 128 environment variables");
        }
        for (key, value) in &self.env {
            let bad_key = key.is_empty() || key.len() > 128 || control(key) || key.contains('=');
            if bad_key || key.starts_with("REDPANDA_") {
                return refuse(
                    "an environment variable's name must have 1 to 128 bytes, no '=' and no control characters, and not begin with REDPANDA_",
                );
            }
            if value.is_empty() || value.len() > 2048 || control(value) {
                return refuse(
                    "an environment variable's value must have 1 to 2048 bytes and no control characters",
                );
            }
        }
        Ok(())
    }
}
