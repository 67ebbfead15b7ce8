//! Which answers belong to a command, and when it has been answered. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use tickpanda_model::control::{Reply, Status};

/// Sources whose answers are kept apart.
const MAX_SOURCES: usize = 1000;

/// What is known of a command's answers.
#[derive(Clone, Debug)]
pub struct Waiting {
    id: String,
    /// Only one source is asked.
    only_one: bool,
    /// Each source's last word.
    last: BTreeMap<String, Status>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every source that answered has done it.
    Ok,
    /// One of them has not.
    Error,
    /// Nobody answered.
    Silence,
    /// These have taken it on and have not said what became of it.
    Unfinished(Vec<String>),
}

impl Waiting {
    /// For the command with this id; `only_one` source is asked.
    pub fn new(id: String, only_one: bool) -> Self {
        Waiting { id, only_one, last: BTreeMap::new() }
    }

    /// The reply in a record's value, if it is one to this command and is news: after a crash a source
    /// may say the same again.
    pub fn take(&mut self, value: &[u8]) -> Option<Reply> {
        let reply: Reply = serde_json::from_slice(value).ok()?;
        if reply.id.as_ref() != Some(&self.id) || self.last.len() >= MAX_SOURCES {
            return None;
        }
        match self.last.get(&reply.source) {
            Some(Status::Ok | Status::Error) => return None,
            Some(Status::Accepted) if reply.status == Status::Accepted => return None,
            _ => {}
        }
        self.last.insert(reply.source.clone(), reply.status);
        Some(reply)
    }

    /// Whether every source that has said a word has said its last.
    pub fn is_answered(&self) -> bool {
        !self.last.is_empty() && self.last.values().all(|status| *status != Status::Accepted)
    }

    /// Whether no further answer can come.
    pub fn is_over(&self) -> bool {
        self.only_one && self.is_answered()
    }

    /// What became of it, if nothing more comes.
    pub fn outcome(&self) -> Outcome {
        if self.last.is_empty() {
            return Outcome::Silence;
        }
        if self.last.values().any(|status| *status == Status::Error) {
            return Outcome::Error;
        }
        let unfinished = self.last.iter().filter(|(_, status)| **status == Status::Accepted);
        let unfinished: Vec<_> = unfinished.map(|(source, _)| source.clone()).collect();
        if unfinished.is_empty() { Outcome::Ok } else { Outcome::Unfinished(unfinished) }
    }
}

impl Outcome {
    /// Exit code of the program: 0 done, 1 not done, 6 not (fully) answered in time.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Error => 1,
            Self::Silence | Self::Unfinished(_) => 6,
        }
    }

    /// What the answers that were printed do not say.
    pub fn said(&self, waited: Duration) -> Option<String> {
        let waited = humantime::format_duration(waited);
        match self {
            Self::Ok | Self::Error => None,
            Self::Silence => Some(format!(
                "no source has answered within {waited}: is one running on these brokers, with this control topic, and is it named as --to-source says?"
            )),
            Self::Unfinished(sources) => {
                let sources = sources.join(", ");
                Some(format!("not done within {waited}, and still under way: {sources}"))
            }
        }
    }
}

/// A reply for people.
pub(super) fn line(reply: &Reply) -> String {
    let Reply { source, action, status, detail, .. } = reply;
    format!("{source}: {action} {}: {detail}", status.as_str())
}
