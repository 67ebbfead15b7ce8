//! Operators' commands: read from the control topic, executed once each, answered on the replies topic.
//!
//! ```text
//!  control topic ─▶ reader ─▶ commands ─▶ state.json ─┬▶ replies ─▶ spool ─▶ replies topic
//!                                ▲                     └▶ effects ─▶ sockets, history, topics
//!                                └────────── events: what became of them ◀──┘
//! ```
//!
//! **Once.** The place in the topic, what a command changes, and the reply it is owed are one value
//! ([`Kept`]), saved in one atomic write *before* anything is done. A crash before that write leaves the
//! command unread, a crash after it leaves work that is taken up again under its ticket. So a reply may
//! come twice, a command never runs twice.
//!
//! | module | what it holds |
//! |---|---|
//! | [`commands`] | a command in, effects and replies out (pure) |
//! | [`kept`] | what outlives the process |
//! | [`subs`] | the settings' subs and what operators changed (pure) |
//! | [`place`] | where to read on, in whichever topic is found (pure) |
//! | [`understand`] | bytes to a command, or what is wrong with them (pure) |
//! | [`reader`] | reading the topic, whatever happens to it |
//! | [`kafka`] | the topic on a cluster |
//! | [`task`] | all of it together |
//!
//! **Must never** hold up or end the streaming: it waits for nobody who streams, and nothing that is
//! wrong with its topics is an error of the source.

pub mod commands;
pub mod kafka;
pub mod kept;
pub mod place;
pub mod reader;
pub mod subs;
pub mod task;
pub mod understand;

pub use commands::{Base, Commands, Effect, Event, Verdict};
pub use kafka::KafkaLog;
pub use kept::{Kept, Ticket};
pub use subs::Routes;
pub use task::{Handle, Task};

#[cfg(test)]
mod tests;
