//! A command in, effects and replies out: the whole of what commands mean, without any I/O. Time comes
//! as an argument; whoever drives it ([`super::task`]) saves [`Kept`] before it executes an effect.

use std::collections::{BTreeMap, BTreeSet};

use tickpanda_model::control::{Command, History, Reply, Status};

use super::kept::{Kept, Pending, Ticket, Work};
use super::place::{Bounds, Identity};
use super::subs::{Route, Routes};
use super::understand::{Understood, said, understand};

/// Commands under way at once; the next ones are refused.
pub const MAX_PENDING: usize = 100;
/// How long the vendor may say nothing about a sub before its command is answered without it. The sub
/// stays wanted.
const VENDOR_PATIENCE_MS: i64 = 5 * 60_000;
/// Subs that a reply names.
const NAMED: usize = 20;
/// Longest detail of a reply, in characters.
const MAX_DETAIL: usize = 2000;

/// What a source knows of itself before any command: from its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The source's name.
    pub name: String,
    /// Its own raw topic.
    pub raw_topic: String,
    /// The settings' subs.
    pub subs: Vec<String>,
    /// Topics that are not for raw records.
    pub reserved: Vec<String>,
    /// How many subs all sockets take.
    pub capacity: usize,
}

/// What the source has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// From now on these subs are wanted, each for these topics, and no others.
    Subs {
        /// All of them.
        routes: Routes,
        /// Of these the vendor's word is awaited: [`Event::Vendor`] once each, at once for one that is
        /// confirmed already.
        ask: Vec<String>,
    },
    /// Fetch candles; to be answered with [`Event::Done`], which must be saved
    /// ([`Handle::settle`](super::Handle::settle)) before whoever fetched them forgets the ticket: after
    /// a restart the same ticket may come again, and known work goes on then and is not done twice.
    FetchHistoricalData {
        /// Names the work.
        ticket: Ticket,
        /// Which candles.
        history: History,
    },
    /// Create a raw topic; to be answered with [`Event::Done`], whose text says what reads it. A topic
    /// that is there already is fine. May come again after a restart.
    CreateTopic {
        /// Names the work.
        ticket: Ticket,
        /// The topic.
        name: String,
    },
    /// Whatever is in `error` tries again now.
    Retry,
}

/// What became of an effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The vendor has spoken of a sub. Of one that nobody asks about: nothing.
    Vendor {
        /// The sub.
        sub: String,
        /// Its words.
        verdict: Verdict,
    },
    /// Work has ended; for people, what came of it or why it did not.
    Done {
        /// Which.
        ticket: Ticket,
        /// How.
        outcome: Result<String, String>,
    },
}

/// What the vendor says of a sub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is active.
    Confirmed,
    /// It will not be, and why. Unless it is in the settings, it is no longer wanted.
    Refused(String),
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commands {
    base: Base,
    kept: Kept,
}

impl Commands {
    /// A source's commands, with what was kept of them.
    pub fn new(base: Base, kept: Kept) -> Self {
        Commands { base, kept }
    }

    /// What must be saved before an effect is executed.
    pub fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The subs in effect.
    pub fn routes(&self) -> Routes {
        self.kept.subs.routes(&self.base.subs, &self.base.raw_topic)
    }

    /// What was under way when the process ended.
    pub fn resume(&self) -> Vec<Effect> {
        let mut ask = BTreeSet::new();
        let mut effects = Vec::new();
        for Pending { ticket, work, .. } in &self.kept.pending {
            let ticket = *ticket;
            match work {
                Work::Fetch(history) => {
                    effects.push(Effect::FetchHistoricalData { ticket, history: history.clone() });
                }
                Work::CreateTopic(name) | Work::Prepare { topic: name, .. } => {
                    effects.push(Effect::CreateTopic { ticket, name: name.clone() });
                }
                Work::Subscribe { left, .. } => ask.extend(left.iter().cloned()),
            }
        }
        if !ask.is_empty() {
            effects.push(self.subs(ask));
        }
        effects
    }

    /// A control topic was found; what an operator should know of it is returned in words.
    pub fn found(&mut self, topic: &Identity, bounds: &[Bounds]) -> Vec<String> {
        self.kept.places.found(topic, bounds)
    }

    /// Where to read on, by partition.
    pub fn places(&self) -> BTreeMap<i32, i64> {
        self.kept.places.current()
    }

