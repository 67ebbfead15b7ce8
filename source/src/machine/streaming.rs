//! One socket: when it is opened, what is sent on it, when it is given up. Pure; [`crate::stream`] does
//! the I/O.
//!
//! ```text
//!  idle (no subs) ──Want──▶ waiting ──Tick──▶ opening ──Opened──▶ open ──20──▶ SubAdd … 16, data
//!                             ▲                  │                  │
//!                             └── ≥ 5 s, growing ┴──────────────────┘  closed, silent, kicked, crowded
//!                             └── 1 h ──────────── refused ◀── 401
//! ```
//!
//! | here | the original state |
//! |---|---|
//! | no subs, or waiting for the first time | `idle` |
//! | opening | `idle`, or `error` where it is another attempt |
//! | open | `publishingMessage` |
//! | waiting after a failure, refused | `error` |
//!
//! The vendor's rules that it keeps (reference 2.9): SubAdd on the welcome; at least 5 s between the end of
//! a socket and the next attempt, whoever asks, also across restarts; exponential backoff that only data
//! resets; the budgets in the welcome; a long wait after 429; no attempt for an hour after 401.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::{Level, Moment, Name, Status};
use crate::backoff::{Backoff, Bounds};
use crate::coverage::Reason;
use crate::sub::Sub;
use crate::vendor::{Budget, Said};

/// Subs in one SubAdd. The vendor states no limit; some thousand bytes a message are safe.
const CHUNK: usize = 100;
/// The windows of the welcome's budgets, in milliseconds; a month's is asked again after a day.
const WINDOWS: [i64; 5] = [1_000, 60_000, 3_600_000, 86_400_000, 86_400_000];

/// Where the vendor never says that all is loaded, data so many milliseconds after the opening is live.
const LIVE: i64 = 60_000;

/// Waits, in milliseconds where they are no [`Bounds`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// From the end of one socket to the next attempt.
    pub reconnect: Bounds,
    /// The same after 429: the old socket may linger on the vendor's side for minutes.
    pub crowded: Bounds,
    /// A socket without a frame of any kind for so long is dead.
    pub silence: i64,
    /// A socket that has not welcomed us by then is of no use; nor is an attempt that takes so long.
    pub welcome: i64,
    /// After the key was refused.
    pub refused: i64,
    /// How long a further socket of a key waits for the first one's welcome to say that there is room.
    pub room: i64,
}

/// Why a socket ended, or did not come to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// By which it is counted.
    pub kind: CauseKind,
    /// For people.
    pub text: String,
}

/// See [`Cause`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CauseKind {
    /// No socket came to be.
    ConnectFailed,
    /// The other side closed it, or it broke.
    Closed,
    /// No frame of any kind.
    Silent,
    /// Frames, but no data, and asking again did not help.
    NoData,
    /// No welcome.
    NoWelcome,
    /// FORCE_DISCONNECT.
    ForceDisconnect,
    /// 429, other than about subs.
    Crowded,
    /// 401.
    Unauthorized,
}

impl CauseKind {
    /// All of them, for metrics.
    pub const ALL: [Self; 8] = [
        Self::ConnectFailed,
        Self::Closed,
        Self::Silent,
        Self::NoData,
        Self::NoWelcome,
        Self::ForceDisconnect,
        Self::Crowded,
        Self::Unauthorized,
    ];

    /// The label in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConnectFailed => "connect_failed",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::NoData => "no_data",
            Self::NoWelcome => "no_welcome",
            Self::ForceDisconnect => "force_disconnect",
            Self::Crowded => "crowded",
            Self::Unauthorized => "unauthorized",
        }
    }
}

/// What happens to a socket.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// These subs are wanted on it from now on.
    Want(BTreeSet<Sub>),
    /// An operator asks for these again, though the vendor has refused them before.
    Again(Vec<Sub>),
    /// It is open.
    Opened,
    /// It could not be opened, or has ended.
    Ended(Cause),
    /// `PUBLISH_MESSAGE`: so many data frames have come, in one go.
    PublishMessage {
        /// How many.
        frames: usize,
    },
    /// A control frame has come.
    Said(Said),
    /// A ping or the like: the other side lives.
    Alive,
    /// A sub whose data does not come: it is asked for again.
    Silent(Sub),
    /// Asking again did not help.
    NoData,
    /// Another socket of the same key was told whether there is room for more.
    Room(bool),
    /// Another socket of the same key was told that none may be opened before then.
    Hold(i64),
    /// The source stops.
    Stop,
    /// See [`super::Event::Retry`].
    Retry,
    /// See [`super::Event::Tick`].
    Tick,
}

