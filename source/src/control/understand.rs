//! From a record of the control topic to a command, or to what is wrong with it. Pure and total.

use serde::Deserialize as _;
use serde_json::Value;
use tickpanda_model::control::{Command, Envelope, History};

use crate::settings::parse;

/// Largest command, in bytes: more than a thousand subs.
pub const MAX_COMMAND: usize = 64 * 1024;
/// Most subs in one command.
const MAX_SUBS: usize = 1000;
/// Longest id of a command, in characters: it is repeated in every reply.
const MAX_ID: usize = 200;
/// Longest of the vendor's symbols that is passed on.
const MAX_SYMBOL: usize = 64;
/// Most intervals that the vendor makes one candle of.
const MAX_AGGREGATE: u32 = 30;

/// What a record is to this source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Understood {
    /// It is for another source.
    ForAnother,
    /// It is to be answered with an error.
    Bad {
        /// Its id, where it has one.
        id: Option<String>,
        /// Its action, as far as it can be read.
        action: String,
        /// What is wrong.
        why: String,
    },
    /// It is to be executed.
    Command {
        /// Its id, where it has one.
        id: Option<String>,
        /// What is asked.
        command: Command,
    },
}

/// Understands a record's value, as the source with this name.
pub fn understand(value: Option<&[u8]>, me: &str) -> Understood {
    let nameless =
        |why: String| Understood::Bad { id: None, action: "?".into(), why: said(&why, 300) };
    let Some(bytes) = value else {
        return nameless("a command has a value, and this has none".into());
    };
    if bytes.len() > MAX_COMMAND {
        let size = bytes.len();
        return nameless(format!("{size} bytes, and a command has at most {MAX_COMMAND}"));
    }
    let fields = match serde_json::from_slice::<Value>(bytes) {
        Ok(fields @ Value::Object(_)) => fields,
        Ok(_) => return nameless("a command is a JSON object".into()),
        Err(error) => return nameless(format!("not JSON: {error}")),
    };
    match fields.get("source") {
        Some(Value::String(source)) if source != me => return Understood::ForAnother,
        _ => {}
    }
    let text = |name: &str, most| match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(said(text, most)),
        Some(other) => Some(said(&other.to_string(), most)),
    };
    let (id, action) = (text("id", MAX_ID), text("action", 50).unwrap_or_else(|| "?".into()));
    let bad = |why: String| Understood::Bad {
        id: id.clone(),
        action: action.clone(),
        why: said(&why, 300),
    };
    if fields.get("id").is_some_and(|given| !given.is_null() && given.as_str() != id.as_deref()) {
        return bad(format!("an id is text of at most {MAX_ID} characters in one line"));
    }
    if !fields.get("action").is_some_and(Value::is_string) {
        // serde would take a number, too.
        return bad("a command has an action, as text".into());
    }
    match Envelope::deserialize(&fields) {
        Err(error) => bad(error.to_string()),
        Ok(envelope) => match check(&envelope.command) {
            Err(why) => bad(why),
            Ok(()) => Understood::Command { id, command: envelope.command },
        },
    }
}

/// What can be told without knowing the source.
fn check(command: &Command) -> Result<(), String> {
    match command {
        Command::Retry => Ok(()),
        Command::CreateTopic { topic_name } => parse::topic(topic_name).map(drop),
        Command::Subscribe { subs, topic } | Command::Unsubscribe { subs, topic } => {
            if subs.is_empty() || subs.len() > MAX_SUBS {
                return Err(format!("{} subs, and there must be 1 to {MAX_SUBS}", subs.len()));
            }
            for sub in subs {
                if parse::sub(sub)? != *sub {
                    return Err(format!("{sub:?} has white space around it"));
                }
            }
            topic.as_deref().map_or(Ok(()), |topic| parse::topic(topic).map(drop))
        }
        Command::FetchHistoricalData(history) => check_history(history),
    }
}

/// Whether a history is one that can be asked for.
///
/// # Errors
/// In words, what is wrong with it.
pub fn check_history(history: &History) -> Result<(), String> {
    for (name, symbol) in [("fsym", &history.fsym), ("tsym", &history.tsym), ("e", &history.e)] {
        let wrong = |c: char| c.is_whitespace() || c.is_control() || "~*,".contains(c);
        if symbol.is_empty() || symbol.chars().count() > MAX_SYMBOL || symbol.contains(wrong) {
            return Err(format!(
                "{name} is 1 to {MAX_SYMBOL} characters without blanks, ~, * and comma"
            ));
        }
    }
    if history.aggregate.is_some_and(|n| !(1..=MAX_AGGREGATE).contains(&n)) {
        return Err(format!("aggregate is 1 to {MAX_AGGREGATE}"));
    }
    if history.limit == Some(0) {
        return Err("limit is at least 1".into());
    }
    if [history.from, history.to].into_iter().flatten().any(|seconds| seconds < 0) {
        return Err("from and to are seconds since the epoch".into());
    }
    if matches!((history.from, history.to), (Some(from), Some(to)) if from > to) {
        return Err("from is after to".into());
    }
    Ok(())
}

/// Somebody's text, fit for one line: without control characters, and no longer than this.
pub(super) fn said(text: &str, most: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(most).collect()
}