    /// A partition was read up to here.
    pub fn advance(&mut self, partition: i32, next: i64) {
        self.kept.places.advance(partition, next);
    }

    /// A record of the control topic, which must not come again: see [`Commands::advance`].
    pub fn receive(&mut self, value: Option<&[u8]>, now: i64) -> Vec<Effect> {
        match understand(value, &self.base.name) {
            Understood::ForAnother => vec![],
            Understood::Bad { id, action, why } => {
                self.reply(id, &action, Status::Error, &why);
                vec![]
            }
            Understood::Command { id, command } => self.command(id, command, now),
        }
    }

    /// What became of an effect.
    pub fn event(&mut self, event: Event, now: i64) -> Vec<Effect> {
        match event {
            Event::Vendor { sub, verdict } => self.vendor(&sub, verdict),
            Event::Done { ticket, outcome } => self.done(ticket, outcome, now),
        }
    }

    /// Time has passed: who waits too long for the vendor is answered.
    pub fn tick(&mut self, now: i64) {
        let late = |pending: &Pending| {
            matches!(pending.work, Work::Subscribe { .. })
                && now.saturating_sub(pending.since) >= VENDOR_PATIENCE_MS
        };
        let (late, on_time) = std::mem::take(&mut self.kept.pending).into_iter().partition(late);
        self.kept.pending = on_time;
        for Pending { id, work, .. } in late {
            let Work::Subscribe { left, refused, .. } = &work else { continue };
            let minutes = VENDOR_PATIENCE_MS / 60_000;
            let mut why = format!(
                "the vendor has said nothing for {minutes} minutes about {}, which stay wanted",
                list(left)
            );
            if !refused.is_empty() {
                why += &format!("; refused: {}", list(refused));
            }
            self.reply(id, work.action(), Status::Error, &why);
        }
    }

    /// The replies that were handed over first are owed no more.
    pub fn replied(&mut self, count: usize) {
        self.kept.replies.drain(..count.min(self.kept.replies.len()));
    }

    fn command(&mut self, id: Option<String>, command: Command, now: i64) -> Vec<Effect> {
        match command {
            Command::Retry => {
                self.reply(id, "RETRY", Status::Ok, "whatever is in error tries again now");
                vec![Effect::Retry]
            }
            Command::Unsubscribe { subs, topic } => self.unsubscribe(id, &subs, topic),
            Command::FetchHistoricalData(history) => {
                let ticket = self.take_on(id, Work::Fetch(history.clone()), now);
                ticket
                    .map(|ticket| Effect::FetchHistoricalData { ticket, history })
                    .into_iter()
                    .collect()
            }
            Command::CreateTopic { topic_name } => {
                if let Err(why) = self.raw_topic(&topic_name) {
                    self.reply(id, "CREATE_TOPIC", Status::Error, &why);
                    return vec![];
                }
                self.create(id, Work::CreateTopic(topic_name.clone()), topic_name, now)
            }
            Command::Subscribe { mut subs, topic } => {
                let mut seen = BTreeSet::new();
                subs.retain(|sub| seen.insert(sub.clone()));
                // Its own topic by name is as good as none.
                let topic = topic.filter(|topic| *topic != self.base.raw_topic);
                let fits = match &topic {
                    Some(topic) => self.raw_topic(topic).and_then(|()| self.room_for(&subs)),
                    None => self.room_for(&subs),
                };
                if let Err(why) = fits {
                    self.reply(id, "SUBSCRIBE", Status::Error, &why);
                    return vec![];
                }
                match topic {
                    Some(topic) => {
                        self.create(id, Work::Prepare { subs, topic: topic.clone() }, topic, now)
                    }
                    None => {
                        let work = asking(None, String::new(), subs.clone());
                        match self.take_on(id, work, now) {
                            Some(_) => vec![self.subscribe(subs, None)],
                            None => vec![],
                        }
                    }
                }
            }
        }
    }

    fn create(&mut self, id: Option<String>, work: Work, name: String, now: i64) -> Vec<Effect> {
        let ticket = self.take_on(id, work, now);
        ticket.map(|ticket| Effect::CreateTopic { ticket, name }).into_iter().collect()
    }

