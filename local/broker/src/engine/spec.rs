//! What a transform is: its module, its topics, its environment, where it starts.

use std::collections::BTreeSet;

use tickpanda_host::MAX_OUTPUT_TOPICS;

use super::refusal::Refusal;
use crate::error::BrokerError;

/// Not to be read by a transform.
const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Not to be written by one: groups' offsets, the audit log and the registry's schemas.
const NO_OUTPUT: [&str; 3] = [CONSUMER_OFFSETS, "_redpanda.audit_log", "_schemas"];

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
    fn refuse<T>(&self, refusal: Refusal, what: &str) -> Result<T, BrokerError> {
        Err(BrokerError::InvalidTransform {
            name: self.name.clone(),
            refusal,
            what: what.to_owned(),
        })
    }

    /// The broker's rules for a new transform's name and topics.
    pub(super) fn check_new(&self) -> Result<(), BrokerError> {
        let refuse = |what| self.refuse(Refusal::Configuration, what);
        if self.name.is_empty() || self.name.len() > 128 || has_control(&self.name) {
            return refuse("its name must have 1 to 128 bytes and no control characters");
        }
        let outputs: BTreeSet<_> = self.output_topics.iter().collect();
        if !(1..=MAX_OUTPUT_TOPICS).contains(&self.output_topics.len())
            || outputs.len() != self.output_topics.len()
        {
            return refuse("it must have 1 to 8 different output topics");
        }
        if outputs.contains(&self.input_topic) {
            return refuse("its input topic must not be an output topic");
        }
        if self.input_topic == CONSUMER_OFFSETS {
            return refuse("its input topic is the broker's own");
        }
        if let Some(own) = NO_OUTPUT.into_iter().find(|own| outputs.contains(&(*own).to_owned())) {
            return refuse(&format!("{own} is the broker's own, no transform writes to it"));
        }
        Ok(())
    }

    /// The broker's rules for environments.
    pub(super) fn check_env(&self) -> Result<(), BrokerError> {
        check_env(&self.env).or_else(|what| self.refuse(Refusal::Environment, what))
    }
}

/// The broker's rules for environments; what is broken of them.
pub(super) fn check_env(env: &[(String, String)]) -> Result<(), &'static str> {
    if env.len() > 128 {
        return Err("it has more than 128 environment variables");
    }
    for (key, value) in env {
        let bad_key = key.is_empty() || key.len() > 128 || has_control(key) || key.contains('=');
        if bad_key || key.starts_with("REDPANDA_") {
            return Err(
                "an environment variable's name must have 1 to 128 bytes, no '=' and no control characters, and not begin with REDPANDA_",
            );
        }
        if value.is_empty() || value.len() > 2048 || has_control(value) {
            return Err(
                "an environment variable's value must have 1 to 2048 bytes and no control characters",
            );
        }
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_control())
}
