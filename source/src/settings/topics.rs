//! The topics beside the raw one, and what the source creates of them.

use clap::builder::FalseyValueParser;
use tickpanda_model::topic;

use super::parse;
use crate::error::SourceError;

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[allow(missing_docs)]
pub struct TopicArgs {
    /// Topic with operators' commands; created with one partition if it is missing
    #[arg(long, env = "CONTROL_TOPIC", hide_env_values = true, default_value = topic::CONTROL, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_topic: String,

    /// Topic for what became of each command; created as that one is
    #[arg(long, env = "CONTROL_REPLIES_TOPIC", hide_env_values = true, default_value = topic::CONTROL_REPLIES, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_replies_topic: String,

    /// Topic for known holes in the data; created as those are
    #[arg(long, env = "GAP_TOPIC", hide_env_values = true, default_value = topic::GAPS, value_parser = parse::topic, value_name = "TOPIC")]
    pub gap_topic: String,

    /// Copies of each topic that this source creates; -1: the cluster's default
    #[arg(long, env = "TICKPANDA_REPLICATION_FACTOR", hide_env_values = true, default_value_t = -1, allow_negative_numbers = true, value_parser = replicas, value_name = "N")]
    pub replication_factor: i16,

    /// Take no commands: the control topic is neither read nor created
    #[arg(long, env = "TICKPANDA_NO_CONTROL", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub no_control: bool,
}

fn replicas(text: &str) -> Result<i16, &'static str> {
    match text.parse() {
        Ok(n @ (-1 | 1..=99)) => Ok(n),
        _ => Err("it is -1 for the cluster's default, or 1 to 99"),
    }
}

/// Checked names, all of them different from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics {
    /// Operators' commands.
    pub control: String,
    /// What became of them.
    pub replies: String,
    /// Known holes in the data.
    pub gaps: String,
    /// Copies of a topic that is created; −1: the cluster's default.
    pub replication_factor: i16,
}

impl Topics {
    /// Topics that are not for raw records: a command can't have subs published to one of them.
    pub fn reserved(&self) -> Vec<String> {
        let ours = [&self.control, &self.replies, &self.gaps].map(String::clone);
        ours.into_iter().chain(topic::OUTPUTS.map(str::to_owned)).collect()
    }
}

impl TopicArgs {
    pub(super) fn check(self, raw: &str) -> Result<Topics, SourceError> {
        let names = [
            ("--raw-topic", raw),
            ("--control-topic", &self.control_topic),
            ("--control-replies-topic", &self.control_replies_topic),
            ("--gap-topic", &self.gap_topic),
        ];
        for (at, (name, topic)) in names.iter().enumerate() {
            if let Some((other, _)) = names[..at].iter().find(|(_, earlier)| earlier == topic) {
                let problem = format!("{topic} is {other} already");
                return Err(SourceError::Setting { name, problem });
            }
        }
        Ok(Topics {
            control: self.control_topic,
            replies: self.control_replies_topic,
            gaps: self.gap_topic,
            replication_factor: self.replication_factor,
        })
    }
}