    /// Accepts a command, unless there are too many.
    fn take_on(&mut self, id: Option<String>, work: Work, now: i64) -> Option<Ticket> {
        if self.kept.pending.len() >= MAX_PENDING {
            let why = format!("{MAX_PENDING} commands are under way already: try again later");
            self.reply(id, work.action(), Status::Error, &why);
            return None;
        }
        self.reply(id.clone(), work.action(), Status::Accepted, &taken(&work));
        let ticket = self.kept.next_ticket;
        self.kept.next_ticket = ticket.saturating_add(1);
        self.kept.pending.push(Pending { ticket, id, since: now, work });
        Some(ticket)
    }

    fn subscribe(&mut self, subs: Vec<String>, topic: Option<&str>) -> Effect {
        for sub in &subs {
            let route = Route { sub: sub.clone(), topic: topic.map(str::to_owned) };
            self.kept.subs.add(&self.base.subs, route);
        }
        self.subs(subs.into_iter().collect())
    }

    fn subs(&self, ask: BTreeSet<String>) -> Effect {
        Effect::Subs { routes: self.routes(), ask: ask.into_iter().collect() }
    }

    fn unsubscribe(
        &mut self,
        id: Option<String>,
        subs: &[String],
        topic: Option<String>,
    ) -> Vec<Effect> {
        let topic = topic.filter(|topic| *topic != self.base.raw_topic);
        let (mut ended, mut unknown, mut elsewhere) = (vec![], vec![], vec![]);
        for sub in subs.iter().collect::<BTreeSet<_>>() {
            let route = Route { sub: sub.clone(), topic: topic.clone() };
            if self.kept.subs.remove(&self.base.subs, &route) {
                ended.push(sub.clone());
            } else if let Some(topics) = self.routes().get(sub) {
                let topics = topics.iter().cloned().collect::<Vec<_>>().join(", ");
                elsewhere.push(format!("{sub} (on {topics})"));
            } else {
                unknown.push(sub.clone());
            }
        }
        // A topic that is still being created is not to get them later.
        for pending in &mut self.kept.pending {
            if let Work::Prepare { subs: wanted, topic: of } = &mut pending.work
                && topic.as_ref() == Some(of)
            {
                wanted.retain(|sub| !subs.contains(sub));
            }
        }
        // Who waits for the vendor's word on one of them waits for nothing.
        let superseded = self.kept.pending.iter().filter_map(|pending| match &pending.work {
            Work::Subscribe { topic: of, left, .. } if *of == topic => {
                Some(left.iter().filter(|sub| ended.contains(sub)).cloned().collect::<Vec<_>>())
            }
            _ => None,
        });
        let superseded: BTreeSet<_> = superseded.flatten().collect();
        for sub in &superseded {
            let only = |of: &Option<String>| *of == topic;
            self.spoken(sub, &Err("unsubscribed before the vendor confirmed it".into()), only);
        }
        let mut said = vec![];
        for (what, which) in [
            ("no longer subscribed", &ended),
            ("was not subscribed", &unknown),
            ("not on this topic but on another, which `topic` must name", &elsewhere),
        ] {
            if !which.is_empty() {
                said.push(format!("{what}: {}", list(which)));
            }
        }
        let status = if elsewhere.is_empty() { Status::Ok } else { Status::Error };
        self.reply(id, "UNSUBSCRIBE", status, &said.join("; "));
        if ended.is_empty() { vec![] } else { vec![self.subs(BTreeSet::new())] }
    }

    fn vendor(&mut self, sub: &str, verdict: Verdict) -> Vec<Effect> {
        let word = match verdict {
            Verdict::Confirmed => Ok(()),
            Verdict::Refused(why) => Err(said(&why, 200)),
        };
        let before = self.kept.subs.clone();
        self.spoken(sub, &word, |_| true);
        if self.kept.subs == before { vec![] } else { vec![self.subs(BTreeSet::new())] }
    }

