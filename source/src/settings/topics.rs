//! The topics beside the raw one, and what the source creates of them.

use clap::builder::FalseyValueParser;
use tickpanda_kafka::settings::PrefixSettings;
use tickpanda_model::topic;

use super::parse;
use crate::error::SourceError;

// No doc comment: clap would show it as the whole program's description.
#[derive(Clone, Debug, clap::Args)]
#[allow(missing_docs)]
pub struct TopicArgs {
    /// Topic with operators' commands; created with one partition if it is missing [default: the prefix
    /// and control-topic]
    #[arg(long, env = "CONTROL_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_topic: Option<String>,

    /// Topic for what became of each command; created as that one is [default: the prefix and
    /// control-replies]
    #[arg(long, env = "CONTROL_REPLIES_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub control_replies_topic: Option<String>,

    /// Topic for known holes in the data; created as those are [default: the prefix and gap-events]
    #[arg(long, env = "GAP_TOPIC", hide_env_values = true, value_parser = parse::topic, value_name = "TOPIC")]
    pub gap_topic: Option<String>,

    /// Copies of each topic that this source creates; -1: the cluster's default
    #[arg(long, env = "TICKPANDA_REPLICAS", hide_env_values = true, default_value_t = -1, allow_negative_numbers = true, value_parser = replicas, value_name = "N")]
    pub replicas: i16,

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
    /// The transform's outputs, by which nothing else may be called.
    pub outputs: [String; 3],
    /// Copies of a topic that is created; −1: the cluster's default.
    pub replicas: i16,
}

impl Topics {
    /// Topics that are not for raw records: a command can't have subs published to one of them.
    pub fn reserved(&self) -> Vec<String> {
        let ours = [&self.control, &self.replies, &self.gaps].map(String::clone);
        ours.into_iter().chain(self.outputs.clone()).collect()
    }
}

impl TopicArgs {
    pub(super) fn check(self, prefix: &PrefixSettings, raw: &str) -> Result<Topics, SourceError> {
        let control = prefix.name(self.control_topic.as_ref(), topic::CONTROL);
        let replies = prefix.name(self.control_replies_topic.as_ref(), topic::CONTROL_REPLIES);
        let gaps = prefix.name(self.gap_topic.as_ref(), topic::GAPS);
        let names = [
            ("--raw-topic", raw),
            ("--control-topic", &control),
            ("--control-replies-topic", &replies),
            ("--gap-topic", &gaps),
        ];
        for (at, (name, topic)) in names.iter().enumerate() {
            if let Some((other, _)) = names[..at].iter().find(|(_, earlier)| earlier == topic) {
                let problem = format!("{topic} is {other} already");
                return Err(SourceError::Setting { name, problem });
            }
        }
        Ok(Topics {
            control,
            replies,
            gaps,
            outputs: topic::OUTPUTS.map(|output| prefix.name(None, output)),
            replicas: self.replicas,
        })
    }
}