/// What has to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Open a socket; [`Event::Opened`] or [`Event::Ended`] follows within a time limit.
    Connect,
    /// Send this text.
    Send(String),
    /// Close the socket, if there is one.
    Close,
    /// Publish the frames that have just come: to the spool, whatever else happens.
    Publish,
    /// The vendor was asked for these subs.
    Asked(Vec<Sub>),
    /// The vendor gives no data of this sub any more, because it was refused or is not wanted.
    Unasked(Sub),
    /// The vendor says that this sub is on.
    Covered(Sub),
    /// The socket is gone: nothing came after `last`, or, where it was silent, nothing of a sub after its
    /// own last data.
    Lost {
        /// When the last frame of any kind came, milliseconds since the epoch.
        last: i64,
        /// Why.
        reason: Reason,
    },
    /// The vendor does not give this sub, which is dropped.
    Dropped {
        /// The sub.
        sub: Sub,
        /// In the vendor's words.
        why: String,
    },
    /// A socket or an attempt has ended at this moment: no other may begin for 5 s, also after a restart.
    Reconnecting(CauseKind),
    /// Whether the key has room for another socket.
    Room(bool),
    /// No socket of this key may be opened before then, milliseconds since the epoch.
    Hold(i64),
    /// The key is refused.
    Unauthorized(String),
    /// Tell the operator.
    Say(Level, String),
}

#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// Nothing is wanted.
    Resting,
    /// For a moment to come.
    Waiting { until: i64, why: Option<Cause> },
    /// For the socket; by then it must have come or failed.
    Opening { deadline: i64, again: bool },
    /// There is a socket.
    Open { welcomed: bool, opened: i64, last: i64 },
    /// The key was refused.
    Refused { until: i64, why: String },
    /// For good.
    Stopped,
}

/// One socket's part of the state.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    rules: Rules,
    stage: Stage,
    since: i64,
    wanted: BTreeSet<Sub>,
    /// Those that the vendor has been asked for on this socket, and whether it has confirmed them.
    asked: BTreeMap<Sub, bool>,
    /// Those that it refused, and why; not asked for again unless an operator does.
    dropped: BTreeMap<Sub, String>,
    /// SubAdds not yet confirmed by LOADCOMPLETE.
    loading: usize,
    /// The vendor said that some are too many, not which.
    too_many: Option<String>,
    /// All that was asked for on this socket has been answered: what comes now is live.
    loaded: bool,
    ordinary: Backoff,
    crowded: Backoff,
    /// No attempt before then: the vendor's rule, or its budget.
    not_before: i64,
    /// Whether the key has room for this socket: for its first one there always is.
    room: Option<bool>,
    said: Option<CauseKind>,
}

impl Region {
    /// A socket for `wanted`, not to be opened before `not_before` (milliseconds since the epoch). A
    /// further one of a key (`first` is false) waits for the first one's welcome.
    pub fn new(
        rules: Rules,
        wanted: BTreeSet<Sub>,
        not_before: i64,
        first: bool,
        at: Moment,
    ) -> Self {
        let mut region = Region {
            rules,
            stage: Stage::Resting,
            since: at.ms,
            wanted,
            asked: BTreeMap::new(),
            dropped: BTreeMap::new(),
            loading: 0,
            too_many: None,
            loaded: false,
            ordinary: Backoff::default(),
            crowded: Backoff::default(),
            not_before,
            room: first.then_some(true),
            said: None,
        };
        region.begin(at);
        region
    }

    /// The next moment it waits for, milliseconds since the epoch.
    pub fn wake(&self) -> Option<i64> {
        match &self.stage {
            Stage::Resting | Stage::Stopped => None,
            Stage::Waiting { until, .. } | Stage::Refused { until, .. } => Some(*until),
            Stage::Opening { deadline, .. } => Some(*deadline),
            Stage::Open { welcomed: false, opened, last } => {
                Some((opened + self.rules.welcome).min(last + self.rules.silence))
            }
            Stage::Open { last, .. } => Some(last + self.rules.silence),
        }
    }

    /// The state it is in. Cheap: it is asked for with every burst of frames.
    pub fn name(&self) -> Name {
        match &self.stage {
            Stage::Resting | Stage::Stopped | Stage::Waiting { why: None, .. } => Name::Idle,
            Stage::Opening { again: false, .. } => Name::Idle,
            Stage::Waiting { why: Some(_), .. } | Stage::Refused { .. } => Name::Error,
            Stage::Opening { again: true, .. } => Name::Error,
            Stage::Open { .. } => Name::PublishingMessage,
        }
    }

