//! What a VM is started with, and the broker's rules for it.

use std::collections::HashSet;

use crate::{HostError, LogLine, state::LogSink};

/// A transform has at least one output topic and at most this many.
pub const MAX_OUTPUT_TOPICS: usize = 8;

const MAX_NAME_BYTES: usize = 128;
const MAX_ENV: usize = 128;
const MAX_ENV_KEY_BYTES: usize = 128;
const MAX_ENV_VALUE_BYTES: usize = 2048;
const RESERVED_PREFIX: &str = "REDPANDA_";

/// What a VM may use. The defaults are the broker's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory, 2 MiB (`data_transforms_per_function_memory_limit`). Growing beyond
    /// it fails, which is not a trap; starting above it is.
    pub memory: usize,
    /// Fuel for the start up to the first record, then for each record: 6·10⁹
    /// (`data_transforms_runtime_limit_ms`, 3,000 ms at 2,000,000 units). An instruction costs one unit.
    pub fuel: u64,
    /// Bytes that [`Outputs`](crate::Outputs) may hold, 256 MiB; what exceeds them is a trap. This limit is the
    /// host's own: in the broker a guest waits until earlier output has gone out.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory: 2 << 20, fuel: 3_000 * 2_000_000, output_bytes: 256 << 20 }
    }
}

/// What the broker knows of a transform besides its Wasm.
pub struct VmConfig {
    /// The transform's name: its `argv[0]`.
    pub name: String,
    /// Told to the guest as `REDPANDA_INPUT_TOPIC`.
    pub input_topic: String,
    /// Told to the guest as `REDPANDA_OUTPUT_TOPIC_0`…; the first is where records go by default.
    pub output_topics: Vec<String>,
    /// Further environment variables of the guest. In the broker their order is arbitrary.
    pub env: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Called on the VM's thread with each message that the guest prints.
    pub log: LogSink,
}

impl VmConfig {
    /// The broker's default limits, no further environment, and messages to nowhere.
    pub fn new<T: Into<String>>(
        name: impl Into<String>,
        input_topic: impl Into<String>,
        output_topics: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            name: name.into(),
            input_topic: input_topic.into(),
            output_topics: output_topics.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            limits: Limits::default(),
            log: Box::new(|_| {}),
        }
    }

    /// The same with this done for each message.
    #[must_use]
    pub fn log(mut self, log: impl FnMut(LogLine<'_>) + Send + 'static) -> Self {
        self.log = Box::new(log);
        self
    }

    /// The same, for another VM, with this done for each message.
    pub(crate) fn again(&self, log: impl FnMut(LogLine<'_>) + Send + 'static) -> Self {
        Self {
            name: self.name.clone(),
            input_topic: self.input_topic.clone(),
            output_topics: self.output_topics.clone(),
            env: self.env.clone(),
            limits: self.limits,
            log: Box::new(log),
        }
    }

    /// The rules by which the broker takes or refuses a deploy.
    pub(crate) fn check(&self) -> Result<(), HostError> {
        let refuse = |reason: String| {
            Err(HostError::Config { transform: self.name.escape_debug().to_string(), reason })
        };
        if !(1..=MAX_NAME_BYTES).contains(&self.name.len()) || has_control(&self.name) {
            return refuse(format!(
                "its name needs 1 to {MAX_NAME_BYTES} bytes without control characters"
            ));
        }
        let count = self.output_topics.len();
        if !(1..=MAX_OUTPUT_TOPICS).contains(&count) {
            return refuse(format!(
                "it has {count} output topics, the broker takes 1 to {MAX_OUTPUT_TOPICS}"
            ));
        }
        let distinct: HashSet<_> = self.output_topics.iter().collect();
        if distinct.len() != count {
            return refuse("an output topic is named twice".into());
        }
        if distinct.contains(&self.input_topic) {
            return refuse(format!("its input topic {} is also an output topic", self.input_topic));
        }
        if self.env.len() > MAX_ENV {
            return refuse(format!(
                "it has {} environment variables, the broker takes {MAX_ENV}",
                self.env.len()
            ));
        }
        for (key, value) in &self.env {
            if let Err(rule) = check_env(key, value) {
                // The value may be a secret.
                return refuse(format!("environment variable {key:?}: {rule}"));
            }
        }
        Ok(())
    }

    /// `KEY=VALUE` each, the user's and the topics.
    pub(crate) fn environment(&self) -> Vec<String> {
        let user = self.env.iter().map(|(key, value)| format!("{key}={value}"));
        let input = [format!("REDPANDA_INPUT_TOPIC={}", self.input_topic)];
        let outputs = self.output_topics.iter().enumerate();
        let outputs = outputs.map(|(n, topic)| format!("REDPANDA_OUTPUT_TOPIC_{n}={topic}"));
        user.chain(input).chain(outputs).collect()
    }
}

fn check_env(key: &str, value: &str) -> Result<(), String> {
    if !(1..=MAX_ENV_KEY_BYTES).contains(&key.len()) {
        return Err(format!(
            "its name has {} bytes, the broker takes 1 to {MAX_ENV_KEY_BYTES}",
            key.len()
        ));
    }
    if !(1..=MAX_ENV_VALUE_BYTES).contains(&value.len()) {
        return Err(format!(
            "its value has {} bytes, the broker takes 1 to {MAX_ENV_VALUE_BYTES}",
            value.len()
        ));
    }
    if has_control(key) || has_control(value) {
        return Err("it has a control character (a newline or tab is one)".into());
    }
    if key.contains('=') {
        return Err("its name has a =".into());
    }
    if key.starts_with(RESERVED_PREFIX) {
        return Err(format!("names that begin with {RESERVED_PREFIX} are the broker's own"));
    }
    Ok(())
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_control())
}