    /// Notes the word on a sub for every command that waits for it, and answers those that then wait
    /// for nothing more. A route that only such a command wants goes with a refusal.
    fn spoken(
        &mut self,
        sub: &str,
        word: &Result<(), String>,
        of: impl Fn(&Option<String>) -> bool,
    ) {
        let mut done = Vec::new();
        let mut at = 0;
        while let Some(pending) = self.kept.pending.get_mut(at) {
            at += 1;
            let Work::Subscribe { topic, left, refused, .. } = &mut pending.work else { continue };
            if !of(topic) || !left.remove(sub) {
                continue;
            }
            if let Err(why) = word {
                refused.push(format!("{sub}: {why}"));
                let route = Route { sub: sub.to_owned(), topic: topic.clone() };
                self.kept.subs.added.remove(&route);
            }
            if left.is_empty() {
                at -= 1;
                done.push(self.kept.pending.remove(at));
            }
        }
        for Pending { id, work, .. } in done {
            let Work::Subscribe { subs, refused, about_topic, .. } = &work else { continue };
            let (status, mut detail) = match refused.is_empty() {
                true => (Status::Ok, format!("subscribed: {}", list(subs))),
                false => {
                    let is_refused = |sub: &&String| {
                        refused.iter().any(|why| why.starts_with(&format!("{sub}: ")))
                    };
                    let rest = list(subs.iter().filter(|sub| !is_refused(sub)));
                    let rest = if rest.is_empty() { rest } else { format!("; subscribed: {rest}") };
                    (Status::Error, format!("refused: {}{rest}", list(refused)))
                }
            };
            if !about_topic.is_empty() {
                detail += &format!("; {about_topic}");
            }
            self.reply(id, work.action(), status, &detail);
        }
    }

    fn done(&mut self, ticket: Ticket, outcome: Result<String, String>, now: i64) -> Vec<Effect> {
        let at = self.kept.pending.iter().position(|pending| {
            pending.ticket == ticket && !matches!(pending.work, Work::Subscribe { .. })
        });
        let Some(at) = at else { return vec![] };
        let Pending { id, work, .. } = self.kept.pending.remove(at);
        let action = work.action();
        let ended = match (work, outcome) {
            (Work::Prepare { subs, topic }, Ok(about)) => {
                // Other commands may have taken the room meanwhile, or unsubscribed.
                let room = match subs.is_empty() {
                    true => Err("unsubscribed before the topic was there".to_owned()),
                    false => self.room_for(&subs),
                };
                match room {
                    Err(why) => Err(format!("{why}; {about}")),
                    Ok(()) => {
                        let work = asking(Some(topic.clone()), about, subs.clone());
                        self.kept.pending.push(Pending { ticket, id, since: now, work });
                        return vec![self.subscribe(subs, Some(&topic))];
                    }
                }
            }
            (_, outcome) => outcome,
        };
        match ended {
            Ok(detail) => self.reply(id, action, Status::Ok, &detail),
            Err(detail) => self.reply(id, action, Status::Error, &detail),
        }
        vec![]
    }

    /// Whether a topic may get raw records.
    fn raw_topic(&self, name: &str) -> Result<(), String> {
        if self.base.reserved.iter().any(|reserved| reserved == name) || name.starts_with('_') {
            return Err(format!("{name} is not for raw records: its records are of another kind"));
        }
        Ok(())
    }

    /// Whether the sockets take these subs too.
    fn room_for(&self, subs: &[String]) -> Result<(), String> {
        let routes = self.routes();
        let more: BTreeSet<_> = subs.iter().filter(|sub| !routes.contains_key(*sub)).collect();
        let (now, all, most) = (routes.len(), routes.len() + more.len(), self.base.capacity);
        if all > most {
            return Err(format!(
                "{now} subs are wanted already, these make {all}, and the sockets take {most}"
            ));
        }
        Ok(())
    }

    fn reply(&mut self, id: Option<String>, action: &str, status: Status, detail: &str) {
        let (source, action) = (self.base.name.clone(), action.to_owned());
        let detail = said(detail, MAX_DETAIL);
        self.kept.replies.push_back(Reply { id, source, action, status, detail });
    }
}

/// Subs of a command, none of which the vendor has spoken of.
fn asking(topic: Option<String>, about_topic: String, subs: Vec<String>) -> Work {
    let left = subs.iter().cloned().collect();
    Work::Subscribe { topic, about_topic, subs, left, refused: vec![] }
}

/// What has begun, in words.
fn taken(work: &Work) -> String {
    match work {
        Work::Fetch(History { fsym, tsym, e, interval, .. }) => {
            format!("fetching {interval} candles of {e}~{fsym}~{tsym}")
        }
        Work::CreateTopic(name) => format!("creating {name}"),
        Work::Prepare { subs, topic } => format!("creating {topic} for {}", list(subs)),
        Work::Subscribe { subs, .. } => format!("asking the vendor for {}", list(subs)),
    }
}

/// The first ones by name.
fn list<'a>(which: impl IntoIterator<Item = &'a String>) -> String {
    let mut which = which.into_iter();
    let named: Vec<_> = which.by_ref().take(NAMED).map(String::as_str).collect();
    match which.count() {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
