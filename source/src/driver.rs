//! The state machine at work: one state, many tasks. Each task brings the events of its own region and
//! does what comes of them; what an event of somebody else's (a command, another socket's welcome) asks
//! of a region goes to that region's task.
//!
//! ```text
//!  socket 0 ──event──▶ ┌────────┐ ──effects──▶ socket 0
//!  history  ──event──▶ │ Driver │ ──effects──▶ history
//!  control  ──event──▶ └────────┘ ──by channel─▶ socket 0, socket 1, history, topics
//! ```

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::machine::{self, Effect, Event, Level, Name, State, Status};

/// What goes to a region's task: effects of others' events. Its length needs no bound of its own: each
/// entry answers an event, and those are few (commands, welcomes).
pub type Inbox<T> = mpsc::UnboundedReceiver<Vec<T>>;

/// The machine and the ways to its regions' tasks.
#[derive(Debug)]
pub struct Driver {
    clock: Clock,
    state: Mutex<State>,
    streaming: Vec<mpsc::UnboundedSender<Vec<machine::streaming::Effect>>>,
    history: mpsc::UnboundedSender<Vec<machine::history::Effect>>,
    topics: mpsc::UnboundedSender<Vec<machine::topics::Effect>>,
}

/// The receiving ends, one a region.
#[derive(Debug)]
pub struct Inboxes {
    /// One a socket.
    pub streaming: Vec<Inbox<machine::streaming::Effect>>,
    /// The history's.
    pub history: Inbox<machine::history::Effect>,
    /// The topics'.
    pub topics: Inbox<machine::topics::Effect>,
}

impl Driver {
    /// A machine in this state.
    pub fn new(clock: Clock, state: State) -> (Self, Inboxes) {
        let (streaming, inboxes) =
            state.streaming.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let (history, history_inbox) = mpsc::unbounded_channel();
        let (topics, topics_inbox) = mpsc::unbounded_channel();
        let state = Mutex::new(state);
        let inboxes = Inboxes { streaming: inboxes, history: history_inbox, topics: topics_inbox };
        (Driver { clock, state, streaming, history, topics }, inboxes)
    }

    /// The clock by which it is driven.
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// An event of the caller's own region; what comes of it is for the caller to do.
    pub fn own(&self, event: Event) -> Vec<Effect> {
        let region = region_of(&event);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = region.map(|region| name(&state, region));
        let effects = state.step(event, self.clock.moment());
        if let (Some(region), Some(before)) = (region, before) {
            let after = name(&state, region);
            if after != before {
                tell(&state, region, before, after);
            }
        }
        effects
    }

    /// An event for other regions: what comes of it is sent to their tasks, which are woken up in any
    /// case, because the moment that they wait for may be another one now.
    pub fn others(&self, event: Event) {
        let region = region_of(&event);
        let mut streaming: Vec<Vec<_>> = self.streaming.iter().map(|_| vec![]).collect();
        let (mut history, mut topics) = (vec![], vec![]);
        for effect in self.own(event) {
            match effect {
                Effect::Streaming(socket, effect) => {
                    if let Some(of_socket) = streaming.get_mut(socket) {
                        of_socket.push(effect);
                    }
                }
                Effect::History(effect) => history.push(effect),
                Effect::Topics(effect) => topics.push(effect),
            }
        }
        // Who is gone needs nothing any more.
        let concerns = |of: Region| region.is_none_or(|region| region == of);
        for (socket, effects) in streaming.into_iter().enumerate() {
            if concerns(Region::Streaming(socket)) {
                let _ = self.streaming[socket].send(effects);
            }
        }
        if concerns(Region::History) {
            let _ = self.history.send(history);
        }
        if concerns(Region::Topics) {
            let _ = self.topics.send(topics);
        }
    }

    /// Looks at the state.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Which part of the state an event concerns; none: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Region {
    Streaming(usize),
    History,
    Topics,
}

fn region_of(event: &Event) -> Option<Region> {
    match event {
        Event::Streaming(socket, _) => Some(Region::Streaming(*socket)),
        Event::History(_) => Some(Region::History),
        Event::Topics(_) => Some(Region::Topics),
        Event::Retry | Event::Tick => None,
    }
}

fn name(state: &State, region: Region) -> Name {
    match region {
        Region::Streaming(socket) => {
            state.streaming.get(socket).map_or(Name::Idle, machine::streaming::Region::name)
        }
        Region::History => state.history.name(),
        Region::Topics => state.topics.name(),
    }
}

fn status(state: &State, region: Region) -> Option<Status> {
    match region {
        Region::Streaming(socket) => Some(state.streaming.get(socket)?.status()),
        Region::History => Some(state.history.status()),
        Region::Topics => Some(state.topics.status()),
    }
}

/// Every transition is in the log: those of routine at debug level, because a history of a year is a
/// thousand of them.
fn tell(state: &State, region: Region, before: Name, after: Name) {
    let detail = status(state, region).map(|status| status.detail).unwrap_or_default();
    let (from, to) = (before.as_str(), after.as_str());
    match region {
        Region::Streaming(socket) => info!(socket, from, to, "{detail}"),
        Region::History => debug!(from, to, "history: {detail}"),
        Region::Topics => debug!(from, to, "topics: {detail}"),
    }
}

/// Says what a region wants to be said.
pub fn say(level: Level, text: &str) {
    match level {
        Level::Debug => debug!("{text}"),
        Level::Info => info!("{text}"),
        Level::Warn => warn!("{text}"),
    }
}
