//! The producer as a state machine, pure: `step(state, event, moment) -> (state, effects)`. It does
//! no I/O, reads no clock and draws no random number; whoever drives it ([`crate::driver`]) executes
//! the effects and brings back what became of them as further events.
//!
//! One line of states, as it was first designed, loses the trades that arrive while history is
//! fetched. So there are regions beside each other, each in one of the original states:
//!
//! ```text
//!  streaming (one a socket)   idle ──────────▶ publishingMessage ──▶ error ──▶ idle
//!  history                    idle ──▶ fetchingHistoricalData ──▶ publishingHistoricalData ──▶ idle
//!                                                └──▶ error ──▶ fetchingHistoricalData
//!  topics                     idle ──▶ creatingTopic ──▶ idle
//!                                                └──▶ error ──▶ creatingTopic
//! ```
//!
//! | original event | here |
//! |---|---|
//! | `PUBLISH_MESSAGE` | [`streaming::Event::PublishMessage`] |
//! | `FETCH_HISTORICAL_DATA` | [`history::Event::FetchHistoricalData`] |
//! | `CREATE_DYNAMIC_TOPIC` | [`topics::Event::CreateDynamicTopic`] |
//! | `RETRY` | [`Event::Retry`], for all regions |
//!
//! What must hold in every state, and the test that holds it:
//!
//! | invariant | test |
//! |---|---|
//! | a frame that arrives is published, whatever the state | `no_event_sequence_loses_a_frame` |
//! | every `error` has a way out that needs nobody | `every_error_has_a_way_out_that_needs_nobody` |
//! | who waits, waits for a moment ([`State::wake`]) or for I/O that has a time limit | `every_pause_is_followed_by_a_live_recovery_mechanism` |

use std::fmt;

pub mod history;
pub mod streaming;
pub mod topics;

/// When an event happens, and a random number for it: both come from outside.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moment {
    /// Milliseconds since the epoch, by a clock that never goes back.
    pub ms: i64,
    /// From 0 to 1, decides jitter.
    pub roll: f64,
}

/// A state's name, as the original design gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Name {
    /// Nothing to do, or not begun yet.
    Idle,
    /// A REST request is under way.
    FetchingHistoricalData,
    /// A REST body is being handed to the spool.
    PublishingHistoricalData,
    /// A socket is open; its frames are published.
    PublishingMessage,
    /// A topic is being created.
    CreatingTopic,
    /// Something failed; it is tried again by itself, at once on `RETRY`.
    Error,
}

impl Name {
    /// All of them, for metrics that show each.
    pub const ALL: [Self; 6] = [
        Self::Idle,
        Self::FetchingHistoricalData,
        Self::PublishingHistoricalData,
        Self::PublishingMessage,
        Self::CreatingTopic,
        Self::Error,
    ];

    /// The name that users know.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::FetchingHistoricalData => "fetchingHistoricalData",
            Self::PublishingHistoricalData => "publishingHistoricalData",
            Self::PublishingMessage => "publishingMessage",
            Self::CreatingTopic => "creatingTopic",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a region shows of itself on `/state`, in the metrics and in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The state it is in.
    pub name: Name,
    /// Since when, milliseconds since the epoch.
    pub since: i64,
    /// For people: on what, or why.
    pub detail: String,
}

/// How loud something is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// What has been said already, in the same series of failures.
    Debug,
    /// All is well.
    Info,
    /// Something is not as asked for; it goes on.
    Warn,
}

/// The whole source: its regions side by side.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// One for each socket.
    pub streaming: Vec<streaming::Region>,
    /// REST.
    pub history: history::Region,
    /// Creating topics.
    pub topics: topics::Region,
}

/// What happens to the source.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// To the socket with this number. To one that is not there: nothing.
    Streaming(usize, streaming::Event),
    /// To the history.
    History(history::Event),
    /// To the topics.
    Topics(topics::Event),
    /// `RETRY`: whoever is in `error` tries at once, as far as the vendor's rules let it.
    Retry,
    /// A moment that somebody waited for ([`State::wake`]) may have come.
    Tick,
}

/// What the source has to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// On the socket with this number.
    Streaming(usize, streaming::Effect),
    /// For the history.
    History(history::Effect),
    /// For the topics.
    Topics(topics::Effect),
}

/// One step: the state after the event, and what has to be done, in this order.
#[must_use]
pub fn step(mut state: State, event: Event, at: Moment) -> (State, Vec<Effect>) {
    let effects = state.step(event, at);
    (state, effects)
}

impl State {
    /// As [`step`], in place: for who keeps the state behind a lock.
    pub fn step(&mut self, event: Event, at: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Streaming(socket, event) => {
                if let Some(region) = self.streaming.get_mut(socket) {
                    let done = region.step(event, at).into_iter();
                    effects.extend(done.map(|effect| Effect::Streaming(socket, effect)));
                }
            }
            Event::History(event) => {
                effects.extend(self.history.step(event, at).into_iter().map(Effect::History));
            }
            Event::Topics(event) => {
                effects.extend(self.topics.step(event, at).into_iter().map(Effect::Topics));
            }
            Event::Retry => {
                for (socket, region) in self.streaming.iter_mut().enumerate() {
                    let done = region.step(streaming::Event::Retry, at).into_iter();
                    effects.extend(done.map(|effect| Effect::Streaming(socket, effect)));
                }
                let done = self.history.step(history::Event::Retry, at);
                effects.extend(done.into_iter().map(Effect::History));
                let done = self.topics.step(topics::Event::Retry, at);
                effects.extend(done.into_iter().map(Effect::Topics));
            }
            Event::Tick => {
                for (socket, region) in self.streaming.iter_mut().enumerate() {
                    let done = region.step(streaming::Event::Tick, at).into_iter();
                    effects.extend(done.map(|effect| Effect::Streaming(socket, effect)));
                }
                let done = self.history.step(history::Event::Tick, at);
                effects.extend(done.into_iter().map(Effect::History));
                let done = self.topics.step(topics::Event::Tick, at);
                effects.extend(done.into_iter().map(Effect::Topics));
            }
        }
        effects
    }

    /// The next moment somebody waits for, milliseconds since the epoch: an [`Event::Tick`] is due.
    pub fn wake(&self) -> Option<i64> {
        let sockets = self.streaming.iter().filter_map(streaming::Region::wake);
        sockets.chain(self.history.wake()).chain(self.topics.wake()).min()
    }
}

#[cfg(test)]
mod tests;
