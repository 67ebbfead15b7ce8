//! What must outlive the process, as one value in one file (`state.json` in the state folder).

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};
use tickpanda_model::control::{History, Reply};

use super::place::Places;
use super::subs::SubChanges;

/// Name of the file in the state folder.
pub const FILE: &str = "state.json";

/// Names the work of one command: unlike any other that this state folder has seen, also before a
/// restart.
pub type Ticket = u64;

/// See the module. Made from nothing, it is that of a source that has never run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kept {
    /// Where to read on.
    pub places: Places,
    /// The next ticket.
    pub next_ticket: Ticket,
    /// What operators changed about the subs.
    pub subs: SubChanges,
    /// Commands that were taken on and are not done.
    pub pending: Vec<Pending>,
    /// Replies that are not handed over yet.
    pub replies: VecDeque<Reply>,
}

/// A command that was taken on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Names the work.
    pub ticket: Ticket,
    /// The command's id, for its reply.
    pub id: Option<String>,
    /// Since when, milliseconds since the epoch.
    pub since: i64,
    /// What is under way.
    pub work: Work,
}

/// What is under way for a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Work {
    /// Candles are being fetched.
    Fetch(History),
    /// A topic is being created.
    CreateTopic(String),
    /// A topic is being created, to which these subs are to be published.
    Prepare {
        /// The subs.
        subs: Vec<String>,
        /// The topic.
        topic: String,
    },
    /// The vendor is being asked.
    Subscribe {
        /// The raw topic that is to get them, if another than the source's own.
        topic: Option<String>,
        /// What is known of that topic.
        about_topic: String,
        /// All subs of the command.
        subs: Vec<String>,
        /// Those that the vendor has not spoken of yet.
        left: BTreeSet<String>,
        /// Those that it has refused, each with its words.
        refused: Vec<String>,
    },
}

impl Work {
    /// The command's action.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Fetch(_) => "FETCH_HISTORICAL_DATA",
            Self::CreateTopic(_) => "CREATE_TOPIC",
            Self::Prepare { .. } | Self::Subscribe { .. } => "SUBSCRIBE",
        }
    }
}
