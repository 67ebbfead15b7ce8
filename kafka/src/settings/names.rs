//! Topics' names, and what they begin with.

/// Longest name of a topic.
pub(super) const MAX_TOPIC: usize = 249;
/// What a prefix leaves for the name itself.
const MAX_PREFIX: usize = 200;

fn legal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// A topic's name.
///
/// # Errors
/// In words, what it is not.
pub fn topic(text: &str) -> Result<String, String> {
    let wrong = text.is_empty() || text.len() > MAX_TOPIC || !legal(text);
    if wrong || [".", ".."].contains(&text) {
        return Err("a topic is 1 to 249 of the characters A-Z a-z 0-9 . _ -".into());
    }
    Ok(text.to_owned())
}

fn prefix(text: &str) -> Result<String, String> {
    if text.len() > MAX_PREFIX || !legal(text) {
        return Err("a prefix is up to 200 of the characters A-Z a-z 0-9 . _ -".into());
    }
    Ok(text.to_owned())
}

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, Default, clap::Args)]
#[allow(missing_docs)]
pub struct PrefixSettings {
    /// What the names of topics begin with that are not given by name, such as `staging.`: several
    /// pipelines can share a cluster. All programs of a pipeline, and rpk/deploy.sh, need the same
    #[arg(long, env = "TICKPANDA_TOPIC_PREFIX", hide_env_values = true, default_value = "", value_parser = prefix, value_name = "TEXT")]
    pub topic_prefix: String,
}

impl PrefixSettings {
    /// A topic's name: as given, else the prefix and the default.
    pub fn name(&self, given: Option<&String>, default: &str) -> String {
        given.cloned().unwrap_or_else(|| format!("{}{default}", self.topic_prefix))
    }
}