    /// What it shows of itself.
    pub fn status(&self) -> Status {
        let detail = match &self.stage {
            Stage::Resting => "nothing is subscribed to".to_owned(),
            Stage::Waiting { why: None, .. } => "waiting to connect".to_owned(),
            Stage::Waiting { why: Some(why), .. } => why.text.clone(),
            Stage::Opening { again: false, .. } => "connecting".to_owned(),
            Stage::Opening { again: true, .. } => "connecting again".to_owned(),
            Stage::Open { welcomed: false, .. } => "connected, not welcomed yet".to_owned(),
            Stage::Open { .. } => {
                let (on, wanted) = (self.confirmed(), self.wanted.len());
                let dropped = match self.dropped.len() {
                    0 => String::new(),
                    many => format!(", {many} refused"),
                };
                format!("{on} of {wanted} subs are on{dropped}")
            }
            Stage::Refused { why, .. } => format!("the API key is refused: {why}"),
            Stage::Stopped => "stopped".to_owned(),
        };
        Status { name: self.name(), since: self.since, detail }
    }

    /// Whether there is a socket.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open { .. })
    }

    /// Whether there is one, and the vendor has welcomed it.
    pub fn is_welcomed(&self) -> bool {
        matches!(self.stage, Stage::Open { welcomed: true, .. })
    }

    /// When the last frame of any kind came on the socket that is open.
    pub fn last_frame(&self) -> Option<i64> {
        match self.stage {
            Stage::Open { last, .. } => Some(last),
            _ => None,
        }
    }

    /// Whether the key was refused.
    pub fn is_refused(&self) -> bool {
        matches!(self.stage, Stage::Refused { .. })
    }

    /// Whether every sub that is wanted is on, as far as the vendor gives it.
    pub fn is_subscribed(&self) -> bool {
        self.is_open() && self.confirmed() + self.dropped.len() >= self.wanted.len()
    }

    /// Whether the vendor has confirmed this sub on this socket.
    pub fn is_on(&self, sub: &Sub) -> bool {
        self.asked.get(sub).is_some_and(|on| *on)
    }

    /// How many subs the vendor has confirmed on this socket.
    pub fn confirmed(&self) -> usize {
        self.asked.values().filter(|on| **on).count()
    }

    /// The subs that the vendor does not give, and why.
    pub fn dropped(&self) -> &BTreeMap<Sub, String> {
        &self.dropped
    }

    /// The subs that are wanted on it.
    pub fn wanted(&self) -> &BTreeSet<Sub> {
        &self.wanted
    }

    /// One step: what has to be done, in this order.
    pub fn step(&mut self, event: Event, at: Moment) -> Vec<Effect> {
        let before = self.name();
        let effects = self.act(event, at);
        if self.name() != before {
            self.since = at.ms;
        }
        effects
    }

    fn act(&mut self, event: Event, at: Moment) -> Vec<Effect> {
        if let Stage::Open { last, .. } = &mut self.stage
            && matches!(event, Event::PublishMessage { .. } | Event::Said(_) | Event::Alive)
        {
            *last = at.ms;
        }
        match event {
            Event::PublishMessage { frames } => {
                // Live data: a vendor that sends what it has in store and drops us is not to be called
                // every five seconds for ever.
                let live = match self.stage {
                    Stage::Open { opened, .. } => self.loaded || at.ms - opened > LIVE,
                    _ => false,
                };
                if frames > 0 && live {
                    self.ordinary.reset();
                    self.crowded.reset();
                    self.said = None;
                }
                vec![Effect::Publish]
            }
            Event::Want(wanted) => self.want(wanted, at),
            Event::Again(subs) => {
                for sub in &subs {
                    self.dropped.remove(sub);
                }
                self.subscribe()
            }
            Event::Opened => match self.stage {
                Stage::Opening { .. } if self.wanted.is_empty() => {
                    self.stage = Stage::Resting;
                    self.not_before =
                        self.not_before.max(at.ms + millis(self.rules.reconnect.floor));
                    vec![Effect::Close]
                }
                Stage::Opening { .. } => {
                    self.stage = Stage::Open { welcomed: false, opened: at.ms, last: at.ms };
                    vec![]
                }
                _ => vec![Effect::Close],
            },
            Event::Ended(cause) => match self.stage {
                Stage::Opening { .. } | Stage::Open { .. } => self.end(cause, at),
                _ => vec![],
            },
            Event::Said(said) => self.said(said, at),
            Event::Alive => vec![],
            Event::Silent(sub) => self.ask_again(&sub),
            Event::NoData if self.is_open() => {
                let text = "heartbeats but no data, and subscribing again did not help".to_owned();
                self.end(Cause { kind: CauseKind::NoData, text }, at)
            }
            Event::NoData => vec![],
            Event::Room(room) => self.room(room, at),
            Event::Hold(until) => {
                self.not_before = self.not_before.max(until);
                if let Stage::Waiting { until, .. } | Stage::Refused { until, .. } = &mut self.stage
                {
                    *until = (*until).max(self.not_before);
                }
                vec![]
            }
            Event::Stop => {
                let open = matches!(self.stage, Stage::Open { .. } | Stage::Opening { .. });
                let mut effects = vec![];
                if let Stage::Open { last, .. } = self.stage {
                    effects.push(Effect::Lost { last, reason: Reason::NotRunning });
                }
                self.stage = Stage::Stopped;
                self.asked.clear();
                if open {
                    effects.push(Effect::Close);
                }
                effects
            }
            Event::Retry => {
                let not_before = self.not_before;
                if let Stage::Waiting { until, .. } | Stage::Refused { until, .. } = &mut self.stage
                {
                    *until = not_before.max(at.ms);
                }
                self.tick(at)
            }
            Event::Tick => self.tick(at),
        }
    }

    fn tick(&mut self, at: Moment) -> Vec<Effect> {
        let late = self.wake().is_some_and(|wake| wake <= at.ms);
        if !late {
            return vec![];
        }
        match &self.stage {
            Stage::Resting | Stage::Stopped => vec![],
            Stage::Waiting { .. } | Stage::Refused { .. } if self.wanted.is_empty() => {
                self.stage = Stage::Resting;
                vec![]
            }
            Stage::Waiting { .. } | Stage::Refused { .. } => {
                let again = !matches!(self.stage, Stage::Waiting { why: None, .. });
                let deadline = at.ms + self.rules.welcome;
                self.stage = Stage::Opening { deadline, again };
                vec![Effect::Connect]
            }
            Stage::Opening { .. } => {
                let text = format!("no answer within {}", seconds(self.rules.welcome));
                self.end(Cause { kind: CauseKind::ConnectFailed, text }, at)
            }
            Stage::Open { last, .. } if last + self.rules.silence <= at.ms => {
                let text = format!("no frame of any kind for {}", seconds(self.rules.silence));
                self.end(Cause { kind: CauseKind::Silent, text }, at)
            }
            Stage::Open { .. } => {
                let text = format!("no welcome within {}", seconds(self.rules.welcome));
                self.end(Cause { kind: CauseKind::NoWelcome, text }, at)
            }
        }
    }

    /// Where nothing is under way: begins to wait for the first attempt, if there is something to do.
    fn begin(&mut self, at: Moment) {
        if self.wanted.is_empty() {
            self.stage = Stage::Resting;
            return;
        }
        let until = match self.room {
            Some(true) => self.not_before.max(at.ms),
            _ => self.not_before.max(at.ms + self.rules.room),
        };
        self.stage = Stage::Waiting { until, why: None };
    }

    fn want(&mut self, wanted: BTreeSet<Sub>, at: Moment) -> Vec<Effect> {
        // Where some go, there is room for those that were too many.
        let fewer = self.wanted.difference(&wanted).next().is_some();
        self.wanted = wanted;
        let wanted = &self.wanted;
        self.dropped.retain(|sub, why| {
            wanted.contains(sub) && !(fewer && why.starts_with("TOO_MANY_SUBSCRIPTIONS"))
        });
        match self.stage {
            Stage::Stopped | Stage::Opening { .. } | Stage::Refused { .. } => vec![],
            Stage::Resting => {
                self.begin(at);
                self.tick(at)
            }
            Stage::Waiting { .. } if self.wanted.is_empty() => {
                self.stage = Stage::Resting;
                vec![]
            }
            Stage::Waiting { .. } => vec![],
            Stage::Open { .. } if self.wanted.is_empty() => {
                self.stage = Stage::Resting;
                self.not_before = self.not_before.max(at.ms + millis(self.rules.reconnect.floor));
                let gone = std::mem::take(&mut self.asked).into_keys();
                gone.map(Effect::Unasked).chain([Effect::Close]).collect()
            }
            Stage::Open { .. } => {
                let gone: Vec<Sub> =
                    self.asked.keys().filter(|sub| !self.wanted.contains(*sub)).cloned().collect();
                let mut effects = Vec::new();
                for subs in gone.chunks(CHUNK) {
                    effects.push(Effect::Send(message("SubRemove", subs)));
                }
                for sub in gone {
                    self.asked.remove(&sub);
                    effects.push(Effect::Unasked(sub));
                }
                effects.extend(self.subscribe());
                effects
            }
        }
    }

    /// Asks for whatever is wanted, not refused, and not asked for yet.
    fn subscribe(&mut self) -> Vec<Effect> {
        if !matches!(self.stage, Stage::Open { welcomed: true, .. }) {
            return vec![];
        }
        let known = |sub: &&Sub| !self.asked.contains_key(*sub) && !self.dropped.contains_key(*sub);
        let subs: Vec<Sub> = self.wanted.iter().filter(known).cloned().collect();
        let mut effects = Vec::new();
        for chunk in subs.chunks(CHUNK) {
            self.loading += 1;
            effects.push(Effect::Send(message("SubAdd", chunk)));
        }
        self.asked.extend(subs.iter().map(|sub| (sub.clone(), false)));
        if !subs.is_empty() {
            effects.push(Effect::Asked(subs));
        }
        effects
    }

    /// Off and on again.
    fn ask_again(&mut self, sub: &Sub) -> Vec<Effect> {
        let Stage::Open { welcomed: true, .. } = self.stage else { return vec![] };
        let Some(on) = self.asked.get_mut(sub) else { return vec![] };
        *on = false;
        self.loading += 1;
        let one = std::slice::from_ref(sub);
        vec![
            Effect::Send(message("SubRemove", one)),
            Effect::Send(message("SubAdd", one)),
            Effect::Asked(vec![sub.clone()]),
        ]
    }

    fn said(&mut self, said: Said, at: Moment) -> Vec<Effect> {
        let Stage::Open { welcomed, .. } = &mut self.stage else { return vec![] };
        match said {
            Said::Welcome(_) if *welcomed => vec![],
            Said::Welcome(budget) => {
                *welcomed = true;
                let mut effects = self.budget(budget, at);
                effects.extend(self.subscribe());
                effects
            }
            Said::Subscribed(sub) | Said::AlreadyActive(sub) => self.confirm(&sub),
            Said::Loaded => self.loaded(),
            Said::Unsubscribed(_) | Said::Heartbeat => vec![],
            Said::TooManySubs(why) => {
                self.too_many = Some(why);
                vec![]
            }
            Said::Refused { sub, why } => match Sub::parse(&sub) {
                Ok(sub) if self.wanted.contains(&sub) => self.drop_sub(sub, why),
                _ => vec![Effect::Say(Level::Warn, format!("the vendor refused {sub:?}: {why}"))],
            },
            Said::Error(why) => {
                vec![Effect::Say(Level::Warn, format!("the vendor answered with an error: {why}"))]
            }
            Said::ForceDisconnect => {
                let text = "FORCE_DISCONNECT".to_owned();
                self.end(Cause { kind: CauseKind::ForceDisconnect, text }, at)
            }
            Said::Crowded(text) => self.end(Cause { kind: CauseKind::Crowded, text }, at),
            Said::Unauthorized(text) => self.end(Cause { kind: CauseKind::Unauthorized, text }, at),
        }
    }

    /// The welcome's numbers.
    fn budget(&mut self, budget: Budget, at: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(left) = budget.sockets {
            effects.push(Effect::Room(left > 0));
        }
        let empty = budget.openings.iter().zip(WINDOWS).filter(|(left, _)| **left == Some(0));
        if let Some(longest) = empty.map(|(_, window)| window).max() {
            self.not_before = self.not_before.max(at.ms + longest);
            effects.push(Effect::Hold(self.not_before));
        }
        effects
    }

    fn confirm(&mut self, sub: &str) -> Vec<Effect> {
        let Ok(sub) = Sub::parse(sub) else { return vec![] };
        match self.asked.get_mut(&sub) {
            Some(on) => {
                *on = true;
                vec![Effect::Covered(sub)]
            }
            None => vec![],
        }
    }

    fn loaded(&mut self) -> Vec<Effect> {
        let done = self.loading == 1;
        self.loading = self.loading.saturating_sub(1);
        if !done {
            return vec![];
        }
        self.loaded = true;
        let mut effects = Vec::new();
        if let Some(why) = self.too_many.take() {
            let open: Vec<Sub> =
                (self.asked.iter().filter(|(_, on)| !**on)).map(|(sub, _)| sub.clone()).collect();
            for sub in open {
                effects.extend(self.drop_sub(sub, why.clone()));
            }
        }
        let (on, wanted) = (self.confirmed(), self.wanted.len());
        effects.push(Effect::Say(Level::Info, format!("subscribed: {on} of {wanted} subs")));
        effects
    }

    fn drop_sub(&mut self, sub: Sub, why: String) -> Vec<Effect> {
        self.asked.remove(&sub);
        self.dropped.insert(sub.clone(), why.clone());
        vec![
            Effect::Unasked(sub.clone()),
            Effect::Say(
                Level::Warn,
                format!("the vendor does not give {sub}: {why}; it is dropped, the others go on"),
            ),
            Effect::Dropped { sub, why },
        ]
    }

    fn room(&mut self, room: bool, at: Moment) -> Vec<Effect> {
        if self.room == Some(true) {
            return vec![];
        }
        let first = self.room != Some(room);
        self.room = Some(room);
        match &mut self.stage {
            Stage::Waiting { until, why: None } if room => {
                *until = self.not_before.max(at.ms);
                self.tick(at)
            }
            Stage::Waiting { until, why: None } => {
                *until = (*until).max(at.ms + millis(self.rules.crowded.ceiling));
                let (subs, wait) = (self.wanted.len(), seconds(*until - at.ms));
                match first {
                    true => vec![Effect::Say(
                        Level::Warn,
                        format!(
                            "{subs} subs wait: the account has no more sockets, as the vendor's welcome \
                             says; trying all the same in {wait}"
                        ),
                    )],
                    false => vec![],
                }
            }
            _ => vec![],
        }
    }

    /// The socket, or the attempt, is over: what was, and how long to wait.
    fn end(&mut self, cause: Cause, at: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Stage::Open { last, .. } = self.stage {
            // Where heartbeats went on without data, they prove nothing of any sub.
            let reason = match cause.kind {
                CauseKind::NoData => Reason::Silent,
                _ => Reason::NoConnection,
            };
            effects.push(Effect::Close);
            effects.push(Effect::Lost { last, reason });
        }
        self.asked.clear();
        self.loading = 0;
        self.too_many = None;
        self.loaded = false;
        // On the next one there may be room.
        self.dropped.retain(|_, why| !why.starts_with("TOO_MANY_SUBSCRIPTIONS"));
        self.not_before = self.not_before.max(at.ms + millis(self.rules.reconnect.floor));
        effects.push(Effect::Reconnecting(cause.kind));
        if cause.kind == CauseKind::Unauthorized {
            let until = self.not_before.max(at.ms + self.rules.refused);
            self.stage = Stage::Refused { until, why: cause.text.clone() };
            effects.push(Effect::Unauthorized(cause.text));
            return effects;
        }
        if self.wanted.is_empty() {
            self.stage = Stage::Resting;
            return effects;
        }
        let wait = match cause.kind {
            CauseKind::Crowded => self.crowded.after(self.rules.crowded, at.roll),
            _ => self.ordinary.after(self.rules.reconnect, at.roll),
        };
        let until = self.not_before.max(at.ms + millis(wait));
        let wait = seconds(until - at.ms);
        let (level, text) = match self.said == Some(cause.kind) {
            true => (Level::Debug, format!("no stream: {}; trying again in {wait}", cause.text)),
            false => (
                Level::Warn,
                format!(
                    "no stream: {}; trying again in {wait}, and again until it works",
                    cause.text
                ),
            ),
        };
        effects.push(Effect::Say(level, text));
        self.said = Some(cause.kind);
        self.stage = Stage::Waiting { until, why: Some(cause) };
        effects
    }
}

fn message(action: &str, subs: &[Sub]) -> String {
    let subs: Vec<&str> = subs.iter().map(Sub::as_str).collect();
    json!({"action": action, "subs": subs}).to_string()
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

fn seconds(ms: i64) -> String {
    // For people; a tenth of a second is exact enough.
    #[allow(clippy::cast_precision_loss)]
    let seconds = ms as f64 / 1000.0;
    format!("{seconds:.1} s")
}

#[cfg(test)]
pub(super) mod tests;
